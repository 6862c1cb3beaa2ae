"""The compiled solver, generated from the text of the equations, and the scipy reference."""

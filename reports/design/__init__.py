"""The design desk: which dose, interval, duration and exit meet what is required, and how sure that is."""

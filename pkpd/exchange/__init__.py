"""The model in the files of other tools: one system of named equations from the text of `biology`, and its printers."""

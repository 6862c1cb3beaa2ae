"""What a trial team reads: statistics of a finished run, figures, tables and sentences made from them, the report.

A run folder becomes frames (`summaries`, `durability`, `unknowns`), each frame an exhibit (`exhibit`) with its figure
(`figures`, `drawing`), table (`tables`) and sentence (`wording`), and exhibits become sections (`overview`, `efficacy`,
`mechanism`, `appendix`) of one page (`report`).
"""

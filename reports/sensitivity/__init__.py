"""Sensitivity of a trial's answer to parameters: what is sampled, how it is analysed, and the page that shows it."""

"""Cohorts beside published figures: bands, predictive checks, fitted variability."""

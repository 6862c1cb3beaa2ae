"""Virtual cohorts compared with published figures: intervals, predictive checks, and spreads between patients."""

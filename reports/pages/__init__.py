"""Pages of their own: fits, validation, sensitivity, operating characteristics, comparison of runs."""

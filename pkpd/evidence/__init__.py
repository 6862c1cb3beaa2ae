"""Published data: reading them, what they err by, and what the model predicts of each."""

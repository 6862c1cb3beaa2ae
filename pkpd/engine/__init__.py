"""From the model's text to compiled code that integrates many patients side by side, and the reference beside it."""

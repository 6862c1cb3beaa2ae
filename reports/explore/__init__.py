"""A page in the browser on which regimens and unknown parameters are moved and their consequences seen at once."""

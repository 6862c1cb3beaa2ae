"""Fits of parameters to published data: specification, least squares, profiles, draws from the posterior."""

"""Analyses of a finished trial: the protocol's endpoints and estimands, as plain functions on data frames."""

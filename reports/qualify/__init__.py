"""Verification on a user's machine: requirements as data, a check for each, and the report of their results."""

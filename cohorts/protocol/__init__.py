"""A trial as its file states it: reading and checking, arms, conduct, endpoints, estimands."""

"""The conduct of a trial: allocation, doses as given, events, decisions, visits."""

"""What happens to patients in a trial: allocation, doses as given, events, decisions, visits."""

"""The model of one patient, one subject a file; `model` puts the parts together."""

"""Virtual patients: joint distributions of covariates, users' own files and tables, weighting, criteria."""

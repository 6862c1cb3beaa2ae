"""Running trials: portions of patients, schedulers, replicates, twins, and the run's folder."""

"""The documents of ICH M15: the model analysis plan before a run, and the dossier after it."""

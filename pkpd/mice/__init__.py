"""Genotypes and interventions: lifelong steady states of virtual mice beside the published ones."""

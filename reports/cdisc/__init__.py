"""A run as CDISC analysis data sets: ADSL, ADBMD, ADLB, ADTTE, ADEX and ADPC, with their metadata, checked."""

"""A run as CDISC analysis data sets: ADSL, ADBMD, ADLB, ADTTE, ADEX, ADPC and ADPP, with their metadata, checked."""

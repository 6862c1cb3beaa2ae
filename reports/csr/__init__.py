"""The report of a trial, section by section, as in a clinical study report."""

"""Measures of the visits: columns of a run's table `visits`, and the unit of each."""

from __future__ import annotations

BMD_MEASURES = ("BMD_LS", "BMD_TH", "BMD_FN", "BMD_R13")
MARKER_MEASURES = ("CTX", "P1NP", "TRAP5B", "BSAP", "CA", "PTH")
MEASURES = (*BMD_MEASURES, *MARKER_MEASURES)

LIMITED = ("CTX",)
"""Markers with a limit of quantitation in the parameter table (``LLOQ_CTX``)."""

DRUG = "DRUG"
"""The concentration of all drugs that bind RANKL; that of one agent is ``C_AGENT``."""

AREA, PEAK = "AUC", "CMAX"
"""Beginnings of the names of true exposures: area and highest value since the visit before (``AUC_DRUG``)."""

UNITS = {
    **dict.fromkeys(BMD_MEASURES, "g/cm2"), "CTX": "ng/mL", "P1NP": "ng/mL", "BSAP": "ng/mL", "TRAP5B": "U/L",
    "CA": "mmol/L", "PTH": "pmol/L", DRUG: "ug/mL",
}  # fmt: skip

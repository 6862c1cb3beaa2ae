"""Words that notes of analyses, tables and pages share: measures, months, lists."""

from __future__ import annotations

from collections.abc import Sequence

MEASURES = {
    "BMD_LS": "lumbar spine BMD",
    "BMD_TH": "total hip BMD",
    "BMD_FN": "femoral neck BMD",
    "BMD_R13": "1/3 radius BMD",
    "CTX": "serum CTX",
    "P1NP": "serum P1NP",
    "BSAP": "serum BSAP",
    "TRAP5B": "serum TRAP5b",
    "CA": "serum calcium",
    "PTH": "plasma PTH",
    "DRUG": "drug",
}


EVENT_WORDS = {
    "vertebral": "new vertebral fracture",
    "clinical_vertebral": "clinical vertebral fracture",
    "hip": "hip fracture",
    "nonvertebral": "nonvertebral fracture",
    "hypocalcaemia": "hypocalcaemia",
    "death": "death",
    "stopped": "stopping treatment",
    "dropout": "leaving the study",
    "rescue": "rescue treatment",
    "switch": "switch of treatment",
}


def month_text(month: float) -> str:
    """A month to one decimal at most, with a true minus sign.

    Parameters
    ----------
    month : float
        Months since randomisation.
    """
    return f"{round(month, 1):g}".replace("-", "−")


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b`` or ``a, b and c``.

    Parameters
    ----------
    words : sequence of str
        At least one word.
    """
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def first_upper(text: str) -> str:
    """The text with its first letter in upper case, the rest as it is; eGFR and its like stay.

    Parameters
    ----------
    text : str
        A sentence or a label.
    """
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def first_lower(text: str) -> str:
    """The text with its first letter in lower case, unless it is an abbreviation.

    Parameters
    ----------
    text : str
        A sentence or a label.
    """
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]

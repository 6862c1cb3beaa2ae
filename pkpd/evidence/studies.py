"""What the figures of one study have in common: its women differ in two parameters from those of its neighbour.

Trials of one treatment differ by more than chance, and all figures of a trial differ together: its bone markers and its
bone density come from the same women. Each study therefore has an effect on the logarithm of two parameters, the
surface RANKL that drug can reach (`M0`) and the turnover of bone (`kT`, `kC`, `kR`), with mean 0 and the SDs
`study_M0` and `study_turnover`. They are integrated out: with y = f + J b + e, b ~ N(0, W) and e ~ N(0, R), the figures
y of a study are normal around f with covariance R + J W J' [1]_, as in a linear mixed model. So studies that contradict
each other do not bend the typical patient. J belongs to the values of the table, not to those that a fit tries, so the
covariance is the same throughout a fit, and in all fits to the same figures.

The effects explain a part of the variance between studies of each figure (`errors.BETWEEN`); the share `study_rest` of
it stays.

References
----------
.. [1] Laird NM, Ware JH. Biometrics 1982;38:963-74. doi:10.2307/2529876
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.evidence.errors import RHO, cov
from ranklsim.pkpd.evidence.predictions import Predictor
from ranklsim.pkpd.parameters import ParameterTable

Array = NDArray[np.float64]

EFFECTS = {"study_M0": ("M0",), "study_turnover": ("kT", "kC", "kR")}
"""SD of an effect on the logarithm, and the parameters that it acts on."""


def study_effects(predictor: Predictor, table: ParameterTable) -> Array:
    """Change of each figure under one SD of each effect: half the difference between one SD up and one SD down.

    Parameters
    ----------
    predictor : Predictor
    table : ParameterTable

    Returns
    -------
    ndarray, shape (n_observations, len(EFFECTS))
        In the unit of the figure.

    Raises
    ------
    RunFailed
        If a figure has no value on one of the sides.
    """
    vectors = [
        {name: table[name] * np.exp(side * table[sd]) for name in names}
        for sd, names in EFFECTS.items()
        for side in (1, -1)
    ]
    moved = pd.DataFrame(vectors)
    up_down = predictor.of_vectors(moved.fillna({name: table[name] for name in moved}), table)
    change = (up_down[0::2] - up_down[1::2]).T / 2
    if not (known := np.isfinite(change).all(axis=1)).all():
        row = predictor.evidence.observations.iloc[int(np.argmin(known))]
        raise RunFailed(
            f"observations.csv:{row['line']}: {row['endpoint']} of {row['site_or_marker']} has no value in a study one "
            f"SD away ({', '.join(EFFECTS)}); make these SDs smaller, or leave the row out."
        )
    return np.asarray(change, dtype=float)


def study_cov(predictor: Predictor, table: ParameterTable) -> Array:
    """Covariance of all figures, where each study has effects of its own.

    Parameters
    ----------
    predictor : Predictor
        Of the figures.
    table : ParameterTable
        With the SDs of the effects, and the values at which they act.

    Returns
    -------
    ndarray, shape (n_observations, n_observations)
        As from `errors.cov`, with the share `study_rest` of the variance between studies, plus the covariance by the
        effects for two figures of one study.

    Raises
    ------
    RunFailed
        As from `study_effects`.
    """
    evidence = predictor.evidence
    seen = evidence.observations
    study = np.array([evidence.arms[arm].study for arm in seen["arm"]])  # a row's own may be a later paper on it
    change = study_effects(predictor, table)
    together = np.where(study[:, None] == study[None, :], change @ change.T, 0.0)
    return np.asarray(cov(seen, RHO, table["study_rest"]) + together, dtype=float)

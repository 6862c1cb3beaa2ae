"""What the figures of one study have in common: its women differ in two parameters from those of its neighbour.

Trials of one treatment differ by more than chance, and all figures of a trial differ together: its bone markers and its
bone density come from the same women. Each study therefore has an effect on the logarithm of two parameters, the
surface RANKL that drug can reach (`M0`) and the turnover of bone (`kT`, `kC`, `kR`), with mean 0 and the SDs
`study_M0` and `study_turnover`. They are integrated out: with y = f + J b + e, b ~ N(0, W) and e ~ N(0, R), the figures
y of a study are normal around f with covariance R + J W J' [1]_, as in a linear mixed model. So studies that contradict
each other do not bend the typical patient. J belongs to the values of the table, not to those that a fit tries, so the
covariance is the same throughout a fit, and in all fits to the same figures.

The effects explain a part of the variance between studies of each figure (`errors.BETWEEN`); the share `study_rest` of
it stays. Studies of an agent that forms bone differ by more from what the model says of them; theirs is multiplied by
`study_rest_anabolic`.

References
----------
.. [1] Laird NM, Ware JH. Biometrics 1982;38:963-74. doi:10.2307/2529876
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.evidence.errors import RHO, between_sd, cov
from ranklsim.pkpd.evidence.predictions import Predictor
from ranklsim.pkpd.evidence.records import Evidence, class_of
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
        In the unit of the figure; NaN where it has no value on one of the sides.
    """
    vectors = [
        {name: table[name] * np.exp(side * table[sd]) for name in names}
        for sd, names in EFFECTS.items()
        for side in (1, -1)
    ]
    moved = pd.DataFrame(vectors)
    up_down = predictor.of_vectors(moved.fillna({name: table[name] for name in moved}), table)
    return np.asarray((up_down[0::2] - up_down[1::2]).T / 2, dtype=float)


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
        As from `errors.cov`, with what `study_rest` leaves of the variance between studies, plus the covariance by the
        effects for two figures of one study.

    Raises
    ------
    RunFailed
        If a figure has no value on one of the sides of an effect.
    """
    evidence = predictor.evidence
    seen = evidence.observations
    study = np.array([evidence.arms[arm].study for arm in seen["arm"]])  # a row's own may be a later paper on it
    change = study_effects(predictor, table)
    if not (known := np.isfinite(change).all(axis=1)).all():
        row = seen.iloc[int(np.argmin(known))]
        raise RunFailed(
            f"observations.csv:{row['line']}: {row['endpoint']} of {row['site_or_marker']} has no value in a study one "
            f"SD away ({', '.join(EFFECTS)}); make these SDs smaller, or leave the row out."
        )
    together = np.where(study[:, None] == study[None, :], change @ change.T, 0.0)
    return np.asarray(cov(seen, RHO, study_rest(evidence, table)) + together, dtype=float)


def study_rest(evidence: Evidence, table: ParameterTable) -> Array:
    """Factor of the variance between studies that the effects leave, of each figure.

    Parameters
    ----------
    evidence : Evidence
    table : ParameterTable

    Returns
    -------
    ndarray, shape (n_observations,)
        `study_rest_anabolic` in an arm whose only agent that acts forms bone, `study_rest` in the others.
    """
    of = {name: class_of(evidence, name) for name in evidence.arms}
    names = ["study_rest_anabolic" if of[arm] == "anabolic" else "study_rest" for arm in evidence.observations["arm"]]
    return np.array([table[name] for name in names], dtype=float)


def new_study_sd(predictor: Predictor, table: ParameterTable) -> Array:
    """SD between studies of each figure: what a new one, however large, differs by from the typical one.

    Parameters
    ----------
    predictor : Predictor
        Of the figures.
    table : ParameterTable
        With the SDs of the effects.

    Returns
    -------
    ndarray, shape (n_observations,)
        Of the effects of a study, and what they leave; NaN where a figure has no value in a study one SD away.
    """
    evidence = predictor.evidence
    rest = study_rest(evidence, table) * between_sd(evidence.observations) ** 2
    return np.sqrt(rest + np.square(study_effects(predictor, table)).sum(axis=1))

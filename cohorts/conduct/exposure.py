"""Exposure as it truly is: areas under curves of the model, and highest concentrations.

The course is simulated at least once a day, and at the moments of the planned doses, so that each stretch of curve
between two of them is smooth; its area is by Simpson's rule for unequal steps [1]_. A dose that is late or added by a
rule falls between two days of the grid, which makes an error of less than 0.1 % of the area after an injection under
the skin.

References
----------
.. [1] Cartwright KV. J Math Sci Math Educ 2017;12(2):1-9 (as in scipy.integrate.cumulative_simpson).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import scipy
from numpy.typing import NDArray

from ranklsim.cohorts.measures import AREA, DRUG, PEAK

MOMENT = 1e-6
"""Days after a dose at which it is in the body."""

NODES = 400
"""Steps of the grid; a day each where the exposures are asked for a shorter time."""

Array = NDArray[np.float64]


def grid(doses: Array, last: float) -> Array:
    """Days at which a course must be simulated for its exposures.

    Parameters
    ----------
    doses : ndarray
        Days of planned doses.
    last : float
        Day until which exposures are asked for.

    Returns
    -------
    ndarray
        Increasing, from 0: the doses, the moments after them, and about a day between.
    """
    doses = doses[doses < last - MOMENT]
    ends = np.unique(np.concatenate([[0.0, last], doses]))
    step = max(1.0, last / NODES)
    parts = [np.linspace(a, b, max(4, int(np.ceil((b - a) / step))) + 1) for a, b in pairwise(ends)]
    return np.unique(np.concatenate([*parts, doses + MOMENT]))


def exposures(
    names: tuple[str, ...],
    days: Array,
    doses: Array,
    course: Mapping[str, Array],
    visits: Array,
    at: Mapping[str, Array],
) -> dict[str, Array]:
    """Exposures between visits.

    Parameters
    ----------
    names : tuple of str
        `AREA` or `PEAK` of a concentration or marker (``AUC_DRUG``, ``CMAX_C_denosumab``, ``AUC_CTX``), or the name of
        a concentration, which is that at the visits.
    days : ndarray, shape (n_days,)
        As from `grid`.
    doses : ndarray
        Days of planned doses.
    course : mapping of str to ndarray, shape (n, n_days)
        Concentrations of drugs (``C_AGENT``) and markers on these days.
    visits : ndarray, shape (n, n_visits)
        Days on which each patient's visits are kept.
    at : mapping of str to ndarray, shape (n, n_visits)
        The same concentrations and markers then.

    Returns
    -------
    dict of str to ndarray, shape (n, n_visits)
        Since the visit before, 0 at the first: areas in the unit of the concentration times days, of a marker the area
        of the fall from baseline in percent times days; and highest concentrations. Areas end with the last of `days`.
    """
    found = {}
    for name in names:
        what, _, of = name.partition("_")
        of = of if what in (AREA, PEAK) else name
        start = course[of][:, 0] if of in course else np.empty(0)
        there = _curve(of, at, start)
        if what == AREA:
            area = _area(days, doses, _curve(of, course, start), visits)
            found[name] = np.diff(area, prepend=area[:, :1], axis=1)
        elif what == PEAK:
            found[name] = _peaks(days, _curve(of, course, start), visits, there)
        else:
            found[name] = there
    return found


def _curve(of: str, course: Mapping[str, Array], start: Array) -> Array:
    """Concentration of a drug or of all, or the fall of a marker from where it starts in percent."""
    if of == DRUG:
        return np.sum([values for name, values in course.items() if name.startswith("C_")], axis=0)
    return course[of] if of.startswith("C_") else 100.0 * (1.0 - course[of] / start[:, None])


def _area(days: Array, doses: Array, values: Array, visits: Array) -> Array:
    """Area under each curve from day 0 to each visit; a curve may jump and bend at doses only.

    Between two days the area is the cubic with the slopes that the curve has there.
    """
    area = np.zeros_like(values)
    cuts = [0, *np.searchsorted(days, doses[doses < days[-1] - MOMENT] + MOMENT / 2), days.size]
    for first, last in pairwise(cuts):
        if last > first:
            before = area[:, [first - 1]] if first else 0.0  # the moment of the dose adds nothing
            part = slice(first, last)
            within = scipy.integrate.cumulative_simpson(values[:, part], x=days[part], axis=1, initial=0.0)
            area[:, part] = before + within
    place = np.clip(np.searchsorted(days, visits, side="left") - 1, 0, days.size - 2)
    step = days[place + 1] - days[place]
    share = np.clip((visits - days[place]) / step, 0.0, 1.0)
    (a, b), (p, q) = ([np.take_along_axis(x, place + k, axis=1) for k in (0, 1)] for x in (area, values))
    hermite = share**2 * (3 - 2 * share)
    slopes = share * (1 - share) * ((1 - share) * p - share * q)
    return np.asarray(a + hermite * (b - a) + step * slopes)


def _peaks(days: Array, values: Array, visits: Array, there: Array) -> Array:
    """Highest value from the visit before on; 0 at the first visit."""
    peaks = np.zeros(visits.shape)
    for i, own in enumerate(visits):
        cuts = np.searchsorted(days, own, side="right")
        for j in range(1, own.size):
            inside = values[i, cuts[j - 1] : cuts[j]]
            peaks[i, j] = max(there[i, j - 1], there[i, j], inside.max(initial=0.0))
    return peaks

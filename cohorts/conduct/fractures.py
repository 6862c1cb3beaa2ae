"""Fractures from a hazard that depends on each patient's own bone.

At each site the hazard (1/yr) is log-linear in age, in the T-score at that site and in present resorption:

    frailty * level * exp(age_s * (age - age_ref)) * BMD_s ** (T_ref - T) * (CTX / CTX_ref) ** CTX_s * prior_s

T and CTX are those of the patient's latent course, so a drug changes fractures only through bone and turnover. `prior`
is 1 without a fractured vertebra (for the spine at the start, for other bones now). `frailty` describes differences
between women with equal values of all other terms: a woman with one fracture is more likely to have another. It has a
gamma distribution with mean 1 over patients [1]_, one for the spine and one for all other bones. A vertebral fracture
changes the hazard of the next one in no other way.

A vertebral fracture can involve further vertebrae, more often if bone was lost rapidly just before. Some vertebral
fractures come to clinical attention; all are found at the next spine image that the patient attends. The sites are
vertebrae, hip, and other nonvertebral bones. docs/events.md gives the sources of the numbers and a comparison with
trials.

References
----------
.. [1] Vaupel JW, Manton KG, Stallard E. Demography 1979;16:439-54. doi:10.2307/2061224
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import gammaincinv

from ranklsim.cohorts import events, streams
from ranklsim.cohorts.conduct.hazards import cumulative, interpolated, month_reached, thresholds
from ranklsim.cohorts.events import Happened, happened
from ranklsim.pkpd.biology.skeleton import t_score
from ranklsim.pkpd.biology.values import Values
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.units import DAYS_PER_MONTH, DAYS_PER_YEAR

VERTEBRAL, HIP, OTHER = "vertebral", "hip", "other"
SITES = {VERTEBRAL: "LS", HIP: "TH", OTHER: "TH"}
"""Site of the T-score for the hazard of each kind of fracture."""

MOST = 20  # fractures of one kind in one patient
VERTEBRAE = 13  # T4 to L4, which spine images are read for

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fractures:
    """Fractures of some patients, whether anybody notices or not; one kind, in order of patient, then time.

    `vertebrae` is 1 for other bones; `clinical` is true for them.
    """

    row: NDArray[np.int64]
    month: Array
    vertebrae: NDArray[np.int64]
    clinical: NDArray[np.bool_]


def hazard(site: str, parameters: ParameterTable, age: Array, months: Array, latent: Mapping[str, Array]) -> Array:
    """Hazard of a fracture of a woman of mean frailty without a fractured vertebra, 1/yr.

    Parameters
    ----------
    site : str
        One of `SITES`.
    parameters : ParameterTable
        Of the group ``hazard``, and young adult BMD (``REF_LS``, ``REFSD_LS``, ...).
    age : ndarray, shape (n,)
        At randomisation, yr.
    months : ndarray, shape (m,)
    latent : mapping of str to ndarray, shape (n, m)
        True CTX (ng/mL) and BMD (g/cm2) at `months`.

    Returns
    -------
    ndarray, shape (n, m)
    """
    p, bone = Values(parameters.values), SITES[site]
    T = t_score(p, bone, latent[f"BMD_{bone}"])
    years = age[:, None] + months * DAYS_PER_MONTH / DAYS_PER_YEAR - p.age_ref
    log = p[f"age_{site}"] * years - np.log(p[f"BMD_{site}"]) * (T - p[f"T_ref_{bone}"])
    log += p[f"CTX_{site}"] * np.log(latent["CTX"] / p.CTX_ref)
    return np.asarray(p[f"level_{site}"] * np.exp(log))


def happen(
    parameters: ParameterTable,
    covariates: pd.DataFrame,
    months: Array,
    latent: Mapping[str, Array],
    seed: int,
    replicate: int = 0,
) -> dict[str, Fractures]:
    """Every fracture on the grid of months.

    Parameters
    ----------
    parameters : ParameterTable
    covariates : DataFrame, n rows
        `patient`, `age`, `prevalent_fracture`.
    months : ndarray, shape (m,)
        From 0, increasing; half a month apart or less.
    latent : mapping of str to ndarray, shape (n, m)
        True CTX, BMD_LS and BMD_TH.
    seed, replicate : int

    Returns
    -------
    dict of str to Fractures
        By site.
    """
    p = Values(parameters.values)
    patient = covariates["patient"].to_numpy(dtype=np.int64)
    age = covariates["age"].to_numpy(dtype=float)
    before = np.where(covariates["prevalent_fracture"].to_numpy(dtype=float) > 0, 0.0, np.inf)
    whose = (seed, patient, replicate)
    own = _frailty("spine", p.frailty_spine, *whose)
    total = own[:, None] * cumulative(months, hazard(VERTEBRAL, parameters, age, months, latent))
    row, month, index = _sequence(VERTEBRAL, months, total, p.prior_vertebral, before, *whose)
    lost = interpolated(months, _loss(months, latent["BMD_TH"], p.loss_months)[row], month)
    vertebrae = _vertebrae(p, lost, streams.uniform(seed, "fracture.vertebrae", patient[row], index, replicate))
    clinical = streams.uniform(seed, "fracture.clinical", patient[row], index, replicate) < p.f_clinical
    found = {VERTEBRAL: Fractures(row, month, vertebrae, clinical)}
    np.minimum.at(before, row, month)
    own = _frailty("bones", p.frailty_bones, *whose)
    for site in (HIP, OTHER):
        total = own[:, None] * cumulative(months, hazard(site, parameters, age, months, latent))
        row, month, _ = _sequence(site, months, total, p[f"prior_{site}"], before, *whose)
        found[site] = Fractures(row, month, np.ones(row.size, dtype=np.int64), np.ones(row.size, dtype=bool))
    return found


def recorded(found: Mapping[str, Fractures], imaging: Array, followed: Array) -> list[Happened]:
    """Fractures as the trial records them.

    Parameters
    ----------
    found : mapping of str to Fractures
        As from `happen`.
    imaging : ndarray, shape (n_images,) or (n, n_images)
        Months of spine images, increasing, > 0.
    followed : ndarray, shape (n,)
        Month until which each patient is followed.

    Returns
    -------
    list of Happened
        Vertebral (at the first image after it that she attends, `count` all vertebrae since the image before),
        clinical vertebral, hip and nonvertebral fractures.
    """
    spine = found[VERTEBRAL]
    images = np.broadcast_to(imaging, (followed.size, np.shape(imaging)[-1]))
    place = (images[spine.row] < spine.month[:, None]).sum(axis=1)
    seen = place < images.shape[1]
    seen[seen] &= images[spine.row[seen], place[seen]] <= followed[spine.row[seen]]
    counts = np.zeros(images.shape, dtype=np.int64)
    np.add.at(counts, (spine.row[seen], place[seen]), spine.vertebrae[seen])
    row, place = np.nonzero(counts)
    parts = [happened(events.VERTEBRAL, row, images[row, place], count=np.minimum(counts[row, place], VERTEBRAE))]
    felt = spine.clinical & (spine.month <= followed[spine.row])
    parts.append(happened(events.CLINICAL_VERTEBRAL, spine.row[felt], spine.month[felt], count=spine.vertebrae[felt]))
    for site in (HIP, OTHER):
        kind = found[site]
        known = kind.month <= followed[kind.row]
        if site == HIP:
            parts.append(happened(events.HIP, kind.row[known], kind.month[known]))
        parts.append(happened(events.NONVERTEBRAL, kind.row[known], kind.month[known]))
    return parts


def _sequence(
    site: str,
    months: Array,
    total: Array,
    ratio: float,
    prior: Array,
    seed: int,
    patient: NDArray[np.int64],
    replicate: int,
) -> tuple[NDArray[np.int64], Array, NDArray[np.int64]]:
    """Fractures one after another: patient's row, month, and its number in the patient.

    `total` is the cumulative hazard while no vertebra has fractured; `ratio` multiplies it from month `prior` on.
    """
    rows, when, number = [], [], []
    who = np.arange(len(patient))
    now = np.zeros(len(patient))  # used up of `total`
    for k in range(MOST):
        if not who.size:
            break
        need = thresholds(seed, f"fracture.{site}", patient[who], k, replicate)
        # The value of `total` at which the ratio sets in.
        turn = interpolated(months, total[who], np.minimum(prior[who], months[-1]))
        turn = np.where(prior[who] > months[-1], np.inf, turn)
        plain = np.minimum(np.clip(turn - now, 0, None), need)  # used up before the ratio sets in
        level = now + plain + (need - plain) / ratio
        month = month_reached(months, total[who], level)
        broken = np.isfinite(month)
        who, now = who[broken], level[broken]
        rows.append(who)
        when.append(month[broken])
        number.append(np.full(who.size, k))
    row, month, index = np.concatenate(rows), np.concatenate(when), np.concatenate(number)
    order = np.lexsort((month, row))
    return row[order], month[order], index[order]


def _frailty(name: str, variance: float, seed: int, patient: NDArray[np.int64], replicate: int) -> Array:
    """Each patient's hazard over that of women like her: gamma, mean 1; the same at all times and in every arm."""
    if variance == 0:
        return np.ones(len(patient))
    share = streams.uniform(seed, f"frailty.{name}", patient, 0, replicate)
    return np.asarray(variance * gammaincinv(1 / variance, share))


def _loss(months: Array, bone: Array, span: float) -> Array:
    """Loss over the `span` months before (fewer at the start), %/yr, 0 where bone was gained."""
    back = np.maximum(months - span, 0.0)
    k = np.clip(np.searchsorted(months, back, side="right") - 1, 0, months.size - 1)
    years = np.maximum(months - months[k], 1.0) / 12.0
    return np.clip(100 * (1 - bone / bone[:, k]) / years, 0, None)


def _vertebrae(p: Values, lost: Array, share: Array) -> NDArray[np.int64]:
    """Vertebrae that a fracture takes: 1 and a geometric number more, at a share (0 to 1) of that distribution."""
    odds = p.further_odds * p.further_odds_loss**lost
    again = odds / (1 + odds)
    more = np.floor(np.log(share) / np.log(again))
    return np.minimum(1 + more, VERTEBRAE).astype(np.int64)

"""Random numbers that belong to a person and a purpose, not to a place in a sequence.

A number is a pure function of (seed, purpose, patient, index, replicate): Philox4x64-10 [1], a counter-based
generator, is keyed by a hash of seed and purpose, and its counter holds patient, index (visit, attempt, block) and
replicate. Nothing is drawn "next", so that one more draw, one more patient, another order or another number of
workers cannot change anybody's number, and a patient is the same person in every arm and design compared.

The bits are those of `numpy.random.Philox` for the same key and counter; tests hold the two together.

[1] Salmon JK, Moraes MA, Dror RO, Shaw DE. Parallel random numbers: as easy as 1, 2, 3. SC11 (2011).
    doi:10.1145/2063384.2063405
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

# Multipliers and Weyl constants of Philox4x64 (reference 1, section 3.3 and table 2).
_M0 = np.uint64(0xD2E7470EE14C6C93)
_M1 = np.uint64(0xCA5A826395121157)
_W0 = np.uint64(0x9E3779B97F4A7C15)
_W1 = np.uint64(0xBB67AE8584CAA73B)
_DROP = np.uint64(12)
_ROUNDS = 10


def _upper_half(typingctx: Any, a: Any, b: Any) -> Any:
    """Upper 64 bits of the 128-bit product a*b, which is one instruction of the processor."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), code


_high: Any = intrinsic(_upper_half)


@numba.njit(cache=True, inline="always")
def _rounds(
    x0: np.uint64, x1: np.uint64, x2: np.uint64, x3: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """The four random words of one counter (x0 to x3) under one key."""
    for _ in range(_ROUNDS):
        h0, l0 = _high(_M0, x0), _M0 * x0
        h1, l1 = _high(_M1, x2), _M1 * x2
        x0, x1, x2, x3 = h1 ^ x1 ^ k0, l1, h0 ^ x3 ^ k1, l0
        k0 += _W0
        k1 += _W1
    return x0, x1, x2, x3


@numba.njit(cache=True, nogil=True)
def philox(key: NDArray[np.uint64], counter: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Philox4x64-10: four random words for each counter.

    Parameters
    ----------
    key : ndarray of uint64, shape (2,)
    counter : ndarray of uint64, shape (n, 4)

    Returns
    -------
    ndarray of uint64, shape (n, 4)
    """
    words = np.empty_like(counter)
    for i in range(counter.shape[0]):
        words[i, 0], words[i, 1], words[i, 2], words[i, 3] = _rounds(
            counter[i, 0], counter[i, 1], counter[i, 2], counter[i, 3], key[0], key[1]
        )
    return words


@numba.vectorize(cache=True)  # compiled or loaded when the first number is asked for, not by the import
def _uniform(k0: Any, k1: Any, patient: Any, index: Any, replicate: Any) -> Any:
    """First word of a counter (patient, index, replicate, 0) as a double in (0, 1)."""
    x0, _, _, _ = _rounds(patient, index, replicate, np.uint64(0), k0, k1)
    # 52 bits and a half: the ends 0 and 1 are left out, and u and 1 - u are equally likely.
    return (np.float64(x0 >> _DROP) + 0.5) * 2.0**-52


@lru_cache(maxsize=4096)
def _key(seed: int, purpose: str) -> tuple[int, int]:
    digest = hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=16, person=b"ranklsim").digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def key(seed: int, purpose: str) -> NDArray[np.uint64]:
    """Philox key of a purpose under a seed: a hash that is the same in every process and on every machine.

    Parameters
    ----------
    seed : int
        Any whole number; 0 is a seed like any other.
    purpose : str
        What the numbers are for, such as "residual.BMD_LS".

    Returns
    -------
    ndarray of uint64, shape (2,)
    """
    return np.array(_key(int(seed), purpose), dtype=np.uint64)


def uniform(
    seed: int, purpose: str, patient: ArrayLike, index: ArrayLike = 0, replicate: ArrayLike = 0
) -> NDArray[np.float64]:
    """Uniform random numbers, each a function of its own labels only.

    Parameters
    ----------
    seed : int
        Seed of the trial.
    purpose : str
        What the number is for; different purposes are independent streams.
    patient, index, replicate : int or array of int, >= 0
        Labels of each number; they broadcast against each other as numpy arrays do.

    Returns
    -------
    ndarray of float, broadcast shape
        Strictly between 0 and 1, with 52 random bits.

    Raises
    ------
    ValueError
        If a label is negative or not a whole number.

    Examples
    --------
    >>> bool(uniform(7, "dropout", [1, 2, 3])[1] == uniform(7, "dropout", 2))
    True
    """
    labels = []
    for name, label in (("patient", patient), ("index", index), ("replicate", replicate)):
        array = np.asarray(label)
        if array.dtype.kind not in "iu" or (array.dtype.kind == "i" and array.size and array.min() < 0):
            raise ValueError(f"{name} must hold whole numbers from 0 on")
        labels.append(array.astype(np.uint64))
    return np.asarray(_uniform(*key(seed, purpose), *labels))


def normal(
    seed: int, purpose: str, patient: ArrayLike, index: ArrayLike = 0, replicate: ArrayLike = 0
) -> NDArray[np.float64]:
    """Standard normal random numbers: the inverse normal distribution function of `uniform`.

    Parameters
    ----------
    seed, purpose, patient, index, replicate
        As of `uniform`.
    """
    return ndtri(uniform(seed, purpose, patient, index, replicate))

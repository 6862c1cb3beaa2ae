import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ranklsim.cohorts import streams

WORD = st.integers(0, 2**64 - 1)


def numpy_philox(key, counter):
    """numpy raises its counter by one before it generates, so it is started one below."""
    start = sum(int(word) << (64 * place) for place, word in enumerate(counter))
    return np.random.Philox(key=np.array(key, dtype=np.uint64), counter=(start - 1) % 2**256).random_raw(4)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.tuples(WORD, WORD), st.tuples(WORD, WORD, WORD, WORD))
def test_words_are_those_of_numpy_bit_for_bit(key, counter):
    words = streams.philox(np.array(key, dtype=np.uint64), np.array([counter], dtype=np.uint64))
    assert words[0].tolist() == numpy_philox(key, counter).tolist()


def test_uniform_is_the_first_word_of_patient_index_replicate():
    u = streams.uniform(7, "dropout", 12, 3, 5)
    word = int(numpy_philox(streams.key(7, "dropout").tolist(), (12, 3, 5, 0))[0])
    assert u == ((word >> 12) + 0.5) / 2**52


def test_a_number_does_not_depend_on_who_else_is_drawn():
    together = streams.uniform(1, "eta.CL", np.arange(1000), 4)
    shuffled = np.random.default_rng(0).permutation(1000)
    assert np.array_equal(streams.uniform(1, "eta.CL", shuffled, 4), together[shuffled])
    assert streams.uniform(1, "eta.CL", 777, 4) == together[777]


def test_labels_broadcast():
    u = streams.uniform(1, "residual", np.arange(3)[:, None], np.arange(4)[None, :])
    assert u.shape == (3, 4)
    assert u[2, 1] == streams.uniform(1, "residual", 2, 1)


def test_every_label_gives_another_number():
    base = {"seed": 1, "purpose": "a", "patient": 1, "index": 1, "replicate": 1}
    changes = ({"seed": 2}, {"purpose": "b"}, {"patient": 2}, {"index": 2}, {"replicate": 2})
    others = [{**base, **change} for change in changes]
    values = {float(streams.uniform(**labels)) for labels in [base, *others]}
    assert len(values) == 6


def test_seed_zero_is_a_seed():
    assert streams.uniform(0, "a", 1) != streams.uniform(1, "a", 1)


@pytest.mark.slow
def test_the_key_is_the_same_in_another_process():
    code = "from ranklsim.cohorts import streams; print(*streams.key(20260, 'dropout'))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert [int(word) for word in printed.split()] == streams.key(20260, "dropout").tolist()


def test_uniforms_are_uniform_and_normals_normal():
    patient = np.arange(200_000)
    assert stats.kstest(streams.uniform(3, "a", patient), "uniform").pvalue > 1e-3
    assert stats.kstest(streams.normal(3, "b", patient), "norm").pvalue > 1e-3


def test_streams_of_two_purposes_are_uncorrelated():
    patient = np.arange(200_000)
    r = np.corrcoef(streams.normal(3, "a", patient), streams.normal(3, "b", patient))[0, 1]
    assert abs(r) < 4 / np.sqrt(patient.size)


@pytest.mark.parametrize("label", [-1, [0, -3], 0.5])
def test_a_label_that_is_no_counting_number_is_refused(label):
    with pytest.raises(ValueError, match="whole numbers"):
        streams.uniform(1, "a", label)

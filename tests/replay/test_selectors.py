import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.replay.selectors.uniform import Uniform


def drawable(selector, seed=0):
    if not len(selector):
        return set()
    return set(selector.sample(60 * len(selector), np.random.default_rng(seed)).tolist())


def test_uniform_draws_everything_equally_often():
    selector = Uniform()
    selector.insert(np.arange(10, 60))
    selector.remove(np.arange(20, 40))
    counts = np.bincount(selector.sample(300_000, np.random.default_rng(0)), minlength=60)
    assert not counts[:10].any()
    assert not counts[20:40].any()
    live = np.r_[counts[10:20], counts[40:60]]
    # 30 sequences: chi-square with 29 degrees of freedom stays below 58.3 in 999 of 1000 cases.
    assert ((live - 10_000) ** 2 / 10_000).sum() < 58.3


@given(st.lists(st.sets(st.integers(0, 80), min_size=1, max_size=12), max_size=30))
def test_uniform_holds_what_a_set_holds(toggles):
    selector, model = Uniform(), set()
    for rows in toggles:
        gone, new = sorted(rows & model), sorted(rows - model)
        if gone:
            selector.remove(np.array(gone))
        if new:
            selector.insert(np.array(new))
        model ^= rows
        assert len(selector) == len(model)
        assert drawable(selector) <= model
    counted = selector.sample(60 * len(model), np.random.default_rng(1)) if model else ()
    # Missing one of n with 60 n draws has a probability of about e**-60.
    assert set(np.asarray(counted).tolist()) == model


def test_sampling_from_nothing_is_an_error():
    with pytest.raises(IndexError, match="No sequence"):
        Uniform().sample(1, np.random.default_rng(0))

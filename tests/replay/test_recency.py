import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.replay.selectors.mixture import Mixture
from reverie.replay.selectors.recency import Recency
from reverie.replay.selectors.uniform import Uniform


def exact(order, exponent):
    """Weight per row of an order of insertion with None where rows were removed."""
    ages = range(len(order), 0, -1)
    return {row: age**-exponent for row, age in zip(order, ages, strict=True) if row is not None}


def take_out(selector, order, rows):
    selector.remove(np.array(rows))
    order[:] = [None if row in rows else row for row in order]


@pytest.mark.parametrize("exponent", [0, 0.5, 1.0, 3.0])
def test_draws_follow_the_age(exponent, assert_drawn):
    selector, order = Recency(exponent), []
    for rows in ([5], [3, 9, 1], list(range(20, 60))):
        selector.insert(np.array(rows))
        order += rows
    take_out(selector, order, [5, 3, 30, 31, 32])
    draws = selector.sample(50_000, np.random.default_rng(0)).tolist()
    assert_drawn(draws, exact(order, exponent))


@given(
    st.lists(st.sets(st.integers(0, 40), min_size=1, max_size=12), max_size=60),
    st.sampled_from([0.0, 1.0, 2.0]),
)
def test_draws_follow_the_age_whatever_came_and_went(assert_drawn, toggles, exponent):
    selector, order = Recency(exponent), []
    for rows in toggles:
        gone = sorted(rows & set(order))
        if gone:
            take_out(selector, order, gone)
        new = sorted(rows - set(order) - set(gone))
        selector.insert(np.array(new, np.int64))
        order += new
        live = sum(row is not None for row in order)
        assert len(selector) == live
    if live_weights := exact(order, exponent):
        draws = selector.sample(3000, np.random.default_rng(0)).tolist()
        assert_drawn(draws, live_weights, chance=1e-9)


def test_a_window_that_moves_on_for_long_keeps_its_memory(assert_drawn):
    selector, order = Recency(1.0), []
    rows = np.arange(2000)
    selector.insert(rows)
    for _ in range(40):
        selector.remove(rows[:500])
        rows = np.roll(rows, -500)
        selector.insert(rows[-500:])
    order = rows.tolist()
    assert selector.nbytes < 24 * 2 * 2000
    draws = selector.sample(100_000, np.random.default_rng(0)).tolist()
    assert_drawn(draws, exact(order, 1.0))


def test_the_newest_ones_may_be_gone(assert_drawn):
    selector, order = Recency(50.0), list(range(1000))
    selector.insert(np.arange(1000))
    take_out(selector, order, list(range(3, 1000)))
    draws = selector.sample(50_000, np.random.default_rng(0)).tolist()
    assert_drawn(draws, exact(order, 50.0))


def test_recency_of_nothing_and_negative_exponents_are_errors():
    with pytest.raises(IndexError, match="No sequence"):
        Recency().sample(1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="exponent of recency is -1"):
        Recency(-1)


def test_a_mixture_draws_the_shares_of_its_parts(assert_drawn):
    mixture = Mixture({"uniform": (Uniform(), 0.25), "recency": (Recency(2.0), 0.75)})
    mixture.insert(np.arange(20))
    mixture.remove(np.arange(5))
    assert len(mixture) == 15
    draws = mixture.sample(50_000, np.random.default_rng(0)).tolist()
    aged = exact([None] * 5 + list(range(5, 20)), 2.0)
    total = sum(aged.values())
    assert_drawn(draws, {row: 0.25 / 15 + 0.75 * aged[row] / total for row in aged})
    # Neighbouring draws are independent too: none of the parts has places of its own.
    pairs = [(a < 15, b < 15) for a, b in zip(draws[::2], draws[1::2], strict=True)]
    old = sum(0.25 / 15 + 0.75 * aged[row] / total for row in range(5, 15))
    both = {(a, b): abs(a - 1 + old) * abs(b - 1 + old) for a in (0, 1) for b in (0, 1)}
    assert_drawn(pairs, {(bool(a), bool(b)): p for (a, b), p in both.items()})


def test_a_mixture_counts_who_drew_and_probes_do_not_count():
    mixture = Mixture({"uniform": (Uniform(), 0.9), "recency": (Recency(), 0.1)})
    mixture.insert(np.arange(20))
    assert mixture.stats() == {"share/uniform": 0, "share/recency": 0}
    mixture.sample(100, np.random.default_rng(0), probe=True)
    assert mixture.stats() == {"share/uniform": 0, "share/recency": 0}
    mixture.sample(10_000, np.random.default_rng(0))
    assert mixture.stats()["share/uniform"] == pytest.approx(0.9, abs=0.02)
    assert sum(mixture.stats().values()) == pytest.approx(1)


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.0, 0.0), (1.5, -0.5)])
def test_shares_of_a_mixture_must_be_shares(shares):
    with pytest.raises(ValueError, match="must be positive and sum to 1"):
        Mixture({"a": (Uniform(), shares[0]), "b": (Recency(), shares[1])})

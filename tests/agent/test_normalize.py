import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent.training import normalize
from reverie.config.sections.agent import NormConfig

X = jnp.linspace(0, 100, 101)


def after(config, *batches):
    state = normalize.init()
    for x in batches:
        state = normalize.update(state, x, config)
    return normalize.stats(state, config)


def test_percentiles_move_at_the_rate():
    config = NormConfig(impl="perc", rate=0.1, limit=1.0)
    np.testing.assert_allclose(after(config, X), [0.5, 9.0], rtol=1e-5)
    np.testing.assert_allclose(after(config, X, X), [0.95, 17.1], rtol=1e-5)


def test_debiased_statistics_are_right_at_once():
    config = NormConfig(impl="perc", rate=0.1, debias=True)
    np.testing.assert_allclose(after(config, X), [5, 90], rtol=1e-5)


def test_mean_and_deviation():
    config = NormConfig(impl="meanstd", rate=0.1, debias=True)
    np.testing.assert_allclose(after(config, X), [50, X.std()], rtol=1e-5)


@pytest.mark.parametrize("impl", ["perc", "meanstd"])
def test_small_values_are_not_blown_up(impl):
    config = NormConfig(impl=impl, rate=1.0, limit=1.0)
    assert float(after(config, X / 1e4)[1]) == 1.0


def test_none_changes_nothing():
    np.testing.assert_array_equal(after(NormConfig(impl="none"), X), [0, 1])

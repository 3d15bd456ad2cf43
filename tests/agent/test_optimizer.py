import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent import optimizer
from reverie.config import OptimizerConfig
from reverie.nn.layers import Linear

CONFIG = OptimizerConfig(lr=0.1, warmup=0, eps=1e-20)


def rate(updates, **options):
    return float(optimizer.learning_rate(jnp.asarray(updates), OptimizerConfig(lr=1.0, **options)))


def test_warm_up_starts_at_zero():
    assert [rate(n, warmup=4) for n in (0, 1, 4, 9)] == [0, 0.25, 1, 1]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_annealing_ends_at_a_tenth(schedule):
    options = {"warmup": 10, "schedule": schedule, "anneal": 110}
    assert np.isclose(rate(10, **options), 1.0)
    assert np.isclose(rate(60, **options), 0.55)
    assert np.isclose(rate(110, **options), 0.1)
    assert np.isclose(rate(500, **options), 0.1)


def test_clipping_is_per_tensor():
    param, grad = jnp.array([3.0, 4.0]), jnp.array([30.0, 40.0])
    np.testing.assert_allclose(optimizer.clip_factor(grad, param, 0.3), 0.3 * 5 / 50, rtol=1e-6)
    assert float(optimizer.clip_factor(grad * 1e-3, param, 0.3)) == 1.0
    assert float(optimizer.clip_factor(grad, param, 0.0)) == 1.0
    zero = optimizer.clip_factor(jnp.array([1.0]), jnp.array([0.0]), 0.3)
    np.testing.assert_allclose(zero, 0.3e-3, rtol=1e-6)


def plain_updates(params, grads, steps, nesterov):
    """The algorithm tensor by tensor in numpy."""
    params = [np.array(p, np.float64) for p in params]
    nu, mu = [0 * p for p in params], [0 * p for p in params]
    for n in range(1, steps + 1):
        for i, g in enumerate(grads):
            g = np.array(g, np.float64) * n
            upper = 0.3 * max(1e-3, np.linalg.norm(params[i]))
            g = g / max(1, np.linalg.norm(g) / upper)
            nu[i] = 0.999 * nu[i] + 0.001 * g**2
            scaled = g / (np.sqrt(nu[i] / (1 - 0.999**n)) + 1e-20)
            mu[i] = 0.9 * mu[i] + 0.1 * scaled
            step = mu[i] / (1 - 0.9**n)
            step = 0.9 * step + 0.1 * scaled if nesterov else step
            params[i] = params[i] - 0.1 * step
    return params


@pytest.mark.parametrize("nesterov", [False, True])
def test_several_updates_equal_the_plain_algorithm(nesterov):
    config = OptimizerConfig(lr=0.1, warmup=0, nesterov=nesterov)
    rng = np.random.default_rng(0)
    params = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((3, 2), (4,))]
    grads = [jnp.asarray(rng.normal(size=p.shape), jnp.float32) for p in params]
    expected = plain_updates(params, grads, 4, nesterov)
    state = optimizer.init(params, config)
    for n in range(1, 5):
        scaled = [g * n for g in grads]
        params, state, metrics = optimizer.update(scaled, state, params, config)
    for a, b in zip(params, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    assert float(metrics["opt/updates"]) == 4
    assert float(metrics["opt/param_count"]) == 10


def test_weight_decay_touches_kernels_only():
    config = OptimizerConfig(lr=0.1, warmup=0, wd=0.5)
    linear = jax.tree.map(jnp.ones_like, Linear(2, 3, key=jax.random.key(0)))
    zeros = jax.tree.map(jnp.zeros_like, linear)
    after, _, _ = optimizer.update(zeros, optimizer.init(linear, config), linear, config)
    np.testing.assert_allclose(after.kernel, 1 - 0.1 * 0.5)
    np.testing.assert_array_equal(after.bias, 1)

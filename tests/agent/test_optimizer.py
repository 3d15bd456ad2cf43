import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent.training import loss_scale, optimizer
from reverie.agent.training.loss_scale import LossScale
from reverie.config.sections.agent import OptimizerConfig
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


def test_without_clipping_the_first_step_has_the_size_of_the_learning_rate():
    """RMS scaling divides the first gradient by its own magnitude, however large it is."""
    config = OptimizerConfig(lr=0.1, warmup=0, agc=0)
    params, grads = jnp.array([0.0, 1.0]), jnp.array([1e6, -1e-6])
    after, _, _ = optimizer.update(grads, optimizer.init(params, config), params, config)
    np.testing.assert_allclose(after, [-0.1, 1.1], rtol=1e-5)


PARAMS = {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([0.5])}
GRADS = {"kernel": jnp.array([[0.3, 0.1]]), "bias": jnp.array([-0.2])}


def half(factor=loss_scale.START, good=0):
    """State of float16 training."""
    state = optimizer.init(PARAMS, CONFIG, jnp.float16)
    return state._replace(scale=LossScale(jnp.float32(factor), jnp.int32(good)))


def scaled_update(state, grads=GRADS):
    """An update with the gradients that the scaled loss would have."""
    grads = jax.tree.map(lambda g: g * state.scale.factor, grads)
    return optimizer.update(grads, state, PARAMS, CONFIG)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_types_than_float16_have_no_trace_of_a_loss_scale(dtype):
    state = optimizer.init(PARAMS, CONFIG, jnp.dtype(dtype))
    assert state.scale is None
    loss = jnp.float32(3.0)
    assert optimizer.scale_loss(loss, state) is loss
    program = str(jax.make_jaxpr(lambda g: optimizer.update(g, state, PARAMS, CONFIG))(GRADS))
    assert "is_finite" not in program
    assert "opt/grad_scale" not in optimizer.update(GRADS, state, PARAMS, CONFIG)[2]


def test_a_scaled_update_equals_a_plain_one():
    plain, state, metrics = optimizer.update(GRADS, optimizer.init(PARAMS, CONFIG), PARAMS, CONFIG)
    after, scaled_state, scaled_metrics = scaled_update(half())
    assert float(optimizer.scale_loss(jnp.float32(2.0), half())) == 2e4
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert int(scaled_state.updates) == int(state.updates) == 1
    np.testing.assert_allclose(scaled_metrics["opt/grad_norm"], metrics["opt/grad_norm"], rtol=1e-6)
    assert float(scaled_metrics["opt/grad_overflow"]) == 0
    assert float(scaled_metrics["opt/grad_scale"]) == 1e4


@pytest.mark.parametrize("bad", [jnp.inf, -jnp.inf, jnp.nan])
def test_an_overflow_skips_the_update_and_halves_the_scale(bad):
    _, state, _ = scaled_update(half(good=5))
    assert int(state.scale.good) == 6
    grads = {**GRADS, "bias": jnp.array([bad])}
    params, after, metrics = scaled_update(state, grads)
    assert float(metrics["opt/grad_overflow"]) == 1
    assert float(metrics["opt/updates"]) == 1
    before = (PARAMS, state.inner, state.updates)
    kept = (params, after.inner, after.updates)
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(after.scale, LossScale(5e3, 0))


def test_the_scale_doubles_after_a_thousand_finite_updates():
    scale, factors = loss_scale.init(), []
    adjust = jax.jit(loss_scale.adjust)
    for _ in range(5 * loss_scale.PATIENCE):
        scale = adjust(scale, jnp.asarray(True))
        factors.append(float(scale.factor))
    assert factors[998:1000] == [1e4, 2e4]
    assert factors[1999::1000] == [4e4, 8e4, 1e5, 1e5]


def test_the_scale_stays_in_its_bounds():
    scale = LossScale(jnp.float32(1.5e-4), jnp.int32(3))
    scale = loss_scale.adjust(scale, jnp.asarray(False))
    assert float(scale.factor) == np.float32(1e-4)
    assert int(scale.good) == 0


def test_at_the_lowest_scale_bad_gradients_are_reported_as_an_error():
    """No overflow of float16 explains them there, so that the learner has to stop."""
    grads = {**GRADS, "bias": jnp.array([jnp.nan])}
    params, _, metrics = scaled_update(half(factor=loss_scale.LOWEST), grads)
    assert float(metrics["opt/grad_overflow"]) == 0
    assert not np.isfinite(metrics["opt/grad_norm"])
    np.testing.assert_array_equal(params["bias"], PARAMS["bias"])

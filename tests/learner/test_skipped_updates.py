"""Updates that float16 skips: the learner goes on, and stops where another dtype would."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent.training import loss_scale, optimizer
from reverie.config.sections.agent import OptimizerConfig
from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.learner.checkpoints.tree import MismatchError
from reverie.learner.learner import Learner
from reverie.learner.nonfinite import NonFiniteError

CONFIG = OptimizerConfig(lr=0.1, warmup=0)


class RootState(NamedTuple):
    params: dict
    opt: optimizer.OptState


class RootAgent:
    """Minimises `sqrt(sum(kernel * obs))` with the real optimizer.

    Observations of 100 give a gradient of 14, too large for float16 at a loss scale of 1e4 or
    5e3. Observations of 0 give a finite loss and a gradient that is NaN at every scale.
    """

    def __init__(self, dtype):
        self.dtype = jnp.dtype(dtype)

    def init(self, key):
        params = {"kernel": jnp.ones(3)}
        return RootState(params, optimizer.init(params, CONFIG, self.dtype))

    def init_carry(self, n):
        return jnp.zeros((n, 1))

    def train(self, state, carry, batch, key):
        def objective(params):
            product = params["kernel"][None].astype(self.dtype) * batch["obs"].astype(self.dtype)
            loss = jnp.sqrt(product.sum(dtype=jnp.float32))
            return optimizer.scale_loss(loss, state.opt), loss

        grads, loss = jax.grad(objective, has_aux=True)(state.params)
        params, opt, metrics = optimizer.update(grads, state.opt, state.params, CONFIG)
        return RootState(params, opt), carry, batch["obs"], {**metrics, "loss/root": loss}


@pytest.fixture
def make(placement):
    return lambda dtype: Learner(RootAgent(dtype), placement=placement)


def batch(value):
    return {"obs": np.full((24, 3), value, np.float32)}


def train(learner, value, updates):
    """Metrics of several updates."""
    for _ in range(updates):
        learner.update(batch(value))
    learner.synchronize()
    return learner.pop_metrics()


def test_overflows_are_reported_and_lower_the_scale_until_an_update_fits(make):
    learner = make("float16")
    metrics = train(learner, 100.0, 4)
    assert [m["opt/grad_overflow"] for m in metrics] == [1, 1, 0, 0]
    assert [m["opt/grad_scale"] for m in metrics] == [1e4, 5e3, 2.5e3, 2.5e3]
    assert [m["opt/updates"] for m in metrics] == [0, 0, 1, 2]
    assert ["opt/grad_norm" in m for m in metrics] == [False, False, True, True]
    assert all(np.isfinite(list(m.values())).all() for m in metrics)
    assert (learner.arrays()["params/kernel"] < 1).all()


def test_a_gradient_that_no_scale_makes_finite_stops_the_run(make):
    learner = make("float16")
    # 1e4 halved 27 times reaches the lowest scale, where a NaN is no overflow any more.
    metrics = train(learner, 0.0, 27)
    assert all(m["opt/grad_overflow"] == 1 for m in metrics)
    np.testing.assert_array_equal(learner.arrays()["params/kernel"], 1)
    learner.update(batch(0.0))
    with pytest.raises(NonFiniteError, match="opt/grad_norm"):
        learner.synchronize()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_types_stop_at_once(make, dtype):
    assert "opt/grad_overflow" not in train(make(dtype), 100.0, 1)[0]
    with pytest.raises(NonFiniteError, match="opt/grad_norm"):
        train(make(dtype), 0.0, 1)


def test_the_scale_is_saved_with_the_run(make, tmp_path):
    learner = make("float16")
    train(learner, 100.0, 3)
    Checkpointer(tmp_path).save(1, learner.arrays(), {})
    arrays = Checkpointer(tmp_path).restore().arrays
    assert float(arrays["opt/scale/factor"]) == 2.5e3
    restored = make("float16")
    restored.load(arrays)
    assert [m["opt/grad_overflow"] for m in train(restored, 100.0, 2)] == [0, 0]


def test_checkpoints_with_and_without_a_scale_meet_agents_of_the_other_kind(make):
    half, single = make("float16").arrays(), make("float32").arrays()
    assert set(half) - set(single) == {"opt/scale/factor", "opt/scale/good"}
    learner = make("float16")
    learner.load(single)
    assert float(learner.arrays()["opt/scale/factor"]) == loss_scale.START
    with pytest.raises(MismatchError, match="no array opt/scale/factor, opt/scale/good"):
        make("float32").load(half)

"""A tiny agent with the interface of the real one, so that the learner is tested alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.learner.learner import Learner
from reverie.learner.placement.devices import configure
from reverie.learner.policy import Policy
from reverie.spaces import Space


class FakeState(NamedTuple):
    params: dict
    momentum: dict
    empty: jax.Array


class FakeOutputs(NamedTuple):
    latents: dict
    priority: jax.Array


class FakeAgent:
    """Predicts the observation from itself by a matrix; acts with the sign of a product."""

    obs_space = {"obs": Space("continuous", (3,), "float32")}  # noqa: RUF012

    def init(self, key):
        params = {"enc/kernel": jax.random.normal(key, (3, 3)), "policy": jnp.ones(3)}
        return FakeState(params, jax.tree.map(jnp.zeros_like, params), jnp.zeros((0,)))

    def init_carry(self, n):
        return {"deter": jnp.zeros((n, 3))}

    def policy(self, params, carry, obs, key, mode="train"):
        deter = jnp.where(obs["is_first"][:, None], 0.0, carry["deter"])
        deter = deter + obs["obs"] @ params["enc/kernel"]
        noise = jax.random.normal(key, deter.shape[:1]) if mode == "train" else 0.0
        action = deter @ params["policy"] + noise
        return {"deter": deter}, {"action": action}, {"latent/deter": deter}

    def train(self, state, carry, batch, key):
        def loss_fn(params):
            error = batch["obs"] @ params["enc/kernel"] - batch["obs"]
            return jnp.square(error).mean()

        loss, grads = jax.value_and_grad(loss_fn)(state.params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, grads)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, state.momentum, grads)
        latents = {"latent/deter": batch["obs"][:, 1:] + carry["deter"][:, None]}
        norm = jnp.sqrt(sum(jnp.square(g).sum() for g in jax.tree.leaves(grads)))
        metrics = {"loss/rec": loss, "opt/grad_norm": norm, "draw": jax.random.uniform(key)}
        outputs = FakeOutputs(latents, jnp.square(batch["obs"]).mean(-1))
        carry = {"deter": carry["deter"] + 1}
        return FakeState(params, momentum, state.empty), carry, outputs, metrics

    def report(self, state, carry, batch, key):
        return carry, {"openloop/obs": batch["obs"] @ state.params["enc/kernel"]}


@pytest.fixture(scope="session")
def placement():
    return configure("cpu", cache_dir="off")


@pytest.fixture
def agent():
    return FakeAgent()


@pytest.fixture
def make_learner(agent, placement):
    return lambda seed=0, **kwargs: Learner(agent, placement=placement, seed=seed, **kwargs)


@pytest.fixture
def make_policy(agent, placement):
    return lambda params=None, seed=0, **kwargs: Policy(
        agent, params, device=placement.policy, seed=seed, **kwargs
    )


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {"obs": rng.normal(size=(4, 6, 3)).astype(np.float32), "consec": np.zeros(4, np.int32)}


@pytest.fixture
def obs():
    return {"obs": np.eye(3, dtype=np.float32)[:2], "is_first": np.array([True, False])}

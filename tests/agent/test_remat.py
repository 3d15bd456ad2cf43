"""Updates that compute the encoder again in their backward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent.agent import Agent
from reverie.config.load import load
from reverie.spaces import FLAGS, Space

OBS = {"image": Space("image", (32, 32, 3), "uint8")}
ACT = {"action": Space("discrete", (), "int32", (3,))}
B, T = 2, 4


@pytest.fixture(scope="module")
def gradients():
    """By `remat`: a gradient, and the bytes that it keeps for its backward pass."""
    config = load(["--configs", "debug", r"--.*\.mults", "2,4"]).agent
    rng = np.random.default_rng(0)
    shape = (B, 1 + T)
    batch = {
        "image": rng.integers(0, 256, (*shape, 32, 32, 3)).astype(np.uint8),
        "action": rng.integers(0, 3, shape).astype(np.int32),
        "reward": rng.normal(size=shape).astype(np.float32),
        "consec": np.zeros(B, np.int32),
        **{flag: np.zeros(shape, bool) for flag in FLAGS},
    }
    found = {}
    for remat in (False, True):
        agent = Agent(config, OBS, ACT, remat=remat)
        for key, space in agent.latent_spaces.items():
            batch[key] = np.zeros((B, 1, *space.shape), space.dtype)
        state = agent.init(jax.random.key(0))

        def loss(params, agent=agent, state=state):
            arrays = jax.tree.map(jnp.asarray, batch)
            args = state.states, agent.init_carry(B), arrays, jax.random.key(1)
            return agent.loss(params, *args)[0]

        kept = jax.eval_shape(lambda x, loss=loss: jax.vjp(loss, x)[1], state.params)
        size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept))
        found[remat] = jax.tree.leaves(jax.jit(jax.grad(loss))(state.params)), size
    return found


def test_the_gradient_stays_the_same(gradients):
    plain, again = (gradients[remat][0] for remat in (False, True))
    largest = max(np.abs(x).max() for x in plain)
    for one, two in zip(plain, again, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5 * largest)
    assert largest > 0


def test_less_is_kept(gradients):
    assert gradients[True][1] < 0.8 * gradients[False][1]

"""Training in bfloat16 and float16, measured against float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent.agent import Agent
from reverie.agent.training import loss_scale
from reverie.config.load import load
from reverie.nn.draws import Draws
from reverie.spaces import Space

OBS = {
    "vector": {"vector": Space("continuous", (5,), "float32")},
    "image": {"image": Space("image", (16, 16, 3), "uint8")},
}
ACT = {
    "jump": Space("discrete", (), "int32", (4,)),
    "move": Space("continuous", (2,), "float32"),
}
B, T = 4, 6
KEY = jax.random.key(1)
FLAGS = ["--configs", "debug", "--agent.dyn.free_nats", "0", "--agent.opt.warmup", "0"]
FLAGS += [r"--.*\.mults", "2,4"]  # Two convolutional stages: a grid of 4x4.

ROUNDINGS = 60
"""Roundings on the longest path from an input to a loss: T steps of a core with about 8 of them,
and a dozen in the encoder and the heads."""

TOLERANCE = ROUNDINGS**0.5 / 2
"""In units of the type's epsilon. One rounding is off by at most half of it, and independent
ones add up like a random walk. The sums over many numbers inside a product round in float32."""


class BlindDraws(Draws):
    """Class indices from the noise alone.

    Rounding then changes no sample. Otherwise two classes of nearly equal probability swap, after
    which two trajectories have nothing in common.
    """

    def categorical(self, noise, probs):
        return jnp.floor(noise * probs.shape[-2]).astype(jnp.int32)


@functools.cache
def make(case, dtype):
    """An agent, its compiled update and what makes a state in which no head is zero.

    The latter is not compiled as a whole: its parts are the same for every type.
    """
    agent = Agent(load(FLAGS).agent, OBS[case], ACT, dtype=dtype, draws=BlindDraws())
    train = jax.jit(agent.train, compiler_options={"xla_backend_optimization_level": 0})
    noisy = lambda x: x + 0.02 * jax.random.normal(jax.random.key(x.size), x.shape)  # noqa: E731

    def init(key):
        state = agent.init(key)
        return state._replace(params=jax.tree.map(noisy, state.params))

    return agent, train, init


def batch_of(agent):
    rng, batch = np.random.default_rng(0), {}
    for key, space in {**agent.obs_space, **ACT}.items():
        shape = (B, T + 1, *space.shape)
        if space.kind == "continuous":
            batch[key] = rng.normal(size=shape).astype(np.float32)
        else:
            high = 256 if space.kind == "image" else space.classes[0]
            batch[key] = rng.integers(0, high, shape).astype(space.dtype)
    batch |= {k: np.zeros((B, T + 1), bool) for k in ("is_first", "is_last", "is_terminal")}
    batch["reward"] = rng.normal(size=(B, T + 1)).astype(np.float32)
    batch["consec"] = np.zeros(B, np.int32)
    return batch | {k: s.zeros(B, 1) for k, s in agent.latent_spaces.items()}


@functools.cache
def updated(case, dtype, factor=loss_scale.START, seed=0):
    """Results of one update of an initial state, in float16 from the given loss scale."""
    agent, train, init = make(case, dtype)
    state = init(jax.random.key(seed))
    if dtype == "float16":
        scale = state.opt.scale._replace(factor=jnp.float32(factor))
        state = state._replace(opt=state.opt._replace(scale=scale))
    return state, *train(state, agent.init_carry(B), batch_of(agent), KEY)


def relative_error(result, expected):
    """Root mean square of an error relative to that of the numbers themselves."""
    result, expected = np.float64(result), np.float64(expected)
    return np.linalg.norm(result - expected) / np.linalg.norm(expected)


CASES = ["vector", pytest.param("image", marks=pytest.mark.slow)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", CASES)
def test_losses_are_finite_and_close_to_float32(case, dtype):
    exact, (_, _, _, out, metrics) = updated(case, "float32"), updated(case, dtype)
    tolerance = TOLERANCE * float(jnp.finfo(dtype).eps)
    losses = [name for name in metrics if name.startswith("loss/")]
    assert len(losses) == 8
    for name in losses:
        # Of three states, because the terms of the policy's loss have both signs: where they
        # happen to cancel, the error relative to their sum says little.
        pairs = [[updated(case, d, seed=s)[4][name] for d in (dtype, "float32")] for s in range(3)]
        assert np.isfinite(pairs).all(), name
        assert np.median([relative_error(*pair) for pair in pairs]) < tolerance, name
    assert relative_error(out.priority, exact[3].priority) < tolerance
    assert out.latents["latent/deter"].dtype == dtype
    deter = out.latents["latent/deter"].astype(jnp.float32)
    assert relative_error(deter, exact[3].latents["latent/deter"]) < tolerance


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradients_are_close_to_float32(dtype):
    """The second moments after one update are the squares of the gradients, up to a factor."""
    gradients = {}
    for name in ("float32", dtype):
        state = updated("vector", name)[1]
        gradients[name] = np.sqrt(np.float64(state.opt.inner[0].nu))
    # Twice the roundings of a loss: there and back.
    tolerance = 2**0.5 * TOLERANCE * float(jnp.finfo(dtype).eps)
    assert relative_error(gradients[dtype], gradients["float32"]) < tolerance


def test_float16_skips_an_overflowing_update_whole():
    before, after, _, _, metrics = updated("vector", "float16", factor=1e9)
    assert float(metrics["opt/grad_overflow"]) == 1
    assert all(np.isfinite(v) for k, v in metrics.items() if k.startswith("loss/"))
    kept = after._replace(opt=after.opt._replace(scale=before.opt.scale))
    for a, b in zip(*map(jax.tree.leaves, (kept, before)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(after.opt.scale.factor) == loss_scale.HIGHEST


def test_float16_updates_parameters_slow_value_and_statistics():
    before, after, _, _, metrics = updated("vector", "float16")
    assert float(metrics["opt/grad_overflow"]) == 0
    assert int(after.opt.updates) == int(after.opt.scale.good) == 1
    behavior = after.states["actor_critic"]
    slow = before.states["actor_critic"].slow, behavior.slow
    for pair in ((before.params, after.params), slow):
        old, new = map(jax.tree.leaves, pair)
        assert any(float(jnp.abs(a - b).max()) > 0 for a, b in zip(old, new, strict=True))
    assert float(behavior.norms.ret.weight) > 0


@pytest.mark.slow
def test_float16_finds_a_scale_for_the_large_gradients_of_images():
    agent, train, init = make("image", "float16")
    state = init(jax.random.key(0))
    overflows = []
    while not overflows or overflows[-1]:
        state, _, _, metrics = train(state, agent.init_carry(B), batch_of(agent), KEY)
        overflows.append(float(metrics["opt/grad_overflow"]))
        assert len(overflows) < 20
    assert len(overflows) > 1
    assert int(state.opt.updates) == 1
    exact = updated("image", "float32")[4]["opt/grad_norm"]
    np.testing.assert_allclose(metrics["opt/grad_norm"], exact, rtol=0.05)

"""An encoder from outside trains without an edit in agent, losses or run."""

import pathlib
import sys
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent.agent import Agent
from reverie.config.load import load
from reverie.errors import ConfigError
from reverie.spaces import Space

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


def test_patch_encoder_trains(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    flags = ["--agent.enc.typ", "patch_encoder:PatchEncoder"]
    flags += ["--agent.enc.extra", "{patch: 16, units: 8}", "--agent.dec.simple.mults", "2,4"]
    config = load(["--configs", "debug", *flags])
    obs = {
        "image": Space("image", (48, 48, 3), "uint8"),
        "speed": Space("continuous", (2,), "float32"),
    }
    act = {"action": Space("discrete", (), "int32", (3,))}
    agent = Agent(config.agent, obs, act, context=1)
    state = agent.init(jax.random.key(0))
    assert state.params.enc.tokens == 9 * 8 + 2
    rng, rows = np.random.default_rng(0), (2, 5)
    batch = {
        "image": rng.integers(0, 256, (*rows, 48, 48, 3), np.uint8),
        "speed": rng.normal(size=(*rows, 2)).astype(np.float32),
        "action": rng.integers(0, 3, rows, np.int32),
        "reward": np.ones(rows, np.float32),
        **{k: np.zeros(rows, bool) for k in ("is_first", "is_last", "is_terminal")},
        "consec": np.zeros(2, np.int32),
        **{k: s.zeros(2, 1) for k, s in agent.latent_spaces.items()},
    }
    train = jax.jit(agent.train, compiler_options={"xla_backend_optimization_level": 0})
    carry = agent.init_carry(2)
    before = state.params.enc.embed.layers[0].linear.kernel
    for i in range(3):
        state, carry, _, metrics = train(state, carry, batch, jax.random.key(i))
    assert all(bool(jnp.isfinite(x)) for x in metrics.values())
    after = state.params.enc.embed.layers[0].linear.kernel
    assert float(jnp.abs(after - before).max()) > 0


def test_unknown_encoder_names_the_known_ones():
    with pytest.raises(ValueError, match=r"agent.enc.typ.*'simpel'.*simple.*module:Class"):
        load(["--agent.enc.typ", "simpel"])


class Own(eqx.Module):
    tokens: int = eqx.field(static=True)
    kernel: jax.Array

    def __init__(self, obs_space, *, key, tokens=4):
        self.tokens, self.kernel = tokens, jax.random.normal(key, (2, 4))

    def __call__(self, obs, dtype):
        return obs["speed"].astype(dtype) @ self.kernel


class Plain:
    tokens = 4

    def __init__(self, obs_space, *, key):
        pass


class Holds(Own):
    act: Callable

    def __init__(self, obs_space, *, key):
        super().__init__(obs_space, key=key)
        self.act = jnp.tanh


class Bits(Own):
    def __call__(self, obs, dtype):
        return super().__call__(obs, dtype) > 0


class Single(Own):
    def __call__(self, obs, dtype):
        return obs["speed"] @ self.kernel.astype(jnp.float32)


class Fails(Own):
    def __call__(self, obs, dtype):
        return obs["velocity"]


@pytest.mark.parametrize(
    ("name", "extra", "message"),
    [
        ("Own", {"width": 3}, "Own raised TypeError: .* unexpected keyword argument 'width'"),
        ("Own", {"tokens": 5}, r"of shape \(1, 4\) for one .* here \(1, 5\)"),
        ("Plain", {}, r"Plain holds a Plain\. It has to be an equinox\.Module"),
        ("Holds", {}, r"holds a \w+\.act\. .* static=True"),
        ("Bits", {}, "gives bool of shape .* here bfloat16"),
        ("Single", {}, r"gives float32 of shape \(1, 4\) .* here bfloat16"),
        ("Fails", {}, "(?s)Fails raised KeyError: 'velocity'.*line .* in __call__"),
        ("dict", {}, "dict raised AttributeError"),
    ],
)
def test_a_mistake_in_an_own_encoder_is_told(name, extra, message):
    module = "builtins" if name == "dict" else __name__
    enc = {"typ": f"{module}:{name}", "extra": extra}
    config = load(["--configs", "debug"], overrides={"agent.enc": enc})
    obs = {"speed": Space("continuous", (2,), "float32")}
    act = {"action": Space("discrete", (), "int32", (3,))}
    agent = Agent(config.agent, obs, act, dtype="bfloat16")
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(agent.init, jax.random.key(0))

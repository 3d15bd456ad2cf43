"""Options whose value 0 means off: gradient clipping and the decoder's blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent.agent import Agent
from reverie.config.checks import check_spaces
from reverie.config.load import load
from reverie.errors import ConfigError
from reverie.spaces import Space

OBS = {"image": Space("image", (16, 16, 3), "uint8")}
ACT = {"action": Space("discrete", (), "int32", (3,))}
B, ROWS = 2, 4
FLAGS = ["--configs", "debug", r"--.*\.mults", "2,4", "--agent.opt.warmup", "0"]
OFF = ["--agent.opt.agc", "0", "--agent.dec.simple.bspace", "0"]


def test_an_agent_trains_without_clipping_and_without_blocks():
    config = load([*FLAGS, *OFF]).agent
    check_spaces(OBS, config)
    agent = Agent(config, OBS, ACT)
    rng = np.random.default_rng(0)
    batch = {k: np.zeros((B, ROWS), bool) for k in ("is_first", "is_last", "is_terminal")}
    batch |= {
        "image": rng.integers(0, 256, (B, ROWS, 16, 16, 3)).astype(np.uint8),
        "action": rng.integers(0, 3, (B, ROWS)).astype(np.int32),
        "reward": rng.normal(size=(B, ROWS)).astype(np.float32),
        "consec": np.zeros(B, np.int32),
    }
    batch |= {k: s.zeros(B, 1) for k, s in agent.latent_spaces.items()}
    train = jax.jit(agent.train, compiler_options={"xla_backend_optimization_level": 0})
    before = agent.init(jax.random.key(0))
    after, _, _, metrics = train(before, agent.init_carry(B), batch, jax.random.key(1))
    assert all(np.isfinite(v) for v in metrics.values())

    # Unclipped, the second moments of the first update are the squared gradients.
    squares = after.opt.inner[0].nu / (1 - config.opt.beta2)
    np.testing.assert_allclose(jnp.sqrt(squares.sum()), metrics["opt/grad_norm"], rtol=1e-3)

    old, new = (state.params.heads["dec"].image for state in (before, after))
    assert new.from_deter is None
    dyn = config.dyn
    assert new.from_hidden.kernel.shape[0] == dyn.deter + dyn.stoch * dyn.classes
    assert float(jnp.abs(new.from_hidden.kernel - old.from_hidden.kernel).max()) > 0


@pytest.mark.parametrize("key", ["agent.opt.agc", "agent.dec.simple.bspace"])
def test_less_than_zero_is_refused(key):
    with pytest.raises(ConfigError, match=key):
        load([f"--{key}", "-1"])

"""What an update would take on a GPU that is not here, from its published figures."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from reverie.agent.agent import Agent
from reverie.config.schema import Config
from reverie.learner.compilation.programs import standard, state_shapes
from reverie.run.planning.flops import count_flops
from reverie.spaces import FLAGS, Space

LAUNCH = 2e-6
"""Seconds from one kernel to the next, whatever it computes."""

POLICY_LAUNCHES = 150
"""Kernels that choose the actions of all environments."""

SHARE = 0.75
"""Of a card's memory, what JAX takes."""

KEPT = 0.4
"""Of the results that a gradient keeps for its backward pass, what is there at once on a card: the
rest is computed again. Counted for described H100s: 0.34 (size12m) and 0.42 (size200m) with images,
0.54 (size1m) without."""

MOVED = 10
"""How often those results are read and written: counted 10 times (size12m, images), 16 times
(size200m, images), and 12 times (size1m, vectors), whose time is that of launches."""


@dataclasses.dataclass(frozen=True)
class Card:
    """Published figures of a GPU.

    Attributes:
        memory: Bytes.
        bandwidth: Bytes per second.
        flops: Operations per second of dense products in bfloat16.
    """

    memory: float
    bandwidth: float
    flops: float


CARDS = {
    "b200": Card(180e9, 8.0e12, 2250e12),
    "h200": Card(141e9, 4.8e12, 989e12),
    "h100": Card(80e9, 3.35e12, 989e12),
    "a100": Card(40e9, 1.56e12, 312e12),
    "a100-80gb": Card(80e9, 2.04e12, 312e12),
    "l40s": Card(48e9, 0.86e12, 362e12),
    "l4": Card(24e9, 0.30e12, 121e12),
    "rtx5090": Card(32e9, 1.79e12, 209e12),
    "rtx4090": Card(24e9, 1.01e12, 165e12),
    "rtx3090": Card(24e9, 0.94e12, 71e12),
}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What an update would take.

    Attributes:
        state: Bytes of the agent's state.
        program: Bytes while an update runs, the state among them.
        update: Seconds of it.
        policy: Seconds in which the actions of all environments are chosen.
    """

    state: int
    program: int
    update: float
    policy: float = POLICY_LAUNCHES * LAUNCH


def estimate(config: Config, agent: Agent, card: Card) -> Estimate:
    """Traces an update, compiles and runs nothing.

    The time is that of launches which follow each other, plus the longer of moving the bytes and
    of the products at the published peaks: a real card is slower.

    Raises:
        FlopsError: If products of the update, in code of the user, cannot be counted.
    """
    with standard():
        state, key = state_shapes(agent), jax.eval_shape(lambda: jax.random.key(0))
        carry = jax.eval_shape(lambda: agent.init_carry(config.batch_size))
        arguments = (state, carry, batch(config, agent), key)

        def kept(state, carry, batch, key):
            loss = lambda params: agent.loss(params, state.states, carry, batch, key)[0]  # noqa: E731
            return jax.vjp(loss, state.params)[1]

        results = _bytes(jax.eval_shape(kept, *arguments))
        flops = count_flops(agent.train, *arguments)
    size = _bytes(state)
    moved = MOVED * results + 3 * size
    longer = max(moved / card.bandwidth, flops / card.flops)
    update = LAUNCH * launches(config, agent.obs_space) + longer
    return Estimate(size, size + int(KEPT * results), update)


def launches(config: Config, obs_space: Mapping[str, Space]) -> int:
    """Kernels of an update, as `benchmarks/gpu_program.py` counts them, to about a tenth."""
    images = any(space.kind == "image" for space in obs_space.values())
    imagined = config.agent.imag_length + 1
    return 700 + 30 * config.batch_length + 25 * imagined + 500 * images


def batch(config: Config, agent: Agent) -> dict[str, Any]:
    """Shapes of a replayed batch."""
    size, context = config.batch_size, config.replay_context
    rows = (size, context + config.batch_length)
    arrays = shapes({**agent.obs_space, **agent.act_space}, *rows)
    arrays |= {k: jax.ShapeDtypeStruct(rows, bool) for k in FLAGS}
    arrays["reward"] = jax.ShapeDtypeStruct(rows, np.float32)
    arrays["consec"] = jax.ShapeDtypeStruct((size,), np.int32)
    return arrays | shapes(agent.latent_spaces, size, context)


def shapes(spaces: Mapping[str, Space], *rows: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of values of these spaces, with more axes before theirs."""
    return {k: jax.ShapeDtypeStruct((*rows, *s.shape), s.dtype) for k, s in spaces.items()}


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))

"""Dynamic loss scaling, which keeps float16 gradients inside the narrow range of their type.

float16 holds magnitudes from 6e-8 to 65504. Below them gradients become zero, above them infinite.
So the gradient is computed of the loss times a factor, which is as large as overflows allow, and
divided by it again in float32. An update whose gradients overflow all the same is skipped.
"""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from reverie.nn.functional import f32

Tree = TypeVar("Tree")

START = 1e4
LOWEST, HIGHEST = 1e-4, 1e5
PATIENCE = 1000
"""Finite updates in a row after which the factor is doubled."""


class LossScale(NamedTuple):
    """The factor on the loss and the number of finite updates since it last changed."""

    factor: Float[Array, ""]
    good: Int[Array, ""]


def init() -> LossScale:
    """The factor before the first update."""
    return LossScale(jnp.asarray(START, f32), jnp.zeros((), jnp.int32))


def adjust(scale: LossScale, finite: Bool[Array, ""]) -> LossScale:
    """Halves the factor after an overflow and doubles it after `PATIENCE` finite updates."""
    good = jnp.where(finite, scale.good + 1, 0)
    grow = good >= PATIENCE
    change = jnp.where(finite, jnp.where(grow, 2.0, 1.0), 0.5)
    factor = jnp.clip(scale.factor * change, LOWEST, HIGHEST)
    return LossScale(factor, jnp.where(grow, 0, good))


def keep_if(made: Bool[Array, ""], new: Tree, old: Tree) -> Tree:
    """The new arrays if an update was made, the old ones if it was skipped."""
    return jax.tree.map(lambda n, o: jnp.where(made, n, o), new, old)

"""Running statistics that bring returns, values and advantages to unit scale."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from reverie.config.sections.agent import NormConfig
from reverie.nn.functional import f32, sg


class NormState(NamedTuple):
    """Two running numbers and the bias correction of their average.

    `perc`: low and high percentile. `meanstd`: mean and mean square. `none`: unused.
    """

    first: Float[Array, ""]
    second: Float[Array, ""]
    weight: Float[Array, ""]


def init() -> NormState:
    """Statistics before the first update: all zeros."""
    zero = jnp.zeros((), f32)
    return NormState(zero, zero, zero)


def update(state: NormState, x: Float[Array, "..."], config: NormConfig) -> NormState:
    """Averages the statistics of a batch into the state at `config.rate`."""
    if config.impl == "none":
        return state
    x = sg(x.astype(f32))
    if config.impl == "perc":
        new = jnp.percentile(x, jnp.array([config.perclo, config.perchi], f32))
        first, second = new[0], new[1]
    else:
        first, second = x.mean(), jnp.square(x).mean()
    mix = lambda old, new: (1 - config.rate) * old + config.rate * new  # noqa: E731
    return NormState(
        mix(state.first, first), mix(state.second, second), mix(state.weight, jnp.ones((), f32))
    )


def stats(state: NormState, config: NormConfig) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Offset and scale to normalise with, as in `(x - offset) / scale`.

    The scale is at least `config.limit`, so that small returns are not blown up (paper
    equation 7 uses the percentile range with a limit of 1).
    """
    if config.impl == "none":
        return jnp.zeros((), f32), jnp.ones((), f32)
    first, second = state.first, state.second
    if config.debias:
        correction = jnp.maximum(state.weight, config.rate)
        first, second = first / correction, second / correction
    if config.impl == "perc":
        return sg(first), sg(jnp.maximum(second - first, config.limit))
    deviation = jnp.sqrt(jnp.maximum(second - jnp.square(first), 0.0))
    return sg(first), sg(jnp.maximum(deviation, config.limit))

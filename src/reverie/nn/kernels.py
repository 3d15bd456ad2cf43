"""Initial kernels, all of them from one draw where a whole agent is made."""

import contextvars
import math
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

T = TypeVar("T")


def init_kernel(
    key: Key[Array, ""], shape: tuple[int, ...], fan_in: int, outscale: float
) -> Float[Array, "..."]:
    """Normal truncated to two standard deviations, rescaled to variance `outscale^2 / fan_in`."""
    # 1.1368 restores the variance that truncation at two standard deviations removes.
    scale = 1.1368 * math.sqrt(1 / fan_in) * outscale
    pool, size = _pool.get(), math.prod(shape)
    values = _draw(key, size) if pool is None else pool.take(size)
    return scale * values.reshape(shape)


def drawn_together(make: Callable[[Key[Array, ""]], T], key: Key[Array, ""]) -> T:
    """Calls `make(key)` with one draw for the kernels of all its layers.

    They have the same distribution as from a draw for each, for which XLA compiles a generator of
    its own: the 50 of an agent take six seconds of processor time, one draw takes one.

    Args:
        make: Pure function; what else it draws has to come from its key.
        key: Where everything comes from.
    """
    pool_key, key = jax.random.split(key)
    counted = _Pool()
    jax.eval_shape(counted.during(make), key)
    return _Pool(_draw(pool_key, counted.taken)).during(make)(key)


class _Pool:
    """Hands out pieces of a draw in turn; without one zeros, to learn how large it has to be."""

    def __init__(self, values: Float[Array, " n"] | None = None):
        self.taken = 0
        self._values = values

    def take(self, size: int) -> Float[Array, " n"]:
        begin, self.taken = self.taken, self.taken + size
        return jnp.zeros(size) if self._values is None else self._values[begin : self.taken]

    def during(self, make: Callable) -> Callable:
        """`make`, whose kernels are taken from here."""

        def call(key: Key[Array, ""]):
            token = _pool.set(self)
            try:
                return make(key)
            finally:
                _pool.reset(token)

        return call


_pool: contextvars.ContextVar[_Pool | None] = contextvars.ContextVar("pool", default=None)


def _draw(key: Key[Array, ""], size: int) -> Float[Array, " n"]:
    return jax.random.truncated_normal(key, -2.0, 2.0, (size,), jnp.float32)

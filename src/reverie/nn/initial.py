"""Initial values of kernels, all of an agent drawn by one operation.

With a draw of its own for each of forty kernels, their program takes seconds to compile.
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state as trace_state
from jaxtyping import Array, Float, Key

T = TypeVar("T")
Draw = Callable[[Key[Array, ""], tuple[int, ...]], Float[Array, "..."]]


def truncated_normal(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Standard normal values, truncated to two standard deviations."""
    return _draw.get()(key, shape)


def drawn_together(make: Callable[[], T], key: Key[Array, ""]) -> T:
    """What `make` makes, with values from one draw wherever it asks for `truncated_normal`.

    Args:
        make: Is called twice; what it makes first has zeros instead, and is dropped.
        key: Of the draw, in place of those that `make` passes.
    """
    here = trace_state()
    sizes: list[int] = []

    def count(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        if trace_state() == here:
            sizes.append(math.prod(shape))
        return jnp.zeros(shape)

    def take(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        # Inside a `vmap` each of its members needs values of its own.
        return next(parts).reshape(shape) if trace_state() == here else _alone(key, shape)

    with _drawing(count):
        make()
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    parts = iter(jnp.split(_alone(key, (sum(sizes),)), ends[:-1]))
    with _drawing(take):
        return make()


def _alone(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    return jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32)


_draw: contextvars.ContextVar[Draw] = contextvars.ContextVar("draw", default=_alone)


@contextlib.contextmanager
def _drawing(draw: Draw) -> Iterator[None]:
    token = _draw.set(draw)
    try:
        yield
    finally:
        _draw.reset(token)

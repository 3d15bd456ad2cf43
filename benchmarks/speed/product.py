"""The unit of all times: one matrix product."""

import math
import time
from typing import Any

import jax
import jax.numpy as jnp

SIDE = 2048
"""Side of the square matrices whose product is the unit G."""

SHORTEST = 0.005
"""Seconds that one measurement takes at least, so that launching a product does not count."""


class Product:
    """Times a product of two square matrices on a device.

    Where one product is short, as on an accelerator, several are issued before the wait, and the
    time is that of one of them.

    Args:
        device: JAX device.
        side: Side of the matrices.
        dtype: Of the matrices and the result. float32 products run at JAX's default precision,
            which is TF32 on recent GPUs.
    """

    def __init__(self, device: Any, side: int = SIDE, dtype: str = "float32"):
        self._x = jax.device_put(jnp.ones((side, side), dtype), device)
        self._product = jax.jit(jnp.matmul)
        self.flops = 2 * side**3
        self._repeats = 1
        self.seconds()  # Compiles.
        # The first run is often slow, and would end the search for a repeat count too early.
        while (shortest := min(self.seconds() for _ in range(3))) * self._repeats < SHORTEST:
            self._repeats = max(2 * self._repeats, math.ceil(SHORTEST / shortest))

    def seconds(self) -> float:
        """Seconds of one product, now."""
        y = self._x
        start = time.perf_counter()
        for _ in range(self._repeats):
            y = self._product(self._x, self._x)
        jax.block_until_ready(y)
        return (time.perf_counter() - start) / self._repeats

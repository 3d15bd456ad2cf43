"""Random draws behind a small interface, so that tests can replace chance by fixed values.

Noise is drawn ahead of a loop in one call and turned into samples inside it. That is faster than
a generator call for each step and keeps the loop free of keys.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


class Draws(Protocol):
    """Where every sample of the agent comes from."""

    def uniform(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Noise in [0, 1) that `categorical` turns into samples."""
        ...

    def normal(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Standard normal noise."""
        ...

    def categorical(
        self, noise: Float[Array, "*b"], probs: Float[Array, "*b c"]
    ) -> Int[Array, "*b"]:
        """Class indices distributed as `probs`, given noise of `uniform`."""
        ...


class RandomDraws:
    """Draws by chance: categorical samples by inversion of the cumulative distribution."""

    def uniform(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jax.random.uniform(key, shape, jnp.float32)

    def normal(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jax.random.normal(key, shape, jnp.float32)

    def categorical(
        self, noise: Float[Array, "*b"], probs: Float[Array, "*b c"]
    ) -> Int[Array, "*b"]:
        classes = probs.shape[-1]
        # A product with a triangle of ones is the cumulative sum, without a serial scan.
        # The last class takes what rounding leaves over, so its own sum is not needed.
        triangle = jnp.triu(jnp.ones((classes, classes - 1), probs.dtype))
        below = probs @ triangle <= noise[..., None]
        return below.sum(-1, dtype=jnp.int32)


class FixedDraws:
    """No chance: the most likely class and a standard normal of `z`, as golden vectors need."""

    def __init__(self, z: float = 0.5):
        self.z = z

    def uniform(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jnp.zeros(shape, jnp.float32)

    def normal(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jnp.full(shape, self.z, jnp.float32)

    def categorical(
        self, noise: Float[Array, "*b"], probs: Float[Array, "*b c"]
    ) -> Int[Array, "*b"]:
        return jnp.argmax(probs, -1).astype(jnp.int32)

"""Random draws in one object, so that tests can replace chance by fixed values.

Noise is drawn ahead of a loop in one call and turned into samples inside it. That is faster than
a generator call for each step and keeps the loop free of keys.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

UNROLLED = 64
"""Classes up to which sampling is unrolled: 6 operations for each, which take long to compile."""


class Draws:
    """Where every sample of the agent comes from.

    Categorical samples are drawn by inversion of the cumulative distribution.

    Classes stand on the axis before the last, so that every operation runs over contiguous
    variables.
    """

    def uniform(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Noise in [0, 1) that `categorical` turns into samples."""
        return jax.random.uniform(key, shape, jnp.float32)

    def normal(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Standard normal noise."""
        return jax.random.normal(key, shape, jnp.float32)

    def categorical(
        self, noise: Float[Array, "*b n"], probs: Float[Array, "*b c n"]
    ) -> Int[Array, "*b n"]:
        """Class indices of n variables distributed as `probs`, given noise of `uniform`."""
        if probs.shape[-2] > UNROLLED:
            return _invert(noise, probs)
        # Unrolled over classes, this is one vectorised pass over the variables. The last class
        # takes what rounding leaves over, so its own sum is not needed.
        index = jnp.zeros(noise.shape, jnp.int32)
        cumulative = jnp.zeros_like(noise)
        for c in range(probs.shape[-2] - 1):
            cumulative += probs[..., c, :]
            index += cumulative <= noise
        return index


def _invert(noise: Float[Array, "*b n"], probs: Float[Array, "*b c n"]) -> Int[Array, "*b n"]:
    """As the unrolled form, in a number of operations that does not grow with the classes."""
    possible = probs > 0
    # Sums of a scan need not grow from class to class, so that what is impossible is left out by
    # itself. The last possible class takes what rounding leaves over.
    beyond = possible & (jnp.cumsum(probs, -2) > noise[..., None, :])
    last = probs.shape[-2] - 1 - jnp.argmax(jnp.flip(possible, -2), -2)
    return jnp.where(beyond.any(-2), jnp.argmax(beyond, -2), last).astype(jnp.int32)

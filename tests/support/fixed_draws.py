"""Draws without chance."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from reverie.nn.draws import Draws


class FixedDraws(Draws):
    """No chance: the most likely class and a standard normal of `z`, as golden vectors need."""

    def __init__(self, z: float = 0.5):
        self.z = z

    def uniform(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jnp.zeros(shape, jnp.float32)

    def normal(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jnp.full(shape, self.z, jnp.float32)

    def categorical(
        self, noise: Float[Array, "*b n"], probs: Float[Array, "*b c n"]
    ) -> Int[Array, "*b n"]:
        return jnp.argmax(probs, -2).astype(jnp.int32)

"""Turning raw entries of observations and actions into flat feature vectors."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from reverie.nn.functional import f32, one_hot, symlog
from reverie.spaces import Space


def flat_width(spaces: Mapping[str, Space]) -> int:
    """Length of `encode_flat`'s result."""
    return sum(space.width for space in spaces.values())


def encode_flat(
    values: Mapping[str, Shaped[Array, "..."]],
    spaces: Mapping[str, Space],
    *,
    squash: bool,
    batch_ndim: int,
) -> Float[Array, "*b width"]:
    """Concatenates keys in sorted order: discrete entries one-hot, continuous ones as they are.

    A key with a missing entry at a step is encoded as zeros there. Missing is -inf in a
    continuous entry and -1 in a signed integer one.

    Args:
        values: One array per key, with `batch_ndim` leading axes.
        spaces: The keys to encode.
        squash: Whether continuous entries go through symlog.
        batch_ndim: Number of leading axes.

    Returns:
        float32 features of width `flat_width(spaces)`.
    """
    return jnp.concatenate(
        [_encode_key(values[key], spaces[key], squash, batch_ndim) for key in sorted(spaces)], -1
    )


def _encode_key(x: Shaped[Array, "..."], space: Space, squash: bool, batch_ndim: int):
    x = x.reshape(*x.shape[:batch_ndim], space.size)
    if space.kind == "discrete":
        encoded = one_hot(x.astype(jnp.int32), space.classes)
        if not jnp.issubdtype(x.dtype, jnp.signedinteger):
            return encoded
        return jnp.where((x == -1).any(-1, keepdims=True), 0.0, encoded)
    x = x.astype(f32)
    missing = jnp.isneginf(x)
    # The inner replacement keeps infinities out of symlog, whose gradient there would be NaN.
    x = jnp.where(missing, 0.0, x)
    x = symlog(x) if squash else x
    return jnp.where(missing.any(-1, keepdims=True), 0.0, x)

"""Small pure functions that the networks and losses are written in."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

sg = jax.lax.stop_gradient
f32 = jnp.float32


def symlog(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Signed logarithm `sign(x) log(1 + |x|)` (paper equation 9)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Inverse of `symlog`."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


def symexp_bins(count: int) -> np.ndarray:
    """Bin centres of a two-hot distribution: symexp of an even grid on [-20, 20].

    The negative half is mirrored, so that the centres are exactly symmetric around zero and a
    uniform distribution has an expectation of exactly zero.

    Returns:
        float32 array of shape [count].
    """
    if odd := count % 2:
        half = np.linspace(-20.0, 0.0, (count + 1) // 2, dtype=np.float32)
    else:  # It has no bin at zero: its halves meet half a step on either side of it.
        half = np.linspace(-20.0, 20.0, count, dtype=np.float32)[: count // 2]
    half = np.sign(half) * np.expm1(np.abs(half))
    return np.concatenate([half, -half[::-1][odd:]])


def one_hot(index: Int[Array, "*b n"], classes: tuple[int, ...]) -> Float[Array, "*b width"]:
    """One-hot encodes n entries of possibly different class counts and concatenates them.

    Args:
        index: Class indices; a negative index is encoded as zeros.
        classes: Number of classes of each of the n entries.
    """
    if len(set(classes)) <= 1:
        encoded = jax.nn.one_hot(index, classes[0] if classes else 0, dtype=f32)
        return encoded.reshape(*index.shape[:-1], -1)
    parts = [jax.nn.one_hot(index[..., i], n, dtype=f32) for i, n in enumerate(classes)]
    return jnp.concatenate(parts, -1)


def where_mask(
    mask: Shaped[Array, "*b"], x: Shaped[Array, "..."], otherwise: Shaped[Array, "..."] | float
) -> Shaped[Array, "..."]:
    """`jnp.where` whose mask has only the leading axes of `x`."""
    return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)), x, otherwise)


def split_widths(x: Float[Array, "*b n"], widths: tuple[int, ...]) -> list[Float[Array, "*b _"]]:
    """Cuts the last axis into consecutive pieces of the given widths."""
    edges = np.cumsum(widths)[:-1].tolist()
    return jnp.split(x, edges, -1)

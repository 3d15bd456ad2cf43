"""Gradients of a linear layer whose result is already known."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def reused_linear(
    kernel: Float[Array, "i o"],
    bias: Float[Array, " o"],
    left: Float[Array, "h *b l"],
    right: Float[Array, "h *b r"],
    y: Float[Array, "h *b o"],
) -> Float[Array, "h *b o"]:
    """Equals `concat(left, right) @ kernel + bias`, given that `y` holds just that already.

    Imagination computes the first layer of every head while its input is in cache. The losses
    take gradients through it later, without computing it again or concatenating the input.

    Args:
        kernel: Weights that `y` was computed with.
        bias: Bias that `y` was computed with.
        left: First part of the input.
        right: The rest of the input.
        y: The known result; no gradient flows into it.
    """
    return y


def _forward(kernel, bias, left, right, y):
    return y, (kernel, left, right)


def _backward(residuals, dy):
    kernel, left, right = residuals
    dkernel = jnp.concatenate([_kernel_gradient(left, dy), _kernel_gradient(right, dy)], 0)
    dbias = dy.sum(tuple(range(dy.ndim - 1)))
    dleft, dright = jnp.split(dy @ kernel.T, [left.shape[-1]], -1)
    return dkernel, dbias, dleft, dright, jnp.zeros_like(dy)


def _kernel_gradient(x: Float[Array, "h *b i"], dy: Float[Array, "h *b o"]) -> Float[Array, "i o"]:
    """`x^T dy` over all leading axes.

    One product per leading index, summed after: XLA's CPU backend runs these in parallel and from
    cache, where a single long contraction does neither. They are added one by one, because a sum
    over the leading axis takes ten times as long there.
    """
    flat = lambda a: a.reshape(a.shape[0], -1, a.shape[-1])  # noqa: E731
    products = jax.lax.dot_general(flat(dy), flat(x), (((1,), (1,)), ((0,), (0,))))
    return functools.reduce(jnp.add, list(products)).T


reused_linear.defvjp(_forward, _backward)

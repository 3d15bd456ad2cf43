"""The convolution, with weight gradients that are fast on CPU."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int]]


def conv2d(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "k k i o"],
    padding: Sequence[tuple[int, int]] | None = None,
) -> Float[Array, "b h2 w2 o"]:
    """2D convolution of stride 1 without bias, channels last.

    Args:
        x: Images.
        kernel: Weights.
        padding: Zeros before and after each of the two axes; by default as many as keep the size
            (SAME).
    """
    if padding is None:
        padding = [((size - 1) // 2, size // 2) for size in kernel.shape[:2]]
    rows, columns = padding
    return _conv(x, kernel, (rows, columns))


def plain_conv(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], padding: Padding
) -> Float[Array, "b h2 w2 o"]:
    """The specification of `conv2d`, whose gradients are those of XLA."""
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=layout)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x, kernel, padding):
    return plain_conv(x, kernel, padding)


def _forward(x, kernel, padding):
    return plain_conv(x, kernel, padding), (x, kernel)


def _backward(padding, residuals, dy):
    x, kernel = residuals
    _, pull = jax.vjp(lambda x: plain_conv(x, kernel, padding), x)
    dkernel = jax.lax.platform_dependent(
        x,
        dy,
        cpu=functools.partial(_kernel_gradient, padding=padding),
        default=lambda x, dy: jax.vjp(lambda k: plain_conv(x, k, padding), kernel)[1](dy)[0],
    )
    return *pull(dy), dkernel


_conv.defvjp(_forward, _backward)


def _kernel_gradient(
    x: Float[Array, "b h w i"], dy: Float[Array, "b h2 w2 o"], *, padding: Padding
) -> Float[Array, "k l i o"]:
    """One product of the shifted images and `dy` for each kernel entry.

    XLA's CPU backend turns this gradient into a convolution whose kernel is as large as the image,
    with the batch as channels, which takes up to four times as long.
    """
    height, width = dy.shape[1:3]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    sizes = (x.shape[1] - height + 1, x.shape[2] - width + 1)
    flat = lambda a: a.reshape(-1, a.shape[-1])  # noqa: E731
    dy = flat(dy)

    def entry(row, column):
        shifted = flat(x[:, row : row + height, column : column + width])
        return jax.lax.dot_general(shifted, dy, (((0,), (0,)), ((), ())))

    rows = [jnp.stack([entry(r, c) for c in range(sizes[1])]) for r in range(sizes[0])]
    return jnp.stack(rows)

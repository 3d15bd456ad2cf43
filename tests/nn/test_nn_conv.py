"""Convolutions: the fast forms equal the plain ones, results and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.nn import layers
from reverie.nn.conv import conv2d, plain_conv
from reverie.nn.phases import from_phases, phase_conv, to_phases, upsampled_conv

SIZES = (1, 2, 3, 4, 5, 6, 7)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def same(size):
    return (((size - 1) // 2, size // 2),) * 2


def assert_equal_with_gradients(fast, plain, *args):
    """Equal up to float32 rounding of sums of the size that occur."""
    weights = normal(*jax.eval_shape(plain, *args).shape, seed=1)

    @functools.partial(jax.jit, static_argnums=0)
    def with_gradients(function, *args):
        result, pull = jax.vjp(function, *args)
        return result, *pull(weights)

    results, expected = (with_gradients(function, *args) for function in (fast, plain))
    for x, y in zip(results, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=2e-6 * float(jnp.abs(y).max()) + 1e-6)


def test_phases_literal():
    image = jnp.arange(16.0).reshape(1, 4, 4, 1)
    blocks = to_phases(image)[0, ..., 0]
    np.testing.assert_array_equal(blocks[0, 0], [0, 1, 4, 5])
    np.testing.assert_array_equal(blocks[1, 0], [8, 9, 12, 13])
    np.testing.assert_array_equal(from_phases(to_phases(image)), image)


@pytest.mark.parametrize("size", SIZES)
def test_convolution_over_phases(size):
    def plain(x, kernel):
        return to_phases(plain_conv(from_phases(x), kernel, same(size)))

    args = normal(3, 4, 6, 4, 2), normal(size, size, 2, 5)
    assert_equal_with_gradients(phase_conv, plain, *args)


@pytest.mark.parametrize("size", SIZES)
def test_convolution_of_a_doubled_image(size):
    def plain(x, kernel):
        doubled = x.repeat(2, 1).repeat(2, 2)
        return to_phases(plain_conv(doubled, kernel, same(size)))

    args = normal(3, 4, 6, 2), normal(size, size, 2, 5)
    assert_equal_with_gradients(upsampled_conv, plain, *args)


def test_a_doubled_image_needs_a_kernel_of_three():
    """Literal case: a kernel of ones counts the neighbours, at a corner those inside."""
    result = from_phases(upsampled_conv(jnp.ones((1, 2, 2, 1)), jnp.ones((5, 5, 1, 1))))
    np.testing.assert_array_equal(result[0, 0, :, 0], [9, 12, 12, 9])


@pytest.mark.parametrize(
    ("batch", "sides", "size", "channels"),
    [
        (2, (4, 7), 1, (2, 3)),
        (34, (6, 3), 2, (1, 3)),
        (7, (3, 5), 3, (3, 2)),
        (16, (1, 6), 5, (2, 1)),
        (1, (6, 2), 4, (3, 4)),
    ],
)
def test_weight_gradients_equal_those_of_the_plain_convolution(batch, sides, size, channels):
    """The two axes of an image are of different lengths, and the channels in and out too."""
    args = normal(batch, *sides, channels[0]), normal(size, size, *channels)
    assert_equal_with_gradients(conv2d, lambda x, kernel: plain_conv(x, kernel, same(size)), *args)


def test_uneven_padding():
    pads = ((2, 0), (1, 3))
    args = normal(2, 4, 5, 3), normal(3, 3, 3, 2)
    assert_equal_with_gradients(
        lambda x, k: conv2d(x, k, pads), lambda x, k: plain_conv(x, k, pads), *args
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_layer_forms_agree_in_the_dtype_of_their_input(dtype):
    layer = layers.Conv2D(2, 3, 5, key=jax.random.key(0))
    layer = jax.tree.map(lambda a: a + 0.1, layer)
    x = normal(2, 4, 4, 2).astype(dtype)
    phases = layer.phases(to_phases(x))
    assert phases.dtype == dtype
    tolerance = 4 * float(jnp.finfo(dtype).eps) * float(jnp.abs(phases).max())
    plain = layer(x).astype(jnp.float32)
    np.testing.assert_allclose(from_phases(phases).astype(jnp.float32), plain, atol=tolerance)
    doubled = layer(x.repeat(2, 1).repeat(2, 2)).astype(jnp.float32)
    upsampled = from_phases(layer.upsampled(x)).astype(jnp.float32)
    # Kernel entries are added in the same precision, which rounds once more.
    np.testing.assert_allclose(upsampled, doubled, atol=4 * tolerance)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_bias_gradients_are_summed_in_float32(dtype):
    conv = layers.Conv2D(3, 4, 3, key=jax.random.key(0))
    x = normal(24, 48, 48, 3)
    weight = 0.5 + normal(24, 48, 48, 4, seed=2)

    def gradient(dtype):
        cast = jax.tree.map(lambda p: p.astype(dtype), conv)
        loss = lambda c: (c(x.astype(dtype)).astype(jnp.float32) * weight).mean()  # noqa: E731
        return jax.jit(jax.grad(loss))(cast).bias.astype(jnp.float32)

    exact = gradient(jnp.float32)
    error = jnp.linalg.norm(gradient(dtype) - exact) / jnp.linalg.norm(exact)
    assert error < 2 * float(jnp.finfo(dtype).eps)

"""Layers, and that the fast forms equal the plain ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.nn import layers
from reverie.nn.scan import scan

KEY = jax.random.key(0)


def normal(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_initial_kernels_have_the_variance_of_their_fan_in():
    linear = layers.Linear(400, 300, outscale=0.5, key=KEY)
    np.testing.assert_allclose(linear.kernel.std(), 0.5 / np.sqrt(400), rtol=0.02)
    assert float(jnp.abs(linear.kernel).max()) <= 2 * 1.1368 * 0.5 / np.sqrt(400) + 1e-6
    block = layers.BlockLinear(64, 32, 8, 10, key=KEY)
    assert block.kernel.shape == (8, 18, 4)
    np.testing.assert_allclose(block.kernel.std(), 1 / np.sqrt(8 * 18), rtol=0.15)
    assert not block.bias.any()


def test_rms_norm_literal():
    norm = layers.RMSNorm(2)
    np.testing.assert_allclose(norm(jnp.array([3.0, 4.0])), np.array([3, 4]) / np.sqrt(12.5001))
    assert norm(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16


def test_rms_norm_computes_in_float32():
    """In bfloat16 the mean of many squares would lose its last bits, and 0.3 its scale."""
    x = normal(4, 512).astype(jnp.bfloat16)
    norm = jax.tree.map(lambda a: a * 0.3, layers.RMSNorm(512))
    exact = norm(x.astype(jnp.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(norm(x), exact)


def test_kernels_are_cast_to_the_dtype_of_the_input():
    x = normal(2, 8).astype(jnp.bfloat16)
    for layer in (layers.Dense(8, 4, key=KEY), layers.MLP(8, 4, 2, key=KEY)):
        assert layer(x).dtype == jnp.bfloat16
    assert layers.Conv2D(3, 5, 3, key=KEY)(normal(1, 4, 4, 3).astype(x.dtype)).dtype == x.dtype


def test_rms_norm_of_blocks_equals_that_of_the_vector():
    norm = layers.RMSNorm(12)
    x = normal(5, 12)
    blocks = norm.blocks(layers.to_blocks(x, 4))
    np.testing.assert_allclose(layers.from_blocks(blocks), norm(x), rtol=1e-6)


def plain_blocks(layer, x, shared=None):
    """A block layer as a loop over blocks."""
    outs = []
    for g, part in enumerate(jnp.split(x, len(layer.kernel), -1)):
        inputs = part if shared is None else jnp.concatenate([part, shared], -1)
        outs.append(inputs @ layer.kernel[g])
    y = jnp.concatenate(outs, -1)
    return y + jnp.broadcast_to(layer.bias, y.shape)


@pytest.mark.parametrize("shared", [0, 3])
def test_block_linear_equals_a_loop_over_blocks(shared):
    layer = layers.BlockLinear(8, 12, 4, shared, key=KEY)
    layer = jax.tree.map(lambda a: a + 0.1, layer)
    x, common = normal(2, 5, 8), normal(2, 5, shared) if shared else None
    fast = layer(layers.to_blocks(x, 4), common)
    np.testing.assert_allclose(layers.from_blocks(fast), plain_blocks(layer, x, common), atol=1e-5)


def test_block_gates_are_the_slices_of_each_block():
    gates = layers.BlockGates(8, 4, 2, 3, key=KEY)
    x = normal(5, 8)
    whole = plain_blocks(gates.linear, x).reshape(5, 2, 3, 2)
    for j, part in enumerate(gates(layers.to_blocks(x, 2))):
        np.testing.assert_allclose(
            layers.from_blocks(part), whole[:, :, j].reshape(5, 4), atol=1e-6
        )


def test_unequal_blocks_are_refused():
    with pytest.raises(ValueError, match="10 inputs and 12 outputs into 4"):
        layers.BlockLinear(10, 12, 4, key=KEY)


@pytest.mark.parametrize(
    ("stride", "transposed", "side"), [(1, False, 8), (2, False, 4), (2, True, 16)]
)
def test_convolution_shapes(stride, transposed, side):
    conv = layers.Conv2D(3, 5, 5, stride, transposed=transposed, key=KEY)
    assert conv(normal(2, 8, 8, 3)).shape == (2, side, side, 5)


def cell(modules, carry, x):
    """A step with every kind of layer, and a norm between them."""
    dense, block, gates = modules
    hidden = layers.to_blocks(carry + dense(x), 2)
    first, second = gates(jnp.tanh(block(hidden, x)))
    carry = layers.from_blocks(first * jnp.tanh(second))
    return carry, jnp.sin(carry)


def test_scan_equals_lax_scan_in_values_and_gradients():
    keys = jax.random.split(KEY, 3)
    modules = (
        layers.Dense(3, 8, key=keys[0]),
        layers.BlockLinear(8, 8, 2, 3, key=keys[1]),
        layers.BlockGates(8, 8, 2, 2, key=keys[2]),
    )
    carry, inputs = normal(4, 8), normal(6, 4, 3)

    def total(run, modules, carry, inputs):
        carries, outs = run(modules, carry, inputs)
        return (carries[-1] ** 2).sum() + jnp.sin(carries).sum() + outs.sum()

    def plain(modules, carry, inputs):
        def step(carry, x):
            carry, out = cell(modules, carry, x)
            return carry, (carry, out)

        return jax.lax.scan(step, carry, inputs)[1]

    def deferred(modules, carry, inputs):
        return scan(cell, modules, carry, inputs)

    grad = jax.jit(jax.value_and_grad(total, (1, 2, 3)), static_argnums=0)
    expected = grad(plain, modules, carry, inputs)
    result = grad(deferred, modules, carry, inputs)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(result), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

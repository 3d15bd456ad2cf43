"""Initial values of kernels, drawn for each or together."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.nn.kernels import drawn_together, init_kernel
from reverie.nn.layers import BlockLinear, Linear


class Pair(eqx.Module):
    """Two layers of one shape, one of another, and noise that is none of a kernel."""

    one: Linear
    two: Linear
    blocks: BlockLinear
    noise: jax.Array

    def __init__(self, *, key):
        a, b, c, d = jax.random.split(key, 4)
        self.one = Linear(100, 300, key=a)
        self.two = Linear(100, 300, outscale=0.5, key=b)
        self.blocks = BlockLinear(80, 40, 4, key=c)
        self.noise = jax.random.normal(d, (5,))


def make(key):
    return Pair(key=key)


@pytest.mark.parametrize("whole", [make, lambda key: drawn_together(make, key)])
def test_kernels_are_truncated_normals_of_their_variance(whole):
    pair = whole(jax.random.key(0))
    for kernel, std in ((pair.one.kernel, 0.1), (pair.two.kernel, 0.05)):
        np.testing.assert_allclose(kernel.std(), std, rtol=0.02)
        np.testing.assert_allclose(kernel.mean(), 0, atol=0.02 * std)
        assert abs(kernel).max() <= 2 * 1.1369 * std
    assert pair.blocks.kernel.shape == (4, 20, 10)
    np.testing.assert_allclose(pair.blocks.kernel.std(), 80**-0.5, rtol=0.1)
    correlation = np.corrcoef(pair.one.kernel.ravel(), pair.two.kernel.ravel())[0, 1]
    assert abs(correlation) < 0.02


def test_all_comes_from_the_key():
    one, again, other = (drawn_together(make, jax.random.key(seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert (one.one.kernel == other.one.kernel).mean() < 0.01
    assert (one.noise != other.noise).all()


def test_compiled_kernels_are_the_same():
    plain = drawn_together(make, jax.random.key(0))
    compiled = jax.jit(lambda key: drawn_together(make, key))(jax.random.key(0))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), plain, compiled)


def test_all_kernels_share_one_generator():
    def generators(function):
        return jax.jit(function).lower(jax.random.key(0)).as_text().count("call @_truncated_normal")

    assert generators(make) == 3
    assert generators(lambda key: drawn_together(make, key)) == 1


def test_kernels_made_later_come_from_their_own_key():
    key = jax.random.key(3)
    alone = init_kernel(key, (4, 5), 4, 1.0)

    def fail(key):
        init_kernel(key, (4, 5), 4, 1.0)
        raise RuntimeError("no")

    drawn_together(make, key)
    with pytest.raises(RuntimeError, match="no"):
        drawn_together(fail, key)
    np.testing.assert_array_equal(init_kernel(key, (4, 5), 4, 1.0), alone)
    assert jnp.isfinite(alone).all()

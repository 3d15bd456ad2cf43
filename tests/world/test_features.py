"""Raw observations and actions as flat features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.spaces import Space
from reverie.world.features import encode_flat, flat_width


def encode(values, spaces, squash=False):
    arrays = {k: jnp.asarray(v) for k, v in values.items()}
    return encode_flat(arrays, spaces, squash=squash, batch_ndim=1)


def test_keys_are_sorted_and_discrete_entries_one_hot():
    spaces = {
        "speed": Space("continuous", (2, 1), "float32"),
        "gear": Space("discrete", (2,), "int32", (2, 3)),
        "alive": Space("discrete", (), "int64", (2,)),
    }
    values = {
        "speed": np.array([[[0.5], [-7.0]]], np.float32),
        "gear": np.array([[1, 2]], np.int32),
        "alive": np.array([0], np.int32),
    }
    expected = [[1, 0, 0, 1, 0, 0, 1, 0.5, -7.0]]
    np.testing.assert_array_equal(encode(values, spaces), expected)
    assert flat_width(spaces) == 9


def test_squashing_is_symlog_of_continuous_entries_only():
    spaces = {
        "a": Space("continuous", (2,), "float32"),
        "b": Space("discrete", (), "int32", (2,)),
    }
    values = {"a": np.array([[np.e - 1, -np.e + 1]], np.float32), "b": np.array([1])}
    np.testing.assert_allclose(encode(values, spaces, True), [[1, -1, 0, 1]], rtol=1e-5)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int8", "int32"])
def test_discrete_dtypes(dtype):
    space = Space("discrete", (3,), dtype, (2, 2, 2))
    encoded = encode({"x": np.array([[0, 1, 1], [1, 0, 0]], dtype)}, {"x": space})
    np.testing.assert_array_equal(encoded, [[1, 0, 0, 1, 0, 1], [0, 1, 1, 0, 1, 0]])


def test_a_missing_entry_zeroes_its_key_at_that_step_and_no_other():
    spaces = {
        "a": Space("continuous", (2,), "float32"),
        "b": Space("discrete", (2,), "int8", (2, 2)),
    }
    values = {
        "a": np.array([[3.0, -np.inf], [3.0, 4.0]], np.float32),
        "b": np.array([[1, 1], [-1, 1]], np.int8),
    }
    expected = [[0, 0, 0, 1, 0, 1], [3, 4, 0, 0, 0, 0]]
    np.testing.assert_array_equal(encode(values, spaces), expected)


def test_the_largest_unsigned_value_is_no_missing_one():
    space = Space("discrete", (), "uint8", (256,))
    encoded = encode({"x": np.array([255], np.uint8)}, {"x": space})
    assert int(encoded.argmax()) == 255
    assert float(encoded.sum()) == 1.0


def test_gradients_of_a_missing_entry_are_zero_and_not_nan():
    spaces = {"a": Space("continuous", (2,), "float32")}

    def total(x):
        return encode_flat({"a": x}, spaces, squash=True, batch_ndim=0).sum()

    np.testing.assert_array_equal(jax.grad(total)(jnp.array([-jnp.inf, 1.0])), [0, 0])

"""The compute dtype of the networks."""

import jax
import jax.numpy as jnp
import numpy as np


def cast_floats(tree, dtype: np.dtype):
    """Casts kernels and biases to the compute dtype once, before any loop uses them.

    Norm scales stay float32, because norms compute in float32.
    """
    if dtype == jnp.float32:
        return tree

    def leaf(path, x):
        is_scale = getattr(path[-1], "name", "") == "scale"
        return x if is_scale else x.astype(dtype)

    return jax.tree_util.tree_map_with_path(leaf, tree)

"""Gives every array of a pytree a readable name, and puts named arrays back."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

PyTree = Any


class MismatchError(ValueError):
    """Named arrays do not fit the agent: other names or other shapes."""


def flatten(tree: PyTree) -> dict[str, Any]:
    """Arrays by name, such as `params/enc/mlp0/kernel`, in the order of the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def replace(tree: PyTree, arrays: Mapping[str, np.ndarray]) -> PyTree:
    """Returns the tree with the named arrays replaced, in the tree's own types.

    Args:
        tree: Any pytree of arrays.
        arrays: New values by the names that `flatten` gives; the other arrays stay.

    Raises:
        MismatchError: If a name is unknown or a shape differs; it lists every one.
    """
    old = flatten(tree)
    check(old, arrays)
    leaves = [np.asarray(arrays[k], v.dtype) if k in arrays else v for k, v in old.items()]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def check(old: Mapping[str, Any], new: Mapping[str, np.ndarray]) -> None:
    """Raises MismatchError unless every new array has a counterpart of the same shape."""
    unknown = sorted(set(new) - set(old))
    shapes = [
        f"{name} is {tuple(new[name].shape)}, the agent's is {tuple(old[name].shape)}"
        for name in sorted(set(new) & set(old))
        if tuple(new[name].shape) != tuple(old[name].shape)
    ]
    problems = [f"the agent has no array {_listing(unknown)}"] if unknown else []
    problems += [_listing(shapes)] if shapes else []
    if problems:
        raise MismatchError("The arrays do not fit this agent: " + "; ".join(problems) + ".")


def _listing(items: list[str]) -> str:
    rest = f" and {len(items) - 8} more" if len(items) > 8 else ""
    return ", ".join(items[:8]) + rest

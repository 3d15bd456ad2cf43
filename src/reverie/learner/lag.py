"""What decides the next calls of a learner besides the agent's state, for a checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reverie.learner.checkpoints import tree

PyTree = Any


def hold(params: PyTree, acting: Sequence[Any], carry: PyTree) -> Callable[[], dict[str, Any]]:
    """Takes hold of the parameters that act and of the recurrent state of updates.

    Args:
        params: The agent's parameters, for the names.
        acting: Those that act, which nothing overwrites.
        carry: Recurrent state, which the next update overwrites; None before the first one.

    Returns:
        Gives them as host arrays by name.
    """
    named = {f"acting/{name}": x for name, x in zip(tree.flatten(params), acting, strict=True)}
    copies = jax.tree.map(jnp.copy, carry)
    named |= {f"carry/{name}": x for name, x in tree.flatten(copies).items()}
    return lambda: {name: np.asarray(x) for name, x in named.items()}


def take(arrays: Mapping[str, np.ndarray], prefix: str, like: PyTree) -> PyTree | None:
    """A tree out of the arrays that `hold` gave; None unless all of them are there and fit.

    Args:
        arrays: By name.
        prefix: `acting` or `carry`.
        like: A tree of the same structure, shapes and types.
    """
    try:
        found = {name: arrays[f"{prefix}/{name}"] for name in tree.flatten(like)}
        return tree.replace(like, found)
    except (KeyError, tree.MismatchError):
        return None


def take_carry(arrays: Mapping[str, np.ndarray], init: Callable[[int], PyTree]) -> PyTree | None:
    """The recurrent state of updates, as `take` gives it.

    Args:
        arrays: By name.
        init: Makes one for a number of sequences.
    """
    sizes = [len(value) for name, value in arrays.items() if name.startswith("carry/")]
    return take(arrays, "carry", init(sizes[0])) if sizes else None

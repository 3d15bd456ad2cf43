"""What decides the next calls of a learner besides the agent's state, for a checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reverie.learner.checkpoints import tree

PyTree = Any


def hold(params: PyTree, acting: Sequence[Any], carry: PyTree) -> dict[str, np.ndarray]:
    """Copies of the parameters that act and of the recurrent state of updates, by name.

    The parameters of the agent give the names; there is no recurrent state before the first update.
    """
    named = {f"acting/{name}": x for name, x in zip(tree.flatten(params), acting, strict=True)}
    named |= {f"carry/{name}": x for name, x in tree.flatten(carry).items()}
    return {name: np.array(x) for name, x in named.items()}


def take(arrays: Mapping[str, np.ndarray], prefix: str, like: PyTree) -> PyTree | None:
    """A tree like another one out of what `hold` gave, of the prefix `acting` or `carry`.

    None unless all of them are there and fit.
    """
    try:
        found = {name: arrays[f"{prefix}/{name}"] for name in tree.flatten(like)}
        return tree.replace(like, found)
    except (KeyError, tree.MismatchError):
        return None

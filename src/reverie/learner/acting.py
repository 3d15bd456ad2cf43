"""The parameters that a learner hands out to those who act."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from reverie.learner.compilation.programs import local
from reverie.learner.placement.layout import Layout
from reverie.learner.policy import Params

Arrays = list[Any]


@dataclasses.dataclass
class _Version:
    """Parameters after some update, to be put together when they are first asked for."""

    params: Params
    apart: bool = False


class Acting:
    """Parameters after the newest update, and those after the one before, by which agents act.

    They are copies, because the next update overwrites the state, and lie as it is cheapest for the
    update: in one vector on a CPU, cut where the state is cut.

    Args:
        layout: Where the state lies.
        join: Gives the compiled program of `Layout.hand_out`, which puts them together.
    """

    def __init__(self, layout: Layout, join: Callable[[], Callable[[Arrays], Arrays]]):
        self._layout = layout
        self._join = join
        self._older = self._newest = _Version(Params(0, ()))

    def restart(self, number: int, params: Any) -> None:
        """Begins with the parameters of a state at rest, after some number of updates."""
        copies = self._layout.copied(jax.tree.leaves(params))
        self._older = self._newest = _Version(Params(number, copies), self._layout.cuts)

    def resume(self, number: int, leaves: Arrays) -> None:
        """Acts by whole arrays of the host until the next update."""
        if self._layout.cuts:
            leaves = self._layout.here(self._layout.put(leaves, leaves))
        self._older = _Version(Params(number, leaves), self._layout.cuts)

    def push(self, number: int, arrays: Arrays) -> None:
        """Takes what an update gives from `Layout.acting`."""
        apart = self._layout.cuts or self._layout.packs
        self._older = self._newest
        self._newest = _Version(Params(number, self._layout.here(arrays)), apart)

    def get(self, newest: bool = False) -> Params:
        """Parameters on the device that acts, where it is another, or on one that trains."""
        found = self._newest if newest else self._older
        if found.apart:
            arrays = list(found.params.leaves)
            if self._layout.packs:
                arrays = jax.device_put(arrays, self._layout.placement.policy)
            joined = self._join()(arrays)
            leaves = joined if self._layout.packs else local(joined)
            found.params, found.apart = Params(found.params.version, leaves), False
        return found.params

"""The contract of an objective: losses with their scales, and the heads and statistics for them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, Int, Key

from reverie.agent.networks import Networks
from reverie.agent.sequences import Observed

Metrics = dict[str, Float[Array, ""]]


class Loss(NamedTuple):
    """What an objective says about a batch.

    Attributes:
        losses: Per step by name, [b, t] or of some of the steps. Each enters the sum with the mean
            over its entries.
        state: The objective's state after this batch.
        metrics: Scalars for the log; those of an own objective are logged under its name.
    """

    losses: Mapping[str, Float[Array, "b _"]]
    state: Any = ()
    metrics: Mapping[str, Float[Array, ""]] = {}


@dataclasses.dataclass(frozen=True)
class Objective:
    """Pure functions; made from a `Spec` by the functions that `registry.OBJECTIVES` lists.

    Args:
        name: Its name among the objectives of an agent.
        scales: Names of its losses, and their weights in the sum.
        loss: Networks in the compute dtype, the objective's state, the batch and a key -> losses.
        heads: Key -> networks that it adds to `Networks.heads`, by name.
        init: Initial networks -> its state: running statistics and copies that are not trained.
        settle: State after a batch, networks after the update, number of updates -> new state.
        model: Whether the priorities of replay are the sum of its losses, which are then [b, t].
        needs: Names of all heads that it uses, its own or those of other objectives.
    """

    name: str
    scales: Mapping[str, float]
    loss: Callable[[Networks, Any, Observed, Key[Array, ""]], Loss]
    heads: Callable[[Key[Array, ""]], Mapping[str, eqx.Module]] = lambda key: {}
    init: Callable[[Networks], Any] = lambda nets: ()
    settle: Callable[[Any, Networks, Int[Array, ""]], Any] = lambda state, nets, updates: state
    model: bool = False
    needs: tuple[str, ...] = ()

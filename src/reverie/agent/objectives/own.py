"""Objectives of the user's own: each mistake in one is a ConfigError that names it."""

import dataclasses
import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from reverie.agent.networks import Spec
from reverie.agent.objectives.base import Loss, Objective
from reverie.config.named import attributed
from reverie.errors import ConfigError


def make_own(entry: str, make: Callable[..., Any], spec: Spec) -> Objective:
    """Calls a function of the user's with `agent.extra`, and checks what it returns.

    The metrics of the objective get its name as a prefix, so that they replace none of others.

    Args:
        entry: Its `module:function`, for messages.
        make: The function.
        spec: What it takes.

    Raises:
        ConfigError: If it does not take these keyword arguments, raises, or returns something else.
    """
    name = entry.partition(":")[2]
    keywords = spec.config.extra.get(name, {})
    signature = inspect.signature(make)
    try:
        signature.bind(spec, **keywords)
    except TypeError as error:
        raise ConfigError(
            f"agent.extra.{name} = {keywords}: {entry}{signature} cannot be called with a spec and "
            f"these keyword arguments, {error}. Give those that it has, or change the function."
        ) from error
    with attributed(f"agent.objectives: {entry}"):
        objective = make(spec, **keywords)
    if not isinstance(objective, Objective):
        raise ConfigError(
            f"agent.objectives: {entry} returned {_kind(objective)}; an Objective of "
            "reverie.agent.objectives.base was expected. Return one."
        )
    who = f"Objective {objective.name!r} ({entry})"
    for loss, scale in objective.scales.items():
        real = isinstance(scale, numbers.Real) and not isinstance(scale, bool)
        if not real or not math.isfinite(scale):
            raise ConfigError(f"{who}: the scale of {loss!r} is {scale!r}; expected a number.")
    return _guarded(who, objective)


def _guarded(who: str, objective: Objective) -> Objective:
    def heads(key):
        with attributed(f"{who}: its heads"):
            made = objective.heads(key)
        if not isinstance(made, Mapping):
            raise ConfigError(
                f"{who}: heads returned {_kind(made)}; networks by name, as a dict, were expected."
            )
        return made

    def init(nets):
        with attributed(f"{who}: its init"):
            return objective.init(nets)

    def settle(state, nets, updates):
        with attributed(f"{who}: its settle"):
            return objective.settle(state, nets, updates)

    def loss(nets, state, seen, key):
        with attributed(f"{who}: its loss"):
            found = objective.loss(nets, state, seen, key)
        _check(who, objective, found, seen.data.reward.shape)
        metrics = {f"{objective.name}/{name}": value for name, value in found.metrics.items()}
        return found._replace(metrics=metrics)

    return dataclasses.replace(objective, heads=heads, init=init, settle=settle, loss=loss)


def _check(who: str, objective: Objective, found: Any, steps: tuple[int, int]) -> None:
    """Raises ConfigError unless these are losses per step, named as their scales are."""
    if not isinstance(found, Loss) or not isinstance(found.losses, Mapping):
        inner = f"a Loss of {_kind(found.losses)}" if isinstance(found, Loss) else _kind(found)
        raise ConfigError(f"{who}: loss returned {inner}; Loss({{name: array}}) was expected.")
    if found.losses.keys() != objective.scales.keys():
        raise ConfigError(
            f"{who} has the losses {sorted(found.losses)}, and scales for "
            f"{sorted(objective.scales)}. The names have to be the same."
        )
    expected = f"with model=True {steps}" if objective.model else f"({steps[0]}, 1 or more steps)"
    for name, value in found.losses.items():
        shape = getattr(value, "shape", None)
        if shape is None:
            raise ConfigError(f"{who}: loss {name!r} is {_kind(value)}; an array was expected.")
        some = len(shape) == 2 and shape[0] == steps[0] and shape[1] > 0
        if not some or (objective.model and shape != steps):
            raise ConfigError(f"{who}: loss {name!r} has shape {shape}; {expected} was expected.")
    for name, value in found.metrics.items():
        if shape := getattr(value, "shape", ()):
            raise ConfigError(f"{who}: metric {name!r} has shape {shape}; expected a scalar.")


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"

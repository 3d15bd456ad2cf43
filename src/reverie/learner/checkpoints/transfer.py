"""Chooses parameters of another run, for transfer learning."""

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from reverie.learner.checkpoints.checkpoint import CheckpointError

PARAMS, VALUE = "params/", "params/heads/val/"
"""Names of parameters, and of the value head's, begin so."""

SLOW, NORMS = "states/actor_critic/slow/", "states/actor_critic/norms/"
"""Names of the slow copy of the value head, and of the normalizers, begin so."""

TAKEN = (PARAMS, SLOW, NORMS)
"""Names of all that a new run may take begin so."""

SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What a new run takes from a checkpoint, and what not.

    Args:
        arrays: The chosen parameters by name, and what goes with the value head: its slow copy and
            the normalizers.
        skipped: Parameters of the checkpoint that the expression leaves out.
        fresh: Parameters of the agent that keep their initial values.
    """

    arrays: dict[str, np.ndarray]
    skipped: tuple[str, ...]
    fresh: tuple[str, ...]

    def report(self) -> list[str]:
        """Lines for the user."""
        taken = {name: x for name, x in self.arrays.items() if name.startswith(PARAMS)}
        rest = {*self.skipped, *self.fresh}
        count = sum(value.size for value in taken.values())
        lines = [f"Loaded {len(taken)} parameters ({count:,} numbers): {_parts(taken, rest)}."]
        if len(taken) < len(self.arrays):
            lines.append("Loaded the slow value and the normalizers with the value head.")
        if self.skipped:
            lines.append(f"Skipped {len(self.skipped)} saved ones: {_parts(self.skipped, taken)}.")
        if self.fresh:
            lines.append(f"Left {len(self.fresh)} as initialized: {_parts(self.fresh, taken)}.")
        return [*lines, "The optimizer and the counts start anew."]


def select(saved: Mapping[str, np.ndarray], agent: Mapping[str, Any], expression: str) -> Transfer:
    """Chooses the saved parameters whose names match a regular expression.

    The slow copy of a parameter of the value head goes with it, and the normalizers with all of
    them. The optimizer's state is never taken: it belongs to the losses and the data of its run.

    Args:
        saved: Arrays of a checkpoint by name.
        agent: Arrays of the agent by name; only names and shapes are used.
        expression: Matched at the start of the name, as in `params/(enc|dyn)/`. `.*` is all.

    Raises:
        CheckpointError: If the expression is invalid or matches nothing, or if a chosen parameter
            is unknown to the agent or has another shape.
    """
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise CheckpointError(
            f"run.from_checkpoint_regex '{expression}' is not a regular expression: {error}."
        ) from error
    params = [name for name in saved if name.startswith(PARAMS)]
    chosen = [name for name in params if pattern.match(name)]
    if not chosen:
        raise CheckpointError(
            f"run.from_checkpoint_regex '{expression}' matches none of the checkpoint's "
            f"{len(params)} parameters, which are {_parts(params, ())}. It is matched at the start "
            f"of whole names, such as {', '.join(sorted(params)[:3])}."
        )
    _check(saved, agent, chosen)
    taken = {name: saved[name] for name in [*chosen, *_with_value(saved, agent, set(chosen))]}
    skipped = tuple(sorted(set(params) - set(chosen)))
    fresh = tuple(sorted(x for x in agent if x.startswith(PARAMS) and x not in taken))
    return Transfer(taken, skipped, fresh)


def _with_value(
    saved: Mapping[str, np.ndarray], agent: Mapping[str, Any], chosen: set[str]
) -> list[str]:
    """Names of the slow copies and normalizers that go with the chosen parameters."""
    copies = {name: name.replace(SLOW, VALUE) for name in saved if name.startswith(SLOW)}
    found = [name for name, value in copies.items() if value in chosen]
    if all(name in chosen for name in agent if name.startswith(VALUE)):
        found += [name for name in saved if name.startswith(NORMS)]
    return [name for name in found if name in agent]


def _check(
    saved: Mapping[str, np.ndarray], agent: Mapping[str, Any], chosen: Iterable[str]
) -> None:
    """Raises CheckpointError unless the agent has all of these parameters, in the same shapes."""
    wrong = {}
    for name in sorted(chosen):
        here = tuple(agent[name].shape) if name in agent else None
        if (there := tuple(saved[name].shape)) != here:
            wrong[name] = f"- {name} is {there} there, {here or 'unknown'} here"
    if not wrong:
        return
    lines = list(wrong.values())[:SHOWN]
    lines += [f"- and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
    raise MismatchedTransferError(
        f"{len(wrong)} parameters of the checkpoint do not fit this agent:\n" + "\n".join(lines),
        tuple(wrong),
    )


class MismatchedTransferError(CheckpointError):
    """Chosen parameters do not fit the agent.

    Args:
        message: Every one with both shapes.
        names: Their names.
    """

    def __init__(self, message: str, names: tuple[str, ...]):
        super().__init__(message, names)
        self.names = names

    def __str__(self) -> str:
        return self.args[0]

    def without(self) -> str:
        """A regular expression that leaves the modules of these parameters out."""
        modules = sorted({name.removeprefix(PARAMS).rpartition("/")[0] for name in self.names})
        return f"{PARAMS}(?!({'|'.join(re.escape(module) for module in modules)})/)"


def _parts(names: Iterable[str], others: Iterable[str]) -> str:
    """Names for people: whole modules, and where some of one are elsewhere, how many."""
    elsewhere = collections.Counter(map(_module, others))
    counts = collections.Counter(map(_module, sorted(names)))
    return ", ".join(
        f"{module} ({count} of {count + elsewhere[module]})" if module in elsewhere else module
        for module, count in counts.items()
    )


def _module(name: str) -> str:
    """`params/enc/...` -> `enc`, `params/heads/pol/...` -> `heads/pol`."""
    parts = name.removeprefix(PARAMS).split("/")
    return "/".join(parts[:2] if parts[0] == "heads" else parts[:1])

"""Loads chosen parameters of another run, for transfer learning."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from reverie.learner import names
from reverie.learner.checkpoint import CheckpointError


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What a partial load takes and leaves.

    Args:
        arrays: The chosen arrays by name.
        unchosen: Number of saved arrays that the expression left out.
        untouched: Names of the agent's arrays that keep their initial values.
    """

    arrays: dict[str, np.ndarray]
    unchosen: int
    untouched: tuple[str, ...]

    def report(self) -> str:
        """One line for the user."""
        count = sum(value.size for value in self.arrays.values())
        return (
            f"loaded {len(self.arrays)} arrays ({count:,} numbers); {self.unchosen} saved arrays "
            f"not chosen; {len(self.untouched)} arrays of the agent keep their initial values"
        )


def select(
    saved: Mapping[str, np.ndarray], agent: Mapping[str, np.ndarray], expression: str
) -> Transfer:
    """Chooses the saved arrays whose names match a regular expression.

    Args:
        saved: Arrays of a checkpoint by name.
        agent: Arrays of the agent by name; only names and shapes are used.
        expression: Matched at the start of the name, as in `params/(enc|dyn)/`. `.*` is all.

    Raises:
        CheckpointError: If the expression is invalid or matches nothing, or if a chosen array is
            unknown to the agent or has another shape.
    """
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise CheckpointError(
            f"run.from_checkpoint_regex '{expression}' is not a regular expression: {error}."
        ) from error
    chosen = {name: value for name, value in saved.items() if pattern.match(name)}
    if not chosen:
        raise CheckpointError(
            f"run.from_checkpoint_regex '{expression}' matches none of the {len(saved)} arrays of "
            f"the checkpoint, which are named like {sorted(saved)[:5]}."
        )
    try:
        names.check(agent, chosen)
    except names.MismatchError as error:
        raise CheckpointError(
            f"{error} Leave them out with run.from_checkpoint_regex, or use the model settings of "
            "the run that wrote the checkpoint."
        ) from error
    untouched = tuple(sorted(set(agent) - set(chosen)))
    return Transfer(chosen, len(saved) - len(chosen), untouched)

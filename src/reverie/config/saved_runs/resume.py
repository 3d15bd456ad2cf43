"""Comparing the configuration of a saved run with the one that is to resume it."""

import dataclasses
from typing import Any

from reverie.config.schema import Config, with_values
from reverie.config.syntax.keys import leaves
from reverie.errors import ConfigError

_SHOWN = 6
"""So many differences are listed with their values; of the others the keys are named."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """One option that differs.

    Attributes:
        key: Its dotted path.
        saved: Value in the run folder.
        new: Value that was asked for.
        reason: Why it must not change; empty if it may.
    """

    key: str
    saved: Any
    new: Any
    reason: str

    @property
    def allowed(self) -> bool:
        """Whether the run may go on with the new value."""
        return not self.reason

    def __str__(self) -> str:
        verdict = "allowed" if self.allowed else f"not allowed: {self.reason}"
        return f"{self.key}: saved {self.saved!r}, now {self.new!r} ({verdict})"


def compare(saved: Config, new: Config) -> list[Difference]:
    """The options that differ between a saved run and the configuration that resumes it.

    Options that shape the model, the spaces, the training state or the data in replay must stay;
    those of suites that the task does not use may change freely.

    Returns:
        The differences in the order of the schema.
    """
    read = tuple(f"env.{x.suite}." for x in (saved, new))
    found = []
    for key, leaf in leaves(Config).items():
        old, now = saved.value(key), new.value(key)
        if old != now:
            unused = key.startswith("env.") and not key.startswith(read)
            found.append(Difference(key, old, now, "" if unused else leaf.fixed))
    return found


def inherit(saved: Config, new: Config) -> Config:
    """The new configuration with what `auto` was in the saved run, where that must not change."""
    kept = {
        key: saved.value(key)
        for key, leaf in leaves(Config).items()
        if leaf.fixed and new.value(key) == "auto" != saved.value(key)
    }
    return with_values(new, kept, "saved run")


def check_resume(saved: Config, new: Config, folder: str = "") -> list[Difference]:
    """Check that a saved run may be resumed with a configuration.

    Returns:
        The differences, all allowed; `str` of each is a line for the log.

    Raises:
        ConfigError: One of the differences is not allowed; the message names all of them, those
            that are not allowed first, and tells how to go on with the saved configuration.
    """
    differences = compare(saved, new)
    if all(difference.allowed for difference in differences):
        return differences
    ordered = sorted(differences, key=lambda difference: difference.allowed)
    lines = [f"- {difference}" for difference in ordered[:_SHOWN]]
    for allowed, verdict in ((False, "not allowed either"), (True, "allowed")):
        if keys := [x.key for x in ordered[_SHOWN:] if x.allowed == allowed]:
            lines.append(f"- {verdict}: {', '.join(keys)}")
    way = "Leave out --configs and --task to go on with the saved configuration"
    call = f": reverie train --logdir {folder}" if folder else ""
    if saved.task.startswith("custom_"):
        way = "To go on with the saved configuration pass the same environment from Python"
        call = f": reverie.train(env, logdir={folder!r})" if folder else ""
    raise ConfigError(
        f"The run{f' in {folder}' if folder else ''} cannot be resumed with this configuration, "
        "which differs in:\n" + "\n".join(lines) + f"\n{way}{call}. For a new run choose another "
        "logdir; --run.from_checkpoint gives it the parameters of this one."
    )

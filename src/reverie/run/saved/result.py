"""What a run leaves behind."""

import dataclasses
import json
import pathlib
import signal
from typing import Any

from reverie.actors.evaluate import Evaluation
from reverie.disk import whole_file


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        logdir: Run folder.
        steps: Environment steps, including those before a resume.
        updates: Updates, including those before a resume.
        interrupted: The signal that ended the run early, or None if it reached its limit.
        evaluation: Of the finished run, if the configuration asks for one.
        files: Results in the run folder, such as plots.
        trained: Whether it was a training run, and not the evaluation of one.
        notes: What else the user should know.
    """

    logdir: pathlib.Path
    steps: int
    updates: int
    interrupted: signal.Signals | None = None
    evaluation: Evaluation | None = None
    files: tuple[pathlib.Path, ...] = ()
    trained: bool = True
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0, or 128 plus the number of the signal, as shells have it."""
        return 128 + self.interrupted if self.interrupted else 0

    def __str__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """Lines for the user."""
        how = f"stopped by {self.interrupted.name} and saved" if self.interrupted else "finished"
        what = f"Run {how} after" if self.trained else "Played the agent of"
        lines = [f"{what} {self.steps:,} environment steps and {self.updates:,} updates."]
        if self.interrupted and not self.steps:
            lines = [f"Run stopped by {self.interrupted.name} before its first step."]
        lines += [f"Evaluation: {self.evaluation}."] if self.evaluation else []
        lines += [*self.notes, *(f"  {path}" for path in self.files)]
        return "\n".join([*lines, f"Run folder: {self.logdir}"])


def write_json(path: pathlib.Path, content: dict[str, Any]) -> pathlib.Path:
    """Writes a JSON file, at once or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2))
    return path

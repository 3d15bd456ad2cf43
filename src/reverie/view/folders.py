"""The folder that is looked at, and the runs in it."""

import os
import pathlib
import time

from reverie.config.load import RUN_CONFIG
from reverie.track.runs.status import LOCK, find_runs, is_run
from reverie.track.sinks.jsonl import METRICS, NOTES, SCORES

PARTS = (
    RUN_CONFIG,
    "spaces.json",
    METRICS,
    SCORES,
    NOTES,
    LOCK,
    "checkpoints",
    "replay",
    "eval/replay",
)
"""What is read of a run."""

SHARE = 0.05
"""Most of the time that goes into looking for new runs, in a home directory with many folders."""


class ViewError(ValueError):
    """What was asked for is not there, or cannot be shown; the page shows the message."""


class Folders:
    """The runs in a folder, which is only read.

    A run has the path of its folder below the given one as its name; `.` if that is a run itself.

    Args:
        root: Where to look.
        trust: Whether the user trusts whoever made the runs, so that they may name code.
    """

    def __init__(self, root: str | os.PathLike[str], trust: bool = False):
        self.root = pathlib.Path(root).expanduser().resolve()
        self.trust = trust
        self._names: list[str] = []
        self._again = 0.0

    def names(self) -> list[str]:
        """Names of all runs; links are not followed."""
        if (start := time.monotonic()) >= self._again:
            found = find_runs(self.root, links=False)
            self._names = [os.path.relpath(path, self.root) for path in found]
            end = time.monotonic()
            self._again = end + (end - start) / SHARE
        return self._names

    def run(self, name: str) -> pathlib.Path:
        """The folder of a run.

        Raises:
            ViewError: If there is none of this name below the folder, or a part of it is a link
                that leads elsewhere.
        """
        path = self._inside(self.root / name, name)
        if not is_run(path):
            raise ViewError(f"There is no run {name!r} in {self.root}.")
        for part in PARTS:
            self._inside(path / part, f"{name}/{part}")
        return path

    def saved(self, name: str) -> pathlib.Path:
        """The folder of a run whose checkpoints and replay are read.

        Raises:
            ViewError: As `run`, also for links in these.
        """
        folder = self.run(name)
        for part in ("checkpoints", "replay", "eval/replay"):
            for place, folders, files in os.walk(folder / part):
                for path in (os.path.join(place, entry) for entry in (*folders, *files)):
                    if os.path.islink(path):
                        self._inside(pathlib.Path(path), os.path.relpath(path, self.root))
        return folder

    def file(self, name: str, file: str) -> pathlib.Path:
        """A file in the folder of a run, which need not be there.

        Raises:
            ViewError: If it would lie elsewhere, also by a link.
        """
        folder = self.run(name)
        path = self._inside(folder / file, file)
        if not path.is_relative_to(folder):
            raise ViewError(f"{file!r} is not in the run {name!r}.")
        return path

    def _inside(self, path: pathlib.Path, shown: str) -> pathlib.Path:
        try:
            path = path.resolve()
            path.exists()
        except (OSError, ValueError, RuntimeError):  # Too long, a NUL, or links in a circle.
            path = pathlib.Path("/")
        if not path.is_relative_to(self.root):
            raise ViewError(f"{shown[:200]!r} is not in {self.root}.")
        return path

"""The folder that is looked at, and the runs in it."""

import os
import pathlib
from collections.abc import Iterator

from reverie.config.load import RUN_CONFIG

DEPTH = 4
"""Levels of folders in which runs are looked for."""

MOST = 20_000
"""Folders that are looked into, so that a home directory takes no minutes."""

_SIGNS = ("metrics.jsonl", "scores.jsonl", "checkpoints", ".lock")


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

    def names(self) -> list[str]:
        """Names of all runs, sorted."""
        found = (os.path.relpath(path, self.root) for path in _runs(self.root))
        return sorted(found)

    def run(self, name: str) -> pathlib.Path:
        """The folder of a run.

        Raises:
            ViewError: If there is none of this name below the folder.
        """
        path = self._inside(self.root / name, name)
        if not is_run(path):
            raise ViewError(f"There is no run {name!r} in {self.root}.")
        return path

    def file(self, name: str, file: str) -> pathlib.Path:
        """A file in the folder of a run.

        Raises:
            ViewError: If there is none, or it lies elsewhere, also by a link.
        """
        folder = self.run(name)
        path = self._inside(folder / file, file)
        if not path.is_relative_to(folder) or not path.is_file():
            raise ViewError(f"There is no file {file!r} in the run {name!r}.")
        return path

    def _inside(self, path: pathlib.Path, shown: str) -> pathlib.Path:
        try:
            path = path.resolve()
        except (OSError, ValueError, RuntimeError):  # Too long, a NUL, or links in a circle.
            path = pathlib.Path("/")
        if not path.is_relative_to(self.root):
            raise ViewError(f"{shown!r} is not in {self.root}.")
        return path


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is that of a run."""
    has = lambda name: os.path.exists(os.path.join(path, name))  # noqa: E731
    return has(RUN_CONFIG) and any(map(has, _SIGNS))


def _runs(root: pathlib.Path) -> Iterator[str]:
    """Folders of runs; links are not followed, and nothing is looked for inside of a run."""
    level, looked = [os.fspath(root)], 0
    for depth in range(DEPTH + 1):
        below: list[str] = []
        for folder in level:
            looked += 1
            if is_run(folder):
                yield folder
            elif depth < DEPTH and looked < MOST:
                below += _folders(folder)
        level = below


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [
                entry.path
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:  # Deleted meanwhile, or not ours to read.
        return []

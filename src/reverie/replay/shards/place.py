"""Where a process that Ray has started finds what the learner has."""

import contextlib
import os
import sys
from collections.abc import Sequence


def here() -> tuple[list[str], str]:
    """Where this process finds modules, and its working folder: what `enter` takes."""
    return [path for path in sys.path if path], os.getcwd()


def enter(paths: Sequence[str], folder: str) -> None:
    """Finds modules as the process of the learner does, whose working folder may not be here."""
    sys.path[:] = [*paths, *(path for path in sys.path if path not in paths)]
    with contextlib.suppress(OSError):
        os.chdir(folder)

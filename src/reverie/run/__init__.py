"""Whole runs: training, evaluation, and what they are built from.

Importing this package imports neither jax nor gymnasium; `launch` does when it is first named.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reverie.run.scripts import launch as launch

__all__ = ["launch"]


def __getattr__(name: str) -> Any:
    if name != "launch":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from reverie.run.scripts import launch

    return launch

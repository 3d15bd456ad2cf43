"""What a sink is, and what it may know about the run."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from reverie.track.names import encodable

Value = int | float | str | np.ndarray
"""A finished metric: a number, a text, a uint8 image [H, W, C], a uint8 video [T, H, W, C] or
numbers [N] for a histogram."""


class OutputError(ValueError):
    """An output that the configuration asks for cannot be used; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What sinks may know about a run.

    Attributes:
        logdir: Run folder.
        step: Returns the current environment step, from any thread.
        total_steps: Environment steps of the whole run; 0 = no limit.
        duration: Wall clock limit of this process in seconds; 0 = no limit.
        filter: Regular expression searched in metric names.
        fps: Frames per second of videos.
        options: The resolved configuration, section by section.
        first_step: Environment step at which training begins or goes on: what an earlier process
            wrote about later steps was not saved and happens again. None if nothing is trained.
    """

    logdir: pathlib.Path
    step: Callable[[], int]
    total_steps: int = 0
    duration: float = 0.0
    filter: str = ""
    fps: float = 15.0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    first_step: int | None = None

    def flat(self) -> dict[str, Any]:
        """The options by dotted name."""
        return dict(_flat(self.options))


class Sink(Protocol):
    """A place that metrics go to. It is called from one thread only.

    A sink that raises is reported once and switched off, and the run goes on; only `JsonlSink`,
    the record of the run, and a full disk end it.
    """

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Takes everything that was logged since the last write; ignores what it cannot hold."""
        ...

    def episode(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Takes the `.../episode/...` numbers of one finished episode, at the moment it ends."""
        ...

    def note(self, text: str) -> None:
        """Takes a message for the person who watches the run."""
        ...

    def close(self) -> None:
        """Finishes what is open. A second call does nothing."""
        ...


def showable(metrics: Mapping[str, Value]) -> dict[str, Value]:
    """Metrics with texts that can be encoded and histograms of finite numbers, if of any."""
    shown: dict[str, Value] = {}
    for key, value in metrics.items():
        if isinstance(value, str):
            value = encodable(value)
        elif isinstance(value, np.ndarray) and value.ndim == 1:
            value = value[np.isfinite(value)].astype(np.float64)
            if not value.size:
                continue
        shown[key] = value
    return shown


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, encodable(value) if isinstance(value, str) else value

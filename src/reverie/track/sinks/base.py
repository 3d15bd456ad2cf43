"""What a sink is, and what it may know about the run."""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from reverie.config.schema import LoggerConfig
from reverie.config.syntax.keys import flatten
from reverie.track.encoding.names import encodable

Scalar = int | float | str
Value = Scalar | np.ndarray
"""A finished metric: a number, a text, a uint8 image [H, W, C], a uint8 video [T, H, W, C] or
numbers [N] for a histogram."""


class OutputError(ValueError):
    """An output that the configuration asks for cannot be used; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What sinks may know about a run.

    Attributes:
        logdir: Run folder.
        step: Returns the current environment step; it is called from several threads.
        total_steps: Environment steps of the whole run, for progress and ETA; 0 = no limit.
        duration: Wall clock limit of this process in seconds, for the ETA; 0 = no limit.
        filter: Regular expression searched in metric names; all outputs but `jsonl` get the
            matches only.
        fps: Frames per second of videos.
        options: The resolved configuration, section by section, for viewers that compare runs.
        first_step: Environment step at which training begins or goes on: what an earlier process
            wrote about later steps was not saved and happens again. None if nothing is trained.
        title: The task, the model and the device in a few words each.
        elapsed: Seconds of training in earlier processes.
        episodes: Episodes that ended in earlier processes.
        repeat: Frames of the environment per step, as its suite repeats actions.
        stopping: Tells what a signal has asked for; empty before.
    """

    logdir: pathlib.Path
    step: Callable[[], int]
    total_steps: int = 0
    duration: float = 0.0
    filter: str = LoggerConfig().filter
    fps: float = 15.0
    options: Mapping[str, Any] | None = None
    first_step: int | None = None
    title: Sequence[str] = ("reverie",)
    elapsed: float = 0.0
    episodes: int = 0
    repeat: int = 1
    stopping: Callable[[], str] = str

    def flat(self) -> dict[str, Any]:
        """The options by dotted name."""
        flat = flatten(self.options or {})
        return {key: encodable(x) if isinstance(x, str) else x for key, x in flat}


class Sink(Protocol):
    """A place that metrics go to. It is called from one thread only.

    A method that a subclass does not have does nothing.
    A sink that raises is reported once and switched off, and the run goes on; only `JsonlSink`,
    the record of the run, and a full disk end it.
    """

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Takes everything that was logged since the last write; ignores what it cannot hold."""

    def episode(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Takes the `.../episode/...` numbers of one finished episode, at the moment it ends."""

    def note(self, text: str) -> None:
        """Takes a message for the person who watches the run."""

    def close(self) -> None:
        """Finishes what is open. A second call does nothing."""


def compiled(filter: str) -> re.Pattern[str]:
    """The regular expression that chooses metrics by name.

    Raises:
        ValueError: It is none.
    """
    try:
        return re.compile(filter)
    except re.error as error:
        message = f"Logger filter {filter!r} is not a regular expression: {error}."
        raise ValueError(message) from error


def kept(path: pathlib.Path, pattern: str, new: str) -> str:
    """The word in a file; a new one if there is none or it does not fit."""
    text = path.read_text(errors="replace").strip() if path.is_file() else ""
    if not re.fullmatch(pattern, text, re.ASCII):
        text = new
        path.write_text(f"{text}\n")
    return text


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

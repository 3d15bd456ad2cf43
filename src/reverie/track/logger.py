"""The logger: collects metrics from everywhere and hands them to the sinks."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from reverie.disk import is_full
from reverie.track.sinks.background import report_failure
from reverie.track.sinks.base import Sink, Value
from reverie.track.sinks.jsonl import JsonlSink
from reverie.track.sinks.terminal import TerminalSink

RESERVED = ("step", "time")
"""Metric names that every written record already holds."""

SCORE = "episode/score"
"""A mapping that holds this key, with or without a prefix, reports a finished episode."""


class Logger(contextlib.AbstractContextManager):
    """Collects metrics between writes and hands them to sinks.

    Values may be Python, numpy or device scalars, texts, uint8 images [H, W, C] and uint8 videos
    [T, H, W, C] with 1, 3 or 4 channels, and floating point arrays [N] for histograms. Numbers that
    are added several times between two writes are averaged; of all others the last one is kept.
    Finished episodes reach the sinks at once, so a killed run loses none of them.

    A sink that raises is reported once and switched off. Only the record of the run in `JsonlSink`
    and a full disk under other files are worth an error.

    Example:
        >>> with Logger(make_sinks(["terminal", "jsonl"], logdir, step=counter), counter) as log:
        ...     log.add({"episode/score": 21.0, "episode/length": 900})
        ...     log.add({"loss/dyn": 1.3}, prefix="train")
        ...     log.write()

    Args:
        sinks: Where metrics go, see `make_sinks`. May be empty.
        step: Returns the current environment step.
    """

    def __init__(self, sinks: Sequence[Sink], step: Callable[[], int]):
        self._sinks = list(sinks)
        self._step = step
        self._numbers: dict[str, list[int | float]] = {}
        self._others: dict[str, str | np.ndarray] = {}
        self._closed = False

    def add(self, metrics: Mapping[str, Any], prefix: str = "") -> None:
        """Collects metrics for the next write.

        Args:
            metrics: Values by name; see the class for what a value may be.
            prefix: Put before every name, with a slash between.

        Raises:
            ValueError: A value is of no known type or shape, or its name is reserved. Nothing of
                the mapping is collected then.
        """
        values: dict[str, Value] = {}
        for name, value in metrics.items():
            key = f"{prefix}/{name}" if prefix else name
            values[key] = _convert(key, value)
        for key, value in values.items():
            if isinstance(value, int | float):
                self._numbers.setdefault(key, []).append(value)
            else:
                self._others[key] = value
        self._announce_episode(values)

    def _announce_episode(self, values: dict[str, Value]) -> None:
        score = next((k for k in values if k == SCORE or k.endswith("/" + SCORE)), None)
        if score is None:
            return
        root = score.removesuffix("score")
        episode = {key: value for key, value in values.items() if key.startswith(root)}
        self._each(lambda sink: sink.episode(self._step(), episode))

    def write(self) -> None:
        """Hands everything collected since the last write to the sinks."""
        metrics: dict[str, Value] = {key: _mean(xs) for key, xs in self._numbers.items()}
        metrics |= self._others
        self._numbers, self._others = {}, {}
        step = self._step()
        self._each(lambda sink: sink.write(step, metrics))

    def note(self, text: str) -> None:
        """Shows a message, for example `Checkpoint saved.`, above the progress line."""
        self._each(lambda sink: sink.note(text))

    @property
    def drawn(self) -> bool:
        """Whether a board is on a terminal, which shows what signals have asked for."""
        return any(isinstance(sink, TerminalSink) and sink.drawn for sink in self._sinks)

    def close(self) -> None:
        """Writes what is still collected and closes the sinks. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        # The stack closes every sink even when the last write or another close fails.
        with contextlib.ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(self._guarded, sink, lambda sink: sink.close())
            if self._numbers or self._others:
                self.write()

    def _each(self, task: Callable[[Sink], None]) -> None:
        for sink in tuple(self._sinks):
            self._guarded(sink, task)

    def _guarded(self, sink: Sink, task: Callable[[Sink], None]) -> None:
        try:
            task(sink)
        except Exception as error:
            # Where the terminal is a file on a full disk, nothing of the run is lost.
            if isinstance(sink, JsonlSink) or (
                is_full(error) and not isinstance(sink, TerminalSink)
            ):
                raise
            if sink in self._sinks:
                self._sinks.remove(sink)
                report_failure(type(sink).__name__, error)
                with contextlib.suppress(Exception):  # The first error has been reported.
                    sink.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def _mean(values: list[int | float]) -> int | float:
    """Averages, but leaves a single value as it is so that counters stay integers."""
    return values[0] if len(values) == 1 else float(np.mean(values))


def _convert(key: str, value: Any) -> Value:
    if not key or key in RESERVED:
        raise ValueError(f"Metric name {key!r} is reserved: choose another name or add a prefix.")
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    array = np.asarray(value)
    if array.ndim == 0:
        return _scalar(key, array)
    if array.ndim == 1 and array.size and array.dtype.kind == "f":
        return array
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"Metric {key!r} is {array.dtype} of shape {array.shape}: expected a scalar, a text, "
            "uint8 of shape [H, W, C] (image) or [T, H, W, C] (video) with 1, 3 or 4 channels, or "
            "floating point numbers of shape [N] (histogram). "
            "Reduce other arrays first, for example to their mean."
        )
    if 0 in array.shape:
        raise ValueError(f"Metric {key!r} is empty: it has shape {array.shape}.")
    return array


def _scalar(key: str, array: np.ndarray) -> int | float | str:
    if array.dtype.kind in "OMmcS":
        raise ValueError(
            f"Metric {key!r} is {array.item()!r} of type {type(array.item()).__name__}: expected "
            "a number, a text, or a uint8 image or video."
        )
    if array.dtype.kind == "U":
        return str(array)
    if array.dtype.kind in "biu":
        return int(array)
    return float(array)

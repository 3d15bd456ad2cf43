"""Sinks: the places that metrics go to, made by name with `make_sinks`."""

import difflib
import pathlib
import sys
from collections.abc import Callable, Sequence

from reverie.track.sinks.base import Sink
from reverie.track.sinks.jsonl import JsonlSink, read_jsonl
from reverie.track.sinks.media import MediaSink
from reverie.track.sinks.terminal import TerminalSink

__all__ = ["JsonlSink", "MediaSink", "Sink", "TerminalSink", "make_sinks", "read_jsonl"]

OUTPUTS = ("terminal", "jsonl")
"""Names that `make_sinks` knows."""


def make_sinks(
    outputs: Sequence[str],
    logdir: str | pathlib.Path,
    *,
    step: Callable[[], int],
    total_steps: int = 0,
    duration: float = 0.0,
    filter: str = "score|length|fps|ratio|train/loss/",
    fps: float = 15.0,
) -> list[Sink]:
    """Makes the sinks of a run.

    Args:
        outputs: Names from `OUTPUTS`, in any order: `terminal` shows progress, `jsonl` writes
            `metrics.jsonl`, `scores.jsonl` and the video and image files.
        logdir: Run folder; it is created when missing.
        step: Returns the current environment step; the terminal reads it between writes.
        total_steps: Environment steps of the whole run, for progress and ETA; 0 = no limit.
        duration: Wall clock limit of this process in seconds, for the ETA; 0 = no limit.
        filter: Regular expression searched in metric names; the terminal shows the matches.
        fps: Frames per second of the video files.

    Returns:
        The sinks, ready for `Logger`. An empty list of outputs makes a silent run.

    Raises:
        ValueError: An output is unknown or named twice.
    """
    for name in outputs:
        if name not in OUTPUTS:
            near = difflib.get_close_matches(name, OUTPUTS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"Unknown logger output {name!r}: expected names out of {', '.join(OUTPUTS)}.{hint}"
            )
    if len(set(outputs)) != len(outputs):
        raise ValueError(f"Logger outputs {list(outputs)} name one output twice: remove one.")
    sinks: list[Sink] = []
    if "jsonl" in outputs:
        sinks += [JsonlSink(logdir), MediaSink(logdir, fps=fps)]
    # Without a standard output, as under some service managers, there is nobody to show it to.
    if "terminal" in outputs and sys.stdout is not None:
        terminal = TerminalSink(step, total_steps=total_steps, duration=duration, filter=filter)
        sinks.append(terminal)
    return sinks

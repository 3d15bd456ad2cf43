"""The outputs by name.

A remote output is a module of its name in this package with two functions: `check()` imports what
it needs and raises what is wrong, before the run begins; `make(run)` makes the sink, which is then
used in a thread of its own.
"""

import difflib
import functools
import importlib
import pathlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reverie.extras import install
from reverie.track.sinks.background import Background
from reverie.track.sinks.base import OutputError, RunInfo, Sink
from reverie.track.sinks.jsonl import JsonlSink
from reverie.track.sinks.media import MediaSink
from reverie.track.sinks.terminal import TerminalSink

REMOTE = ("tensorboard", "wandb", "scope")
"""Outputs for the viewers of others, each with an extra of its name that installs it."""

OUTPUTS = ("terminal", "jsonl", *REMOTE)
"""Names that `make_sinks` knows."""

FILTER = "score|length|fps|ratio|train/loss/|openloop/"
"""Metrics for the terminal and the remote outputs, where nothing else is asked for."""


def check_outputs(outputs: Sequence[str]) -> None:
    """Checks that outputs exist and that what they need is installed.

    Args:
        outputs: Names from `OUTPUTS`.

    Raises:
        OutputError: An output is unknown, named twice or lacks a package.
    """
    for name in outputs:
        if name not in OUTPUTS:
            near = difflib.get_close_matches(name, OUTPUTS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise OutputError(
                f"Unknown logger output {name!r}: expected names out of {', '.join(OUTPUTS)}.{hint}"
            )
    if len(set(outputs)) != len(outputs):
        raise OutputError(f"Logger outputs {list(outputs)} name one output twice: remove one.")
    for name in outputs:
        if name not in REMOTE:
            continue
        try:
            _module(name).check()
        except ImportError as error:
            raise OutputError(
                f"logger.outputs names {name!r}, whose package cannot be imported ({error}): "
                f"{install(name)}"
            ) from error


def make_sinks(
    outputs: Sequence[str],
    logdir: str | pathlib.Path,
    *,
    step: Callable[[], int],
    total_steps: int = 0,
    duration: float = 0.0,
    filter: str = FILTER,
    fps: float = 15.0,
    options: Mapping[str, Any] | None = None,
    first_step: int | None = None,
    draw: Callable[[Callable[[], object]], object] = lambda job: job(),
) -> list[Sink]:
    """Makes the sinks of a run.

    Args:
        outputs: Names from `OUTPUTS`, in any order: `terminal` shows progress, `jsonl` writes
            `metrics.jsonl`, `scores.jsonl` and the video and image files; `tensorboard`, `wandb`
            and `scope` write for the viewers of these names.
        logdir: Run folder; it is created when missing.
        step: Returns the current environment step; it is called from several threads.
        total_steps: Environment steps of the whole run, for progress and ETA; 0 = no limit.
        duration: Wall clock limit of this process in seconds, for the ETA; 0 = no limit.
        filter: Regular expression searched in metric names; all outputs but `jsonl` get the
            matches only.
        fps: Frames per second of videos.
        options: The resolved configuration, for viewers that compare runs.
        first_step: Environment step at which training begins or goes on; None if nothing is
            trained. Viewers do not show what was written about later steps before.
        draw: Calls what writes videos and images, perhaps later; by default at once.

    Returns:
        The sinks, ready for `Logger`. An empty list of outputs makes a silent run.

    Raises:
        OutputError: An output is unknown, named twice or lacks a package.
        ValueError: `filter` is not a regular expression.
    """
    check_outputs(outputs)
    folder = pathlib.Path(logdir).expanduser()
    run = RunInfo(folder, step, total_steps, duration, filter, fps, options or {}, first_step)
    sinks: list[Sink] = []
    if "jsonl" in outputs:
        sinks += [JsonlSink(folder), MediaSink(folder, fps=fps, draw=draw)]
    makers = {
        name: functools.partial(_module(name).make, run) for name in outputs if name in REMOTE
    }
    if makers:
        sinks.append(Background(makers, filter))
    # Without a standard output, as under some service managers, there is nobody to show it to.
    if "terminal" in outputs and sys.stdout is not None:
        terminal = TerminalSink(step, total_steps=total_steps, duration=duration, filter=filter)
        sinks.append(terminal)
    return sinks


def _module(name: str) -> types.ModuleType:
    return importlib.import_module(f"reverie.track.sinks.{name}")

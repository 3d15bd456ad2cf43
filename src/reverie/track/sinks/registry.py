"""The outputs by name.

A remote output is a module of its name in this package. Its function `check()` imports what it
needs and raises what is wrong, before the run begins; its sink is made of a `RunInfo` and used in a
thread of its own.
"""

import difflib
import functools
import importlib
import pathlib
import sys
import types
from collections.abc import Sequence
from typing import Any

from reverie.extras import install
from reverie.track.sinks.background import Background
from reverie.track.sinks.base import OutputError, RunInfo, Sink
from reverie.track.sinks.jsonl import JsonlSink
from reverie.track.sinks.media import MediaSink
from reverie.track.sinks.terminal import TerminalSink

REMOTE = {
    "tensorboard": "TensorboardSink",
    "wandb": "WandbSink",
    "scope": "ScopeSink",
    "trackio": "TrackioSink",
}
"""Outputs for the viewers of others, each with its class; an extra of its name installs it."""

OUTPUTS = ("terminal", "jsonl", *REMOTE)
"""Names that `make_sinks` knows."""


def check_outputs(outputs: Sequence[str]) -> None:
    """Checks that outputs exist and that what they need is installed.

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
    for name in (name for name in outputs if name in REMOTE):
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
    **about: Any,
) -> list[Sink]:
    """Makes the sinks of a run.

    Args:
        outputs: Names from `OUTPUTS`, in any order: `terminal` shows progress, `jsonl` writes
            `metrics.jsonl`, `scores.jsonl` and the video and image files; `tensorboard`, `wandb`,
            `scope` and `trackio` write for the viewers of these names.
        logdir: Run folder; it is created when missing.
        **about: What `RunInfo` holds: `step`, and where it is known the rest.

    Returns:
        The sinks, ready for `Logger`. An empty list of outputs makes a silent run.

    Raises:
        OutputError: An output is unknown, named twice or lacks a package.
        ValueError: `filter` is not a regular expression.
    """
    check_outputs(outputs)
    run = RunInfo(pathlib.Path(logdir).expanduser(), **about)
    sinks: list[Sink] = []
    if "jsonl" in outputs:
        sinks += [JsonlSink(run.logdir), MediaSink(run.logdir, fps=run.fps)]
    remote = {name: getattr(_module(name), REMOTE[name]) for name in outputs if name in REMOTE}
    if remote:
        makers = {name: functools.partial(sink, run) for name, sink in remote.items()}
        sinks.append(Background(makers, run.filter))
    # Without a standard output, as under some service managers, there is nobody to show it to.
    if "terminal" in outputs and sys.stdout is not None:
        sinks.append(TerminalSink(run))
    return sinks


def _module(name: str) -> types.ModuleType:
    return importlib.import_module(f"reverie.track.sinks.{name}")

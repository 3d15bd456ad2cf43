"""Errors of the environments: each names what is wrong and what to do about it."""

import difflib
import os
import sysconfig
import traceback
from collections.abc import Iterable

MANY = 20
"""Tasks of a suite that are not listed any more in a message."""


class UnknownTaskError(ValueError):
    """The task string names no suite or no task of its suite."""


class MissingPackageError(ImportError):
    """The package behind a suite is not installed."""


class MissingDataError(FileNotFoundError):
    """Files that a task needs are not there."""


class OptionError(ValueError):
    """A setting of a suite that cannot be, or that does not go with the task or another setting."""


class NotAnEnvError(TypeError):
    """Something that is no single gymnasium environment."""


class SpaceError(ValueError):
    """A space is of a kind that the agent cannot use, or its names clash."""


class ValueMismatchError(ValueError):
    """An observation, action or reward does not fit its space, or is not a number."""


class OutOfBoundsError(ValueMismatchError):
    """An observation outside the bounds of its space."""


class RenderingError(RuntimeError):
    """No OpenGL library can draw images without a screen."""


class Cancelled(RuntimeError):
    """Waiting for environments was given up, because the run is to end."""


class WorkerError(RuntimeError):
    """An environment process raised, died or stopped answering.

    Attributes:
        index: Which environment of the vector it was.
        reason: `raised`, `died` or `hung`.
        trace: The traceback inside the worker, empty unless it raised.
    """

    def __init__(self, index: int, reason: str, message: str, trace: str = ""):
        # All of them, so that it can be pickled on its way out of a pool.
        super().__init__(index, reason, message, trace)
        self.index = index
        self.reason = reason
        self.trace = trace

    def __str__(self) -> str:
        return self.args[2]


def did_you_mean(name: str, known: Iterable[str], shown: str = "{}") -> str:
    """A sentence that offers the nearest known names, or nothing if none is near."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(shown.format(each) for each in near)}? " if near else ""


def unknown_task(suite: str, name: str, known: Iterable[str], advice: str = "") -> UnknownTaskError:
    """That a suite has no such task, with the nearest ones, and all if they are few."""
    known = list(known)
    text = f"The task '{suite}_{name}' does not exist. {did_you_mean(name, known, f'{suite}_{{}}')}"
    if len(known) > MANY:
        text += f"See reverie.envs.registry.tasks({suite!r}) for all of them."
    else:
        text += f"There are {', '.join(f'{suite}_{each}' for each in known)}."
    return UnknownTaskError(f"{text} {advice}".strip())


def raised(error: BaseException, steps: int) -> str:
    """What an environment raised, and below it where: the user's own code."""
    text = f"{type(error).__name__}: {error}"
    if type(error).__module__.startswith("reverie."):
        return text  # It says where.
    place, text = own_frame(error), text.removesuffix(": ").rstrip(".")
    return f"{text}.\nAt step {steps} of its episode{f', in {place}' if place else ''}"


def own_frame(error: BaseException) -> str:
    """Where in the user's own code an error comes from, with the line; empty if nowhere."""
    ours = os.path.dirname(os.path.dirname(__file__)) + os.sep
    others = (ours, *(sysconfig.get_path(name) + os.sep for name in ("purelib", "stdlib")))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*others, "<frozen"))]
    if not own:
        return ""
    last = own[-1]
    line = f": {last.line}" if last.line else ""
    return f"{os.path.basename(last.filename)}, line {last.lineno}, in {last.name}{line}"

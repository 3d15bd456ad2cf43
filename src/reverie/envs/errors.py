"""Errors of the environments: each names what is wrong and what to do about it."""


class UnknownTaskError(ValueError):
    """The task string names no suite or no task of its suite."""


class MissingPackageError(ImportError):
    """The package behind a suite is not installed."""


class MissingDataError(FileNotFoundError):
    """Files that a task needs are not there."""


class OptionError(ValueError):
    """A setting of a suite that cannot be, or that does not go with the task or another setting."""


class SpaceError(ValueError):
    """A space is of a kind that the agent cannot use, or its names clash."""


class ValueMismatchError(ValueError):
    """An observation, action or reward does not fit its space, or is not a number."""


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
        super().__init__(message)
        self.index = index
        self.reason = reason
        self.trace = trace

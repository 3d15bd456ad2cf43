"""Runs an agent on devices and keeps it: compilation, asynchronous updates, checkpoints."""

from reverie.learner.checkpoint import Checkpoint, Checkpointer, CheckpointError
from reverie.learner.devices import DeviceError, Placement, configure, resolve_dtype
from reverie.learner.learner import Learner
from reverie.learner.nonfinite import NonFiniteError
from reverie.learner.pending import MetricVector
from reverie.learner.policy import Params, Policy
from reverie.learner.tree import MismatchError

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Checkpointer",
    "DeviceError",
    "Learner",
    "MetricVector",
    "MismatchError",
    "NonFiniteError",
    "Params",
    "Placement",
    "Policy",
    "configure",
    "resolve_dtype",
]

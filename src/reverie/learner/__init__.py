"""Runs an agent on devices and keeps it: compilation, asynchronous updates, checkpoints.

Importing this package does not import jax: checkpoints are read without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reverie.learner.checkpoints.checkpoint import Checkpoint as Checkpoint
    from reverie.learner.checkpoints.checkpoint import Checkpointer as Checkpointer
    from reverie.learner.checkpoints.checkpoint import CheckpointError as CheckpointError
    from reverie.learner.checkpoints.tree import MismatchError as MismatchError
    from reverie.learner.learner import Learner as Learner
    from reverie.learner.nonfinite import NonFiniteError as NonFiniteError
    from reverie.learner.placement.devices import DeviceError as DeviceError
    from reverie.learner.placement.devices import Placement as Placement
    from reverie.learner.placement.devices import configure as configure
    from reverie.learner.placement.devices import resolve_dtype as resolve_dtype
    from reverie.learner.policy import Params as Params
    from reverie.learner.policy import Policy as Policy
    from reverie.learner.updating import MetricVector as MetricVector

_HOMES = {
    "Checkpoint": "reverie.learner.checkpoints.checkpoint",
    "Checkpointer": "reverie.learner.checkpoints.checkpoint",
    "CheckpointError": "reverie.learner.checkpoints.checkpoint",
    "MismatchError": "reverie.learner.checkpoints.tree",
    "Learner": "reverie.learner.learner",
    "NonFiniteError": "reverie.learner.nonfinite",
    "DeviceError": "reverie.learner.placement.devices",
    "Placement": "reverie.learner.placement.devices",
    "configure": "reverie.learner.placement.devices",
    "resolve_dtype": "reverie.learner.placement.devices",
    "Params": "reverie.learner.policy",
    "Policy": "reverie.learner.policy",
    "MetricVector": "reverie.learner.updating",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

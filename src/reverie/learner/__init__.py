"""Runs an agent on devices and keeps it: compilation, asynchronous updates, checkpoints."""

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

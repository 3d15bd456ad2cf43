"""Runs an agent on devices and keeps it: compilation, asynchronous updates, checkpoints.

The names here are for users; `as` tells type checkers that they are. They are read without jax.
"""

from reverie.learner.checkpoints.checkpoint import Checkpoint as Checkpoint
from reverie.learner.checkpoints.checkpoint import Checkpointer as Checkpointer
from reverie.learner.checkpoints.checkpoint import CheckpointError as CheckpointError

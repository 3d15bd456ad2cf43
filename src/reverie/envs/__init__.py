"""Environments: tasks by name, one chain of wrappers, and vectors that speak transitions.

    env = reverie.envs.make("gym_CartPole-v1")
    vector = reverie.envs.VectorEnv([reverie.envs.factory_of("dummy_disc")] * 4, seeds=0)

Nothing here imports the device library, so that environment processes stay small.
"""

from reverie.catalog import SUITES, Suite
from reverie.envs.check import check
from reverie.envs.errors import (
    Cancelled,
    MissingDataError,
    MissingPackageError,
    NotAnEnvError,
    OptionError,
    RenderingError,
    SpaceError,
    UnknownTaskError,
    ValueMismatchError,
    WorkerError,
)
from reverie.envs.flat.conform import is_wrapped, spaces
from reverie.envs.flat.leaves import random_actions
from reverie.envs.flat.masks import MaskFromInfo, valid_actions
from reverie.envs.notes import Finding
from reverie.envs.registry import (
    all_suites,
    factory_of,
    full_name,
    make,
    make_vec,
    spaces_of,
    split,
    tasks,
)
from reverie.envs.vector.restarts import Restarts
from reverie.envs.vector.seeds import env_seed, env_seeds
from reverie.envs.vector.vector import VectorEnv
from reverie.envs.wrappers import wrap

__all__ = [
    "SUITES",
    "Cancelled",
    "Finding",
    "MaskFromInfo",
    "MissingDataError",
    "MissingPackageError",
    "NotAnEnvError",
    "OptionError",
    "RenderingError",
    "Restarts",
    "SpaceError",
    "Suite",
    "UnknownTaskError",
    "ValueMismatchError",
    "VectorEnv",
    "WorkerError",
    "all_suites",
    "check",
    "env_seed",
    "env_seeds",
    "factory_of",
    "full_name",
    "is_wrapped",
    "make",
    "make_vec",
    "random_actions",
    "spaces",
    "spaces_of",
    "split",
    "tasks",
    "valid_actions",
    "wrap",
]

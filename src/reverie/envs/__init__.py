"""Environments: tasks by name, one chain of wrappers, and vectors that speak transitions.

    env = reverie.envs.make("gym_CartPole-v1")
    vector = reverie.envs.VectorEnv([reverie.envs.factory_of("dummy_disc")] * 4, seeds=0)

Nothing here imports the device library, so that environment processes stay small. The names here
are for users; `as` tells type checkers that they are.
"""

from reverie.catalog import SUITES as SUITES
from reverie.catalog import Suite as Suite
from reverie.envs.check import check as check
from reverie.envs.errors import Cancelled as Cancelled
from reverie.envs.errors import MissingDataError as MissingDataError
from reverie.envs.errors import MissingPackageError as MissingPackageError
from reverie.envs.errors import NotAnEnvError as NotAnEnvError
from reverie.envs.errors import OptionError as OptionError
from reverie.envs.errors import RenderingError as RenderingError
from reverie.envs.errors import SpaceError as SpaceError
from reverie.envs.errors import UnknownTaskError as UnknownTaskError
from reverie.envs.errors import ValueMismatchError as ValueMismatchError
from reverie.envs.errors import WorkerError as WorkerError
from reverie.envs.flat.conform import is_wrapped as is_wrapped
from reverie.envs.flat.conform import spaces as spaces
from reverie.envs.flat.leaves import random_actions as random_actions
from reverie.envs.flat.masks import MaskFromInfo as MaskFromInfo
from reverie.envs.flat.masks import valid_actions as valid_actions
from reverie.envs.notes import Finding as Finding
from reverie.envs.registry import all_suites as all_suites
from reverie.envs.registry import factory_of as factory_of
from reverie.envs.registry import full_name as full_name
from reverie.envs.registry import make as make
from reverie.envs.registry import make_vec as make_vec
from reverie.envs.registry import split as split
from reverie.envs.registry import tasks as tasks
from reverie.envs.vector.restarts import Restarts as Restarts
from reverie.envs.vector.seeds import env_seed as env_seed
from reverie.envs.vector.seeds import env_seeds as env_seeds
from reverie.envs.vector.vector import VectorEnv as VectorEnv
from reverie.envs.wrappers import wrap as wrap

"""Environments: tasks by name, one chain of wrappers, and vectors that speak transitions.

    env = reverie.envs.make("gym_CartPole-v1")
    vector = reverie.envs.VectorEnv([reverie.envs.factory_of("dummy_disc")] * 4, seeds=0)

Nothing here imports the device library, so that environment processes stay small. The names here
are for users; `as` tells type checkers that they are.
"""

from reverie.envs.check import check as check
from reverie.envs.registry import factory_of as factory_of
from reverie.envs.registry import make as make
from reverie.envs.registry import make_vec as make_vec
from reverie.envs.registry import tasks as tasks
from reverie.envs.vector.vector import VectorEnv as VectorEnv
from reverie.envs.wrappers import wrap as wrap

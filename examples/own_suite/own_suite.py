"""A suite from a package of its own: corridors, with options in the configuration of a run.

pip install examples/own_suite
reverie envs
reverie train --configs quickstart --task corridor_short --env.corridor.wind 0.1
"""

import gymnasium
import numpy as np

from reverie.catalog import Suite
from reverie.envs.errors import UnknownTaskError
from reverie.options import TASK, Float, Int, Section, option

LENGTHS = {"short": 5, "long": 20}


class Options(Section):
    """Corridors, as `env.corridor` in a configuration."""

    wind: Float = option(0.0, "Probability of a step backwards.", ge=0, lt=0.5, fixed=TASK)
    limit: Int = option(100, "Steps after which an episode is cut off.", ge=1, fixed=TASK)


class Corridor(gymnasium.Env):
    """The way to the end of a corridor: one step forward or back, a reward at the end.

    Args:
        length: Steps to the end.
        wind: Probability of a step backwards.
        limit: Steps after which an episode is cut off.
    """

    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length, wind, limit):
        self.observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
        self._length, self._wind, self._limit = length, wind, limit

    def reset(self, *, seed=None, options=None):
        """Goes to the beginning."""
        super().reset(seed=seed)
        self._place = self._steps = 0
        return self._seen(), {}

    def step(self, action):
        """Goes forward or back."""
        forward = action == 1 and self.np_random.random() >= self._wind
        self._place = max(self._place + (1 if forward else -1), 0)
        self._steps += 1
        done = self._place == self._length
        return self._seen(), float(done), done, self._steps >= self._limit, {}

    def _seen(self):
        return np.array([self._place / self._length], np.float32)


def make(name, **options):
    """The environment of a task, with every option of the class above."""
    if name not in LENGTHS:
        raise UnknownTaskError(f"There is no corridor {name!r}, only {' and '.join(LENGTHS)}.")
    return Corridor(LENGTHS[name], **options)


def tasks():
    """Names of the tasks, for people."""
    return list(LENGTHS)


SUITE = Suite("corridor", about="walks to the end of a corridor: short, long", options=Options)

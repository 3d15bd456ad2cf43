"""For runs of script parallel: an environment that counts its steps, and how a run ends."""

import sys
import time

import cloudpickle
import gymnasium
import numpy as np

# Actors have no such module, as they have none of a notebook.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Counter(gymnasium.Env):
    """Tells the number of steps since the reset; every tenth step ends an episode."""

    # Shapes as in CartPole, so that the compiled programs are shared.
    observation_space = gymnasium.spaces.Box(0, 20, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros(4, np.float32), {"log/has_jax": float("jax" in sys.modules)}

    def step(self, action):
        self.time += 1
        return np.full(4, self.time, np.float32), 1.0, self.time == 10, False, {}


def until(condition, seconds=400):
    """A callback that ends a run in order when a condition of it holds."""
    end = time.monotonic() + seconds

    def look(run):
        if condition(run) or time.monotonic() > end:
            run.shutdown.late = lambda: True

    return look

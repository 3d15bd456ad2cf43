"""Steps from a place of your own: here whole episodes of a rule, from which an agent learns.

python examples/own_collector.py
"""

import gymnasium
import numpy as np

import reverie
from reverie.actors.collector import Rollout
from reverie.envs.vector.vector import VectorEnv
from reverie.envs.wrappers import wrap


class Scripted:
    """Balances the pole of CartPole by a rule; each rollout is an episode.

    Args:
        noise: Share of the actions that are drawn instead.
    """

    def __init__(self, noise=0.1):
        self._envs = VectorEnv([lambda: wrap(gymnasium.make("CartPole-v1"))], "sync", seeds=0)
        self._rng = np.random.default_rng(0)
        self._noise = noise
        self._running = False

    def collect(self):
        """Plays one episode: T steps of one stream, which goes on with the next episode."""
        steps = []
        while not steps or not steps[-1]["is_last"][0]:
            step = self._envs.step_wait() if self._running else self._envs.reset()
            action = self._choose(step)
            self._envs.step_async({"action": action})
            self._running = True
            steps.append({**step, "action": action})
        return Rollout({key: np.stack([step[key] for step in steps]) for key in steps[0]}, (0,))

    def _choose(self, step):
        _, _, angle, speed = step["obs"].T
        action = (angle + 0.5 * speed > 0).astype(np.int32)
        if self._rng.random() < self._noise:
            action = self._rng.integers(0, 2, 1, np.int32)
        return np.where(step["is_last"], 0, action).astype(np.int32)

    def set_params(self, params):
        """Takes what was learned; a rule has no use for it."""

    def close(self):
        """Is called when the run ends."""
        self._envs.close()


def main(**options):
    """Trains on CartPole; `options` are those of the configuration."""
    options = {"configs": "quickstart", **options}
    return reverie.train("CartPole-v1", collector=Scripted(), **options)


if __name__ == "__main__":
    print(main().summary())

"""Environments and a policy whose every step is known."""

import numpy as np
import pytest


class ScriptedEnvs:
    """A vector of environments whose episodes have given lengths; keeps the actions it gets."""

    obs_space = {"obs": None}  # noqa: RUF012

    def __init__(self, lengths):
        self.lengths = lengths
        self.num_envs = len(lengths)
        self.actions = []
        self.episode = self.time = None

    def reset(self, seeds=None):
        self.episode = np.zeros(self.num_envs, int)
        self.time = np.zeros(self.num_envs, int)
        return self._transition()

    def step_async(self, actions):
        self.actions.append(actions["action"].copy())

    def step_wait(self):
        over = self._over()
        self.episode += over
        self.time = np.where(over, 0, self.time + 1)
        return self._transition()

    def _over(self):
        wanted = [x[e % len(x)] for x, e in zip(self.lengths, self.episode, strict=True)]
        return self.time == np.array(wanted)

    def _transition(self):
        over = self._over()
        return {
            "obs": self.time.astype(np.float32),
            "reward": np.where(self.time > 0, 10.0 ** np.arange(self.num_envs), 0.0),
            "is_first": self.time == 0,
            "is_last": over,
            "is_terminal": over,
            "log/time": self.time.astype(np.float32),
        }


@pytest.fixture
def scripted():
    return ScriptedEnvs


class CountingPolicy:
    """Numbers its calls in the action."""

    def __init__(self):
        self.seen = []

    def init(self, num):
        return 0

    def act(self, carry, obs, mode="train"):
        self.seen.append((carry, sorted(obs), mode))
        count = np.full(len(obs["is_first"]), carry + 1.0, np.float32)
        return carry + 1, {"action": count}, {"latent/deter": count[:, None]}


@pytest.fixture
def policy():
    return CountingPolicy()

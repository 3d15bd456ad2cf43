"""The look at an environment before a run."""

import gymnasium
import numpy as np
import pytest

from reverie import cli
from reverie.doctor import environment

TINY = [
    r"--.*\.deter", "32", r"--.*\.hidden", "32", r"--.*\.units", "32", r"--.*\.layers", "1",
    r"--.*\.stoch", "4", "--batch_length", "8", "--report_length", "8", "--agent.imag_length", "3",
    "--agent.imag_last", "2", "--batch_size", "8",
]  # fmt: skip


class Walk(gymnasium.Env):
    """A dot that actions move, or with `deaf` chance does."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, deaf=False):
        self.deaf = deaf

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.dot, self.time = self.np_random.uniform(-1, 1, 1).astype(np.float32), 0
        return self.dot, {}

    def step(self, action):
        go = self.np_random.integers(2) if self.deaf else action
        self.dot = np.clip(self.dot + np.float32(0.3) * (2 * go - 1), -1, 1).astype(np.float32)
        self.time += 1
        return self.dot, float(abs(self.dot[0])), False, self.time == 40, {}


class Broken(Walk):
    def step(self, action):
        return np.full(1, np.nan, np.float32), 0.0, False, False, {}


@pytest.fixture
def task(request):
    gymnasium.register("Doctored-v0", request.param)
    yield "Doctored-v0"
    del gymnasium.registry["Doctored-v0"]


@pytest.mark.parametrize("task", [Walk], indirect=True)
def test_a_model_learns_a_healthy_environment_by_heart(task, cache, capfd, monkeypatch):
    monkeypatch.setattr(environment, "UPDATES", 500)
    monkeypatch.setattr(environment, "SECONDS", 500.0)  # A busy machine takes longer than a user.
    code = cli.main(["doctor", "--env", task, "--jax.cache_dir", cache, *TINY])
    out = capfd.readouterr().out
    assert code == 0, out
    assert "500 updates on 500 random steps" in out
    assert "healthy  actions" in out
    assert "healthy  obs seen" in out


@pytest.mark.parametrize("task", [Broken], indirect=True)
def test_an_environment_that_cannot_be_trained_on_is_sick(task, capfd):
    assert cli.main(["doctor", "--env", task]) == 2
    out = capfd.readouterr().out
    assert "sick     environment" in out
    assert "overfit" not in out

"""Achievements of an environment in training, after a resume, and in evaluation."""

import json

import pytest

from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.run.eval_only import eval_run
from reverie.run.scripts import launch
from reverie.track.sinks.jsonl import read_jsonl

# Episodes of 5 steps; spaces as in CartPole, so that the compiled programs are shared.
MODULE = """
import gymnasium
import numpy as np


class Climb(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-10, 10, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        self._episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._episodes += 1
        self._time = 0
        return np.zeros(4, np.float32), self._logs()

    def step(self, action):
        self._time += 1
        return np.zeros(4, np.float32), 0.0, self._time == 5, False, self._logs()

    def _logs(self):
        odd = self._episodes % 2 and self._time == 3
        return {"log/achievement_hill": float(odd), "log/achievement_moon": 0.0}


gymnasium.register("Climb-v0", Climb)
"""


@pytest.fixture
def task(tmp_path, monkeypatch):
    (tmp_path / "climbing.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "gym_climbing:Climb-v0"


@pytest.mark.slow
def test_score_of_all_episodes_of_a_run_and_of_an_evaluation(make_config, task, tmp_path):
    words = ["--task", task, "--run.envs", "1", "--run.eval_envs", "1", "--run.env_backend", "sync"]
    logdir = tmp_path / "run"
    for steps in (21, 52):
        # 6 transitions are an episode: 3 of them before the resume, 5 in the process after it.
        launch(make_config(logdir, *words, "--run.steps", str(steps)))
    meta = Checkpointer(logdir / "checkpoints").restore().meta
    assert meta["achievements"] == {"episodes": 8, "reached": {"hill": 5, "moon": 0}}
    last = [x for x in read_jsonl(logdir / "metrics.jsonl") if "achievement/score" in x][-1]
    assert last["achievement/rate/hill"] == 62.5
    assert last["achievement/rate/moon"] == 0.0
    assert last["achievement/score"] == pytest.approx(63.5**0.5 - 1)

    outcome = eval_run(str(logdir), ["--run.eval_eps", "3", *words[2:]])
    written = json.loads((logdir / "evaluation.json").read_text())
    assert written["achievement/rate/hill"] == pytest.approx(200 / 3)
    assert written["achievement/score"] == outcome.evaluation.achievements["achievement/score"]
    assert "achievement score 7.226%" in str(outcome)
    last = read_jsonl(logdir / "metrics.jsonl")[-1]
    assert last["eval/achievement/score"] == pytest.approx(written["achievement/score"])


def test_score_of_an_evaluation_during_training(make_config, task, tmp_path):
    words = ["--task", task, "--random_agent", "true", "--run.steps", "12", "--run.envs", "1"]
    words += ["--run.env_backend", "sync", "--run.final_eval_eps", "2", "--run.eval_envs", "1"]
    outcome = launch(make_config(tmp_path / "run", *words))
    assert outcome.evaluation.achievements["achievement/rate/hill"] == 50.0
    last = read_jsonl(tmp_path / "run" / "metrics.jsonl")[-1]
    assert last["eval/achievement/rate/hill"] == 50.0

"""Whole runs that draw sequences by priority and by recency."""

import functools

import gymnasium
import numpy as np
import pytest

from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.run.environments.source import EnvSource
from reverie.run.scripts import launch
from reverie.track.sinks.jsonl import read_jsonl

MIXTURE = [
    *("--replay.fracs.uniform", "0.25", "--replay.fracs.priority", "0.5"),
    *("--replay.fracs.recency", "0.25", "--run.steps", "40", "--replay.online", "false"),
]


def arrays(logdir):
    return Checkpointer(logdir / "checkpoints").restore().arrays


@pytest.mark.slow
def test_a_mixture_trains_the_same_whatever_is_logged_and_saved(make_config, tmp_path):
    quiet = ["--run.save_every", "0", "--run.report_every", "0"]
    busy = ["--run.save_every", "0.2", "--run.report_every", "0.3", "--run.log_every", "0.01"]
    launch(make_config(tmp_path / "a", *MIXTURE, *quiet))
    launch(make_config(tmp_path / "b", *MIXTURE, *busy))
    one, two = arrays(tmp_path / "a"), arrays(tmp_path / "b")
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)
    last = read_jsonl(tmp_path / "b" / "metrics.jsonl")[-1]
    shares = [last[f"replay/share/{name}"] for name in ("uniform", "priority", "recency")]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.15)
    assert last["replay/online_share"] == 0
    assert last["replay/priority_new"] < 0.5
    assert (tmp_path / "b" / "replay" / "selector").exists()


class Rated(gymnasium.Wrapper):
    """CartPole that finds a step the more interesting the further the pole leans."""

    def reset(self, **options):
        obs, info = self.env.reset(**options)
        return obs, info | {"log/lean": abs(float(obs[2]))}

    def step(self, action):
        obs, *rest, info = self.env.step(action)
        return obs, *rest, info | {"log/lean": abs(float(obs[2]))}


def rated():
    return Rated(gymnasium.make("CartPole-v1"))


def run_rated(make_config, logdir, key):
    words = ["--replay.fracs.uniform", "0", "--replay.fracs.priority", "1", "--run.steps", "60"]
    config = make_config(logdir, *words, "--replay.priosignal", key, "--task", "custom_rated")
    launch(config, EnvSource("custom_rated", config.env, functools.partial(rated)))
    return read_jsonl(logdir / "metrics.jsonl")[-1]


def test_an_environment_may_rate_its_own_steps(make_config, tmp_path):
    assert run_rated(make_config, tmp_path / "a", "log/lean")["replay/priority_new"] == 0
    # Updates give no priorities then: without that key all sequences stay equal.
    assert run_rated(make_config, tmp_path / "b", "log/other")["replay/priority_new"] == 1

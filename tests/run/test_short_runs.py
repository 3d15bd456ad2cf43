"""What a run says that is too short to learn, and about its environments."""

import time

import gymnasium
import numpy as np
import pytest

import reverie
from reverie.learner.compilation.programs import Program
from reverie.run.parts.state import Run
from reverie.run.scripts import launch
from reverie.track.sinks.jsonl import read_jsonl


def test_a_run_without_an_update_says_so_and_evaluates_nothing(make_config, tmp_path, capfd):
    words = ["--run.steps", "10", "--run.final_eval_eps", "3", "--logger.outputs", "terminal"]
    outcome = launch(make_config(tmp_path, *words, "--run.envs", "1"))
    assert (outcome.updates, outcome.evaluation) == (0, None)
    assert not (tmp_path / "evaluation.json").exists()
    notes = capfd.readouterr().out
    assert "the first update needs 18 steps in replay, and run.steps is 10." in notes
    assert "there is nothing to evaluate" in notes
    assert "1 environment, backend sync: as configured. It was set by block debug." in notes
    assert "Compiling" not in notes
    # With more steps the same run learns and is evaluated.
    again = launch(make_config(tmp_path, *words[2:], "--run.envs", "1", "--run.steps", "30"))
    assert again.updates
    assert again.evaluation
    notes = capfd.readouterr().out
    assert "will learn nothing" not in notes
    assert "Compiling: about 20 seconds" in notes


def test_a_run_without_updates_compiles_none(make_config, tmp_path, monkeypatch):
    lower, names = Program.lower, []
    monkeypatch.setattr(Program, "lower", lambda self, x: names.append(self.name) or lower(self, x))
    outcome = launch(make_config(tmp_path, "--run.steps", "40", "--run.train_ratio", "0"))
    assert (outcome.steps, outcome.updates) == (40, 0)
    assert "act" in names
    assert "train" not in names


def test_frames_are_logged_where_actions_are_repeated(make_config, tmp_path):
    words = ["--random_agent", "true", "--run.steps", "40", "--env.gym.repeat"]
    for repeat in (1, 3):
        outcome = launch(make_config(tmp_path / f"{repeat}", *words, f"{repeat}"))
        *_, last = read_jsonl(outcome.logdir / "metrics.jsonl")
        assert last.get("env/frames") == (3 * outcome.steps if repeat > 1 else None)


class Slow(gymnasium.Env):
    """Takes a tenth of a second for a step."""

    # As in CartPole, so that the compiled programs are shared.
    observation_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(4, np.float32), {}

    def step(self, action):
        time.sleep(0.1)
        return np.zeros(4, np.float32), 1.0, False, False, {}


def test_a_run_says_when_it_waits_for_environments(tmp_path, cache, capfd):
    options = {"configs": "debug", "run.steps": 30, "logdir": tmp_path, "jax.cache_dir": cache}
    options |= {"run.log_every": 0.3}
    reverie.train(Slow, **options, **{"run.envs": 2, "run.env_backend": "sync"})
    out = capfd.readouterr().out
    assert out.count("of the time: --run.env_backend async steps each of them") == 1
    records = read_jsonl(tmp_path / "metrics.jsonl")
    assert max(record.get("time/environment", 0) for record in records) > 0.5


def test_shares_of_the_time_are_no_more_than_all_of_it(make_config, tmp_path, monkeypatch):
    def late(run):
        found = spent(run)
        time.sleep(0.002)  # As where another thread has its turn just then.
        return found

    spent = Run.spent.fget
    monkeypatch.setattr(Run, "spent", property(late))
    words = ["--random_agent", "true", "--run.steps", "40", "--run.log_every", "1e-9"]
    launch(make_config(tmp_path, *words))
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    sums = [sum(x for key, x in row.items() if key.startswith("time/")) for row in rows]
    assert 0 < max(sums) <= 1.0


def test_a_log_tells_where_the_time_goes_and_counts_are_no_means(finished):
    rows = read_jsonl(finished.logdir / "metrics.jsonl")
    shares = [{k: x for k, x in row.items() if k.startswith("time/")} for row in rows]
    shares = [row for row in shares if row]
    assert all(0 < sum(row.values()) < 1.01 and len(row) == 5 for row in shares)
    assert sum(row["time/update"] for row in shares) > 0 < sum(x["time/policy"] for x in shares)
    updates = [row for row in rows if "train/opt/updates" in row]
    assert all(row["train/opt/updates"] % 1 == 0 for row in updates)
    assert updates[-1]["train/opt/lr"] == pytest.approx(1e-3)

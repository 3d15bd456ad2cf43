"""Runs on environments that break: restarts, the end of a run after too many, and resuming it."""

import dataclasses
import os
import signal
import sys
import time

import psutil
import pytest
from gymnasium.vector import SyncVectorEnv

from reverie.catalog import SUITES
from reverie.config.load import load
from reverie.envs.suites import dummy
from reverie.envs.vector.batched import BatchedVectorEnv, Engine
from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.run.scripts import launch
from reverie.track.sinks.jsonl import read_jsonl

MODULE = '''
import os, pathlib, time
import gymnasium
import numpy as np

class Breaking(gymnasium.Env):
    """Episodes of 5 steps; does at the 8th step of a process what a file says."""

    observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    count = 0

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.time += 1
        self.count += 1
        if self.count == 8:
            how = pathlib.Path(os.environ["BREAKING"]).read_text()
            if how == "raise":
                raise ZeroDivisionError("the wheel came off")
            if how == "hang":
                pathlib.Path(f"{os.environ['BREAKING']}.hangs.{os.getpid()}").touch()
                time.sleep(1000)
        return np.full(2, self.time, np.float32), 1.0, self.time == 5, False, {}

gymnasium.register("Breaking-v0", Breaking)
'''


@pytest.fixture
def how(tmp_path, monkeypatch):
    """A file that tells the environments of the command what to do."""
    (tmp_path / "breaking_module.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setenv("BREAKING", str(tmp_path / "how"))
    return tmp_path / "how"


@pytest.fixture
def words(tmp_path):
    """A run of random actions in such environments, in processes."""
    return [
        "train", "--configs", "debug", "--task", "gym_breaking_module:Breaking-v0",
        "--random_agent", "true", "--logdir", str(tmp_path / "run"), "--run.env_backend", "async",
        "--run.save_every", "0", "--logger.outputs", "terminal", "jsonl",
    ]  # fmt: skip


def test_too_many_failures_stop_the_run_which_is_saved_and_goes_on_later(
    how, words, command, tmp_path
):
    how.write_text("raise")
    process = command(*words, "--run.steps", "100", "--run.env_max_restarts", "3")
    out, err = process.communicate(timeout=400)
    assert process.returncode == 2, err
    # Both environments fail at their 8th step, are restarted, and fail again 8 steps later. The
    # resets in between are transitions too: 18 of them, in two environments.
    assert Checkpointer(tmp_path / "run" / "checkpoints").steps() == [36]
    assert "Saved at 36 environment steps." in out
    assert err.count("is restarted") == 3
    assert "one failure more than the 3 in 3600 seconds" in err
    assert "reverie: Environment 1 raised ZeroDivisionError: the wheel came off" in err
    assert 'raise ZeroDivisionError("the wheel came off")' in err
    how.write_text("fine")
    out, err = command(*words, "--run.steps", "60").communicate(timeout=400)
    assert "Resumed at 36 environment steps and 0 updates, with 36 steps in replay." in out, err
    assert "Run finished after 60 environment steps" in out


def test_a_run_goes_on_with_restarted_environments_and_counts_them(how, words, command, tmp_path):
    how.write_text("raise")
    process = command(*words, "--run.steps", "30", "--run.env_max_restarts", "3")
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert err.count("is restarted") == 2
    assert "Traceback" not in err
    records = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert records[-1]["env/restarts"] == 2
    # 15 transitions each: a whole episode, one that breaks after two steps, and a whole one.
    scores = read_jsonl(tmp_path / "run" / "scores.jsonl")
    assert [record["episode/length"] for record in scores] == [5] * 4


class Pool(Engine):
    """Dummies as an engine that steps them together, and breaks where its class says so."""

    breaks, steps = True, 0

    def __init__(self, num_envs):
        self.vector = SyncVectorEnv([lambda: dummy.make("disc")] * num_envs)
        self.name, self.num_envs = "pool", num_envs
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space

    def reset(self, seeds):
        return self.vector.reset(seed=seeds)[0], {}

    def send(self, actions):
        self.actions = actions

    def recv(self):
        self.steps += 1
        if self.breaks and self.steps == 6:
            raise RuntimeError("the engine broke")
        return *self.vector.step(self.actions)[:4], {}

    def close(self):
        self.vector.close()


def test_an_engine_of_many_environments_that_raises_stops_the_run_which_is_saved(
    tmp_path, monkeypatch, capsys
):
    def make_vec(task, num, options, seed):
        return BatchedVectorEnv(Pool(num), range(num))

    monkeypatch.setattr("reverie.envs.registry.make_vec", make_vec)
    monkeypatch.setitem(SUITES, "dummy", dataclasses.replace(SUITES["dummy"], batched=True))
    words = [
        "--configs", "debug", "--task", "dummy_disc", "--random_agent", "true", "--run.envs", "2",
        "--run.env_backend", "native", "--run.steps", "20", "--logdir", str(tmp_path),
        "--logger.outputs", "terminal", "--run.save_every", "0",
    ]  # fmt: skip
    with pytest.raises(RuntimeError, match="the engine broke"):
        launch(load(words))
    assert "2 environments, backend native: one engine steps all" in capsys.readouterr().out
    # The first reset and five steps, of two environments.
    assert Checkpointer(tmp_path / "checkpoints").steps() == [12]
    monkeypatch.setattr(Pool, "breaks", False)
    assert launch(load(words)).steps == 20


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_saves_although_an_environment_hangs(times, how, words, command, tmp_path):
    """A second Ctrl-C after the save ends the run at once. No process stays behind."""
    how.write_text("hang")
    process = command(*words, "--run.steps", "1e6", "--run.env_timeout", "0")
    saved = Checkpointer(tmp_path / "run" / "checkpoints")
    # Both are in their 8th step, and the run is done with the one before it and waits for them.
    wait_for(process, lambda: len(list(tmp_path.glob("how.hangs.*"))) == 2)
    main = psutil.Process(process.pid)
    wait_for(process, lambda: asleep(main))
    children = main.children(recursive=True)
    assert len(children) >= 3
    process.send_signal(signal.SIGINT)
    if times == 2:
        wait_for(process, saved.steps)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert saved.steps() == [18]
    if times == 1:
        assert "stopped by SIGINT and saved" in out
        assert err == "SIGINT: saving and stopping. Ctrl-C stops without a save.\n"
    _, alive = psutil.wait_procs(children, timeout=200)
    assert alive == []


def asleep(process, looks=10):
    """Whether the main thread of a process sleeps whenever it is looked at, for half a second."""
    for _ in range(looks):
        if process.status() != psutil.STATUS_SLEEPING:
            return False
        time.sleep(0.05)
    return True


def wait_for(process, condition, seconds=400):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)

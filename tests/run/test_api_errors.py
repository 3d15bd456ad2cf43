"""Errors of the Python interface."""

import inspect
import pathlib
import pickle
import subprocess
import sys
import traceback

import gymnasium
import pytest

import reverie
from reverie.disk import DiskFullError
from reverie.envs.errors import WorkerError
from reverie.errors import ConfigError
from reverie.learner.checkpoints.transfer import MismatchedTransferError


@pytest.mark.parametrize(
    "call",
    [
        lambda: reverie.train("CartPole-v1", total_timesteps=10),
        lambda: reverie.load("/nowhere"),
        lambda: reverie.make("dummy_nothing"),
    ],
)
def test_an_explained_error_is_led_by_its_message(call, monkeypatch):
    with pytest.raises(ValueError, match=r"\.") as caught:
        call()
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [frame.name for frame in frames][-1] == "call"
    assert len(frames) <= 4
    assert "During handling" not in "".join(traceback.format_exception(caught.value))
    monkeypatch.setenv("REVERIE_DEBUG", "1")
    with pytest.raises(ValueError, match=r"\.") as caught:
        call()
    assert len(traceback.extract_tb(caught.value.__traceback__)) > 4


def test_other_errors_keep_their_frames(tmp_path):
    class Broken(gymnasium.Env):
        def __init__(self):
            raise RuntimeError("no simulator")

    with pytest.raises(RuntimeError, match="no simulator") as caught:
        reverie.train(Broken, configs="debug", logdir=tmp_path / "run")
    assert len(traceback.extract_tb(caught.value.__traceback__)) > 4


KEPT = """
import gc, sys, traceback, weakref
import gymnasium
import numpy as np
import reverie
from reverie.replay.replay import Replay

class Failing(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        wheel = 0
        return 1 / wheel

    def close(self):
        seen.extend(weakref.ref(x) for x in gc.get_objects() if isinstance(x, Replay))

seen = []
try:
    reverie.train(Failing, configs="debug", random_agent=True, logdir=sys.argv[1])
except ZeroDivisionError as error:
    kept = error
gc.collect()
assert seen and all(replay() is None for replay in seen)
(frame,) = (each for each, _ in traceback.walk_tb(kept.__traceback__) if "wheel" in each.f_locals)
"""


def test_an_error_that_is_kept_keeps_no_run(tmp_path):
    # Notebooks and interpreters keep the last one, while the same cell is run again. (In another
    # process, because the frames of the checker of types in this one keep all arguments.)
    subprocess.run([sys.executable, "-c", KEPT, str(tmp_path)], check=True, capture_output=True)


@pytest.mark.parametrize(
    "error",
    [
        DiskFullError.of(pathlib.Path("/"), 10),
        WorkerError(1, "raised", "Environment 1 raised", "its traceback"),
        MismatchedTransferError("1 parameter does not fit", ("params/x",)),
    ],
)
def test_an_error_finds_its_way_out_of_a_pool(error):
    # One that cannot be unpickled leaves whoever waits for it waiting.
    error.add_note("where it was")
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert (str(found), vars(found)) == (str(error), vars(error))


def test_the_interface_keeps_its_signature():
    names = list(inspect.signature(reverie.train).parameters)
    assert names[:2] == ["env", "configs"]
    with pytest.raises(ConfigError, match=r"Did you mean run\.steps"):
        reverie.train("CartPole-v1", total_timesteps=10)


class Faulty(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.low - 1, 0.0, False, False, {}


@pytest.mark.parametrize("env", [Faulty, Faulty(), lambda: Faulty(), "CartPole-v1"])
def test_check_takes_what_train_takes(env):
    found = [str(finding) for finding in reverie.check(env, steps=100)]
    errors = [text for text in found if text.startswith("error")]
    assert bool(errors) == (env != "CartPole-v1"), found

"""Environments that fail and are restarted: what the caller sees, and when it is too much."""

import ctypes
import logging
import math
import os
import signal
import subprocess
import sys
import time

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

from reverie.envs.errors import Cancelled, SpaceError, ValueMismatchError, WorkerError
from reverie.envs.vector import processes
from reverie.envs.vector import restarts as module
from reverie.envs.vector.restarts import Restarts
from reverie.envs.vector.vector import VectorEnv
from reverie.replay.replay import Replay
from reverie.track.stats import EpisodeStats

cloudpickle.register_pickle_by_value(sys.modules[__name__])

FLAGS = ("is_first", "is_last", "is_terminal")
GO, RAISE, DIE, HANG, CRASH, NAN = range(6)
FAILURES = [("sync", RAISE), ("async", RAISE), ("async", DIE), ("async", HANG), ("async", CRASH)]
TIMEOUT, LONG = 2.0, 300.0
"""Seconds until an environment hangs, and more than any answer takes."""


class Clock:
    """Time passes where somebody waits."""

    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += max(seconds, 1e-3)


@pytest.fixture
def clock(monkeypatch):
    """That of the waits before restarts."""
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


class Breaking(gymnasium.Env):
    """Observes the time and a number drawn per episode; does what the action says."""

    observation_space = gs.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gs.Discrete(6)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.draw = 0, self.np_random.random()
        return self.obs(), {}

    def step(self, action):
        self.time += 1
        if action == RAISE:
            raise ZeroDivisionError("the wheel came off")
        if action == DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        if action == HANG:
            # Holds the interpreter's lock, so no Python code of this process can react.
            ctypes.PyDLL(None).sleep(1000)
        if action == CRASH:
            ctypes.string_at(0)
        if action == NAN:
            self.draw = np.nan
        return self.obs(), 1.0, self.time == 6, False, {"log/time": self.time}

    def obs(self):
        return np.array([self.time, self.draw], np.float32)


def make(factories, backend, *, limit=10, timeout=LONG, **options):
    restarts = Restarts(limit, **options)
    return VectorEnv(factories, backend, seeds=0, timeout=timeout, restarts=restarts)


def act(vector, *actions):
    return vector.step({"action": np.array(actions, np.int32)})


def play(backend, failure):
    """Transitions of two environments; the second one fails in its third step."""
    timeout = TIMEOUT if failure == HANG else LONG
    with make([Breaking] * 2, backend, timeout=timeout) as vector:
        record = [vector.reset()]
        record += [act(vector, GO, failure if i == 2 else GO) for i in range(7)]
        assert vector.restarts == 1
    return {key: np.stack([each[key] for each in record], 1) for key in ("obs", "reward", *FLAGS)}


@pytest.mark.parametrize(("backend", "failure"), FAILURES)
def test_a_new_episode_begins_in_place_of_the_lost_step(backend, failure, caplog):
    found = play(backend, failure)
    assert found["obs"][:, :, 0].tolist() == [[0, 1, 2, 3, 4, 5, 6, 0], [0, 1, 2, 0, 1, 2, 3, 4]]
    assert found["reward"].tolist() == [[0, 1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 0, 1, 1, 1, 1]]
    assert found["is_first"].astype(int).tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 1],
        [1, 0, 0, 1, *[0] * 4],
    ]
    assert found["is_last"].astype(int).tolist() == [[0, 0, 0, 0, 0, 0, 1, 0], [0] * 8]
    (line,) = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    reason = {
        RAISE: "ZeroDivisionError: the wheel came off.",
        DIE: "died with signal SIGKILL.",
        HANG: "did not answer within 2 seconds",
        CRASH: "died with signal SIGSEGV.",
    }[failure]
    assert reason in line
    assert "\n" not in line
    assert line.endswith(
        "Environment 1 is restarted, number 1 of at most 10 restarts in 3600 seconds."
    )


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_a_restarted_environment_has_a_seed_of_its_own(backend):
    one, two = play(backend, RAISE), play(backend, RAISE)
    np.testing.assert_array_equal(one["obs"], two["obs"])
    draws = one["obs"][..., 1]
    assert len({draws[0, 0], draws[0, 7], draws[1, 0], draws[1, 3]}) == 4


def test_both_backends_restart_alike():
    one, two = play("sync", RAISE), play("async", DIE)
    for key, value in one.items():
        np.testing.assert_array_equal(value, two[key], err_msg=key)


def test_replay_closes_the_broken_episode_and_statistics_leave_it_out():
    stats = EpisodeStats(1)
    with make([Breaking], "async") as vector:
        replay = Replay({**vector.obs_space, **vector.act_space}, length=11, capacity=40, context=0)
        records, transition = [], vector.reset()
        for i in range(11):
            actions = {"action": np.array([DIE if i == 2 else GO], np.int32)}
            records += stats.add(transition)
            steps = {key: value[None] for key, value in (transition | actions).items()}
            replay.add(steps, [0])
            transition = vector.step(actions)
    batch, _ = replay.gather(replay.plan(1))
    assert batch["obs"][0, :, 0].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 0]
    assert np.flatnonzero(batch["is_first"][0]).tolist() == [0, 3, 10]
    assert np.flatnonzero(batch["is_last"][0]).tolist() == [2, 9]
    assert np.flatnonzero(batch["is_terminal"][0]).tolist() == [9]
    assert [(each["episode/score"], each["episode/length"]) for each in records] == [(6.0, 6)]
    assert records[0]["epstats/log/time/max"] == 6
    replay.close()


def test_several_that_hang_at_once_take_the_time_of_one(monkeypatch):
    def waited(*args):
        answers, failed = collect(*args)
        hung.append([index for index, error in failed.items() if error.reason == "hung"])
        return answers, failed

    hung, collect = [], processes.collect
    monkeypatch.setattr(processes, "collect", waited)
    with make([Breaking] * 4, "async", timeout=TIMEOUT) as vector:
        vector.reset()
        transition = act(vector, HANG, HANG, GO, HANG)
        assert [each for each in hung if each] == [[0, 1, 3]]
        assert transition["is_first"].tolist() == [True, True, False, True]
        assert act(vector, GO, GO, GO, GO)["obs"][:, 0].tolist() == [1, 1, 2, 1]
        assert vector.restarts == 3


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_one_failure_too_many_stops_with_the_traceback_of_the_environment(backend, caplog, clock):
    expected = ZeroDivisionError if backend == "sync" else WorkerError
    with make([Breaking] * 2, backend, limit=2) as vector:
        vector.reset()
        for _ in range(2):
            assert act(vector, GO, RAISE)["is_first"].tolist() == [False, True]
        with pytest.raises(expected, match="the wheel came off") as error:
            act(vector, GO, RAISE)
    said = str(error.value) if backend == "async" else "".join(error.value.__notes__)
    assert "Environment 1 raised ZeroDivisionError: the wheel came off.\nAt step 1 of its" in said
    assert 'test_envs_restarts.py, line 69, in step: raise ZeroDivisionError("the' in said
    assert "one failure more than the 2 in 3600 seconds" in caplog.text


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_an_environment_at_the_end_of_its_data_stops_with_that(backend):
    class OfData(Breaking):
        def step(self, action):
            return next(iter([]))

    with make([OfData], backend, limit=0) as vector:
        vector.reset()
        with pytest.raises((StopIteration, WorkerError)) as error:
            act(vector, GO)
    said = str(error.value) if backend == "async" else "".join(error.value.__notes__)
    assert "raised StopIteration.\nAt step 1 of its episode, in test_envs_restarts.py" in said


def test_an_environment_that_ends_the_process_is_named(caplog):
    class Closed(Breaking):
        def step(self, action):
            sys.exit(3)

    with make([Closed], "sync", limit=5) as vector:
        vector.reset()
        with pytest.raises(SystemExit):
            act(vector, GO)
    said = "Environment 0 raised SystemExit: 3.\nAt step 1 of its episode, in test_envs_restarts"
    assert said in caplog.text


def test_restarts_before_the_window_are_forgotten(clock):
    with make([Breaking], "sync", limit=1, window=0.3) as vector:
        vector.reset()
        act(vector, RAISE)
        clock.now += 0.35
        act(vector, RAISE)
        with pytest.raises(ZeroDivisionError):
            act(vector, RAISE)
        assert vector.restarts == 2


def test_waits_double_for_each_environment_on_its_own(clock):
    restarts, waits = Restarts(limit=9), []
    for index in [0, 0, 0, 0, 0, 0, 0, 0, 1]:
        before = clock.now
        restarts.wait({index: RuntimeError("broken")})
        waits.append(round(clock.now - before))
    assert waits == [0, 1, 2, 4, 8, 16, 30, 30, 0]
    with pytest.raises(RuntimeError, match="broken"):
        restarts.wait({1: RuntimeError("broken")})
    clock.now += 3600
    restarts.wait({1: RuntimeError("broken")})
    assert restarts.total == 10


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_a_failing_restart_is_a_failure_too(backend, tmp_path, caplog, clock):
    class Stubborn(Breaking):
        """Can be built the first and the third time."""

        def __init__(self):
            made = len(list(tmp_path.iterdir()))
            (tmp_path / str(made)).touch()
            if made == 1:
                raise ConnectionError("the server is starting")

    with make([Stubborn], backend) as vector:
        vector.reset()
        assert act(vector, RAISE)["is_first"].all()
        assert act(vector, GO)["obs"][:, 0].tolist() == [1]
        assert vector.restarts == 2
    assert "the server is starting. Environment 0 is restarted in 1 seconds" in caplog.text


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_the_first_construction_and_the_first_reset_are_not_retried(backend):
    class Unbuilt(Breaking):
        def __init__(self):
            raise LookupError("no such level")

    class Unready(Breaking):
        def reset(self, *, seed=None, options=None):
            raise LookupError("no such map")

    with pytest.raises((LookupError, WorkerError), match="no such level"):
        make([Unbuilt], backend)
    with (
        make([Unready], backend) as vector,
        pytest.raises((LookupError, WorkerError), match="no such map"),
    ):
        vector.reset()
    assert vector.restarts == 0


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_later_resets_are_retried(backend, tmp_path):
    class Moody(Breaking):
        def reset(self, *, seed=None, options=None):
            result = super().reset(seed=seed)
            (tmp_path / str(len(list(tmp_path.iterdir())))).touch()
            if len(list(tmp_path.iterdir())) == 2:
                raise ConnectionError("gone")
            return result

    with make([Moody], backend) as vector:
        vector.reset()
        transition = vector.reset()
        assert transition["is_first"].all()
        assert transition["obs"][0, 0] == 0
        assert vector.restarts == 1


@pytest.mark.parametrize(
    ("backend", "error"), [("sync", ValueMismatchError), ("async", WorkerError)]
)
def test_nan_in_an_observation_counts_and_names_environment_key_and_step(backend, error):
    with make([Breaking], backend, limit=1) as vector:
        vector.reset()
        assert act(vector, NAN)["is_first"].all()
        act(vector, GO)
        with pytest.raises(
            error, match=r"Breaking, step 2 of the episode: observation 'obs' is NaN at index \[1\]"
        ):
            act(vector, NAN)


def test_other_spaces_after_a_restart_are_an_error_at_once(tmp_path):
    class Changing(Breaking):
        def __init__(self):
            classes = 6 + len(list(tmp_path.iterdir()))
            (tmp_path / str(classes)).touch()
            self.action_space = gs.Discrete(classes)

    for backend in ("sync", "async"):
        for path in tmp_path.iterdir():
            path.unlink()
        with make([Changing], backend) as vector:
            vector.reset()
            with pytest.raises(SpaceError, match="Environment 0 has the spaces"):
                act(vector, RAISE)


@pytest.mark.parametrize("failure", [HANG, RAISE])
def test_a_wait_can_be_cancelled(failure, clock):
    """While an environment hangs, and before it is restarted."""
    asked, last = 0, math.inf

    def cancelled():
        nonlocal asked
        asked += 1
        return asked > last

    with make([Breaking], "async", timeout=None, cancelled=cancelled) as vector:
        vector.reset()
        if failure == RAISE:
            for _ in range(3):
                act(vector, failure)
        begun, last = clock.now, asked + 2
        with pytest.raises(Cancelled):
            act(vector, failure)
        assert asked == last + 1
        assert clock.now < begun + 1  # Of the four seconds before the fourth restart.


def test_suspended_environments_do_not_count_as_hung(tmp_path):
    """Neither does the time count in which the trainer was suspended itself."""
    script = (
        "import os, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from test_envs_restarts import Breaking, make, act\n"
        "class Slow(Breaking):\n"
        "    def step(self, action):\n"
        "        time.sleep(0.2)\n"
        "        return super().step(action)\n"
        "with make([Slow] * 2, 'async', limit=0, timeout=2) as vector:\n"
        "    vector.reset()\n"
        "    print(*(each.pid for each in vector._inner._envs), flush=True)\n"
        "    while not os.path.exists(sys.argv[2]): act(vector, 0, 0)\n"
        "    act(vector, 0, 0)\n"
        "print('done', flush=True)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    marker = tmp_path / "resumed"
    command = [sys.executable, "-c", script, os.path.dirname(__file__), str(marker)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as trainer:
        workers = [int(word) for word in trainer.stdout.readline().split()]
        everybody = [trainer.pid, *workers]
        time.sleep(0.2)
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        for pid in reversed(everybody):  # The trainer does not wait for who still stands.
            os.kill(pid, signal.SIGCONT)
        marker.touch()
        assert trainer.stdout.read() == "done\n"

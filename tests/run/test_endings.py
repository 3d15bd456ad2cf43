"""Ends of a run that nobody planned: what was collected is saved, and the cause is told."""

import functools
import os
import shutil
import signal
import sys
import threading
import time

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

from reverie.config.load import load
from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.run.environments.source import EnvSource
from reverie.run.saved import saver
from reverie.run.saved.folder import FolderGoneError
from reverie.run.scripts import launch
from reverie.track.sinks.jsonl import read_jsonl

# Some packages install a package `tests` of their own, which worker processes would find.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Ending(gymnasium.Env):
    """Does something at its 20th step, at its 60th, or when it is made or reset."""

    observation_space = gs.Box(0, 1e9, (1,), np.float32)
    action_space = gs.Discrete(2)

    def __init__(self, at_step=lambda: None, at_reset=lambda: None, at_end=lambda: None):
        self.at_step = at_step
        self.at_end = at_end
        self.at_reset = at_reset
        self.count = 0

    def reset(self, *, seed=None, options=None):
        self.at_reset()
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        if self.count == 20:
            self.at_step()
        if self.count == 60:
            self.at_end()
        time.sleep(0.001)
        return np.zeros(1, np.float32), 1.0, False, False, {}


@pytest.fixture
def run(tmp_path):
    """A run of random actions in such environments; returns the outcome and the saved steps."""

    def start(factory, *words, callbacks=()):
        settings = load([
            "--configs", "debug", "--task", "custom_ending", "--random_agent", "true",
            "--logger.outputs", "jsonl", "--logdir", str(tmp_path), "--run.steps", "1e6",
            "--run.envs", "1", "--run.save_every", "0", *words,
        ])  # fmt: skip
        source = EnvSource("custom_ending", settings.env, factory)
        return launch(settings, source, callbacks=callbacks)

    return start


@pytest.fixture
def saved(tmp_path):
    return lambda: list(Checkpointer(tmp_path / "checkpoints").steps())


def fail(error):
    def at():
        raise error

    return at


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("of the simulator")])
def test_what_ends_the_program_is_saved_before(run, saved, error):
    with pytest.raises(type(error)) as caught:
        run(lambda: Ending(fail(error)))
    assert caught.value is error
    assert saved() == [20]


def test_the_first_error_is_told_before_that_of_the_save(run, saved, monkeypatch):
    monkeypatch.setattr(Checkpointer, "save", lambda *_: fail(OSError("the disk is gone"))())
    with pytest.raises(ZeroDivisionError, match="the wheel") as caught:
        run(lambda: Ending(fail(ZeroDivisionError("the wheel came off"))))
    note = " ".join(caught.value.__notes__)
    assert "could not be saved either" in note
    assert "OSError: the disk is gone" in note
    assert saved() == []


def test_a_save_that_fails_at_once_is_made_again(run, saved, monkeypatch):
    save, broken = Checkpointer.save, [OSError("the disk was away for a moment")]

    def moody(*args):
        if broken:
            raise broken.pop()
        save(*args)

    def at_step(run):
        if run.steps == 20:
            run.save()
            run.saver.wait()  # Before there is another step.

    monkeypatch.setattr(Checkpointer, "save", moody)
    with pytest.raises(OSError, match="away for a moment"):
        run(Ending, callbacks=[at_step])
    assert saved() == [20]


@pytest.mark.parametrize("moved", [True, False])
def test_a_folder_that_is_moved_or_removed_ends_the_run(run, tmp_path, monkeypatch, moved):
    first, then = tmp_path / "first", tmp_path / "then"
    monkeypatch.setattr(saver, "LOOK_SECONDS", 0)

    def at_step(run):
        if run.steps == 20:
            run.save_now()
            first.rename(then) if moved else shutil.rmtree(first)

    with pytest.raises(FolderGoneError, match=f"{first} was moved or removed while"):
        run(Ending, "--logdir", str(first), "--run.save_every", "1e3", callbacks=[at_step])
    assert not first.exists()
    if moved:
        assert list(Checkpointer(then / "checkpoints").steps()) == [20]
        words = ["--logdir", str(then), "--run.steps", "40", "--run.final_eval_eps", "0"]
        assert run(Ending, *words).steps == 40


def ignore_signals():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize("at", ["made", "reset", "step"])
def test_environments_that_take_the_signals_do_not_keep_them(run, saved, at):
    def make():
        if at == "made":
            ignore_signals()
        only = {f"at_{at}": ignore_signals} if at != "made" else {}
        return Ending(**only, at_end=lambda: os.kill(os.getpid(), signal.SIGTERM))

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    outcome = run(make, "--run.duration", "400")
    assert outcome.interrupted == signal.SIGTERM
    assert saved() == [outcome.steps]
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before


def test_what_was_measured_before_a_signal_during_a_wait_is_written(run, tmp_path):
    interrupt = functools.partial(os.kill, os.getpid(), signal.SIGINT)
    outcome = run(lambda: Ending(interrupt), "--run.log_every", "1000")
    assert outcome.interrupted == signal.SIGINT
    *_, last = read_jsonl(tmp_path / "metrics.jsonl")
    assert last["step"] == outcome.steps == 20


def test_a_worker_that_is_never_built_is_left_soon(run, saved, tmp_path):
    begun, stuck, sent = tmp_path / "begun", tmp_path / "stuck", []

    def make():
        if begun.exists():
            stuck.touch()
            time.sleep(1000)
        begun.touch()  # One temporary environment shows the spaces.
        return Ending()

    def stop():
        end = time.monotonic() + 400
        while not stuck.exists() and time.monotonic() < end:
            time.sleep(0.01)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    outcome = run(make, "--run.env_backend", "async")
    assert outcome.interrupted == signal.SIGTERM
    assert outcome.steps == 0
    assert "before its first step" in outcome.summary()
    assert stuck.exists()
    assert time.monotonic() - sent[0] < 60
    assert saved() == []

"""Runs with the debug preset that several tests look at."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from reverie.config.load import load
from reverie.run.scripts import launch

CARTPOLE = ("--configs", "debug", "--task", "gym_CartPole-v1", "--logger.outputs", "jsonl")


@pytest.fixture(scope="session")
def make_config(cache):
    """A CartPole run of the debug preset; keyword arguments are dotted options with `__`."""

    def make(logdir, *words):
        return load([*CARTPOLE, "--jax.cache_dir", cache, "--logdir", str(logdir), *words])

    return make


@pytest.fixture(scope="session")
def finished(make_config, tmp_path_factory):
    """A finished run with a final evaluation, and its outcome."""
    logdir = tmp_path_factory.mktemp("finished") / "run"
    words = ["--run.steps", "120", "--run.final_eval_eps", "3", "--run.log_every", "0.2"]
    return launch(make_config(logdir, *words))


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run's folder, to write into."""
    return pathlib.Path(shutil.copytree(finished.logdir, tmp_path / "copied"))


@pytest.fixture
def undrawn(monkeypatch):
    """Plots of reports are empty files: drawing takes seconds, and other tests look at them."""

    def touch(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    monkeypatch.setattr(
        "reverie.run.reports.report.horizon_plot", lambda _, path, **__: touch(path)
    )
    monkeypatch.setattr(
        "reverie.run.reports.report.openloop_plot",
        lambda true, pred, observed, path, **_: touch(path),
    )


@pytest.fixture
def command():
    """Runs the `reverie` command in another process; returns it unfinished."""
    started = []

    def start(*words):
        env = {**os.environ, "REVERIE_DEBUG": "", "PYTHONWARNINGS": "error"}
        process = subprocess.Popen(
            [sys.executable, "-m", "reverie", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


class Notes:
    """A sink that keeps the messages, and the last value of each metric."""

    def __init__(self):
        self.texts = []
        self.metrics = {}

    def write(self, step, metrics):
        self.metrics |= metrics

    def episode(self, step, metrics):
        pass

    def note(self, text):
        self.texts.append(text)

    def close(self):
        pass


@pytest.fixture
def notes():
    return Notes()

"""The command with script parallel: its supervisor, its learner, and what is left of them."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from reverie.learner.checkpoint import Checkpointer
from reverie.replay.files import format

MODULE = """
import time, gymnasium, numpy as np

class Slow(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 20, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.time += 1
        time.sleep(0.01)
        return np.full(1, self.time, np.float32), 1.0, self.time == 10, False, {}
"""


class Command:
    """The command in a process group of its own, as a shell starts it."""

    def __init__(self, folder, cache):
        (folder / "slow_module.py").write_text(MODULE)
        self.folder = folder / "run"
        self.saved = Checkpointer(self.folder / "checkpoints")
        words = [
            "train", "--configs", "debug", "parallel", "--task", "slow_module:Slow",
            "--logdir", str(self.folder), "--run.steps", "100000", "--run.save_every", "1",
            "--run.report_every", "0", "--run.env_max_restarts", "2", "--ray.chunk", "8",
            "--ray.actors", "1", "--jax.cache_dir", cache,
        ]  # fmt: skip
        path = os.pathsep.join([str(folder), *sys.path])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reverie", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        self.children = []

    def wait(self, condition, seconds=400):
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.05)
        self.children += psutil.Process(self.process.pid).children(recursive=True)

    def learner(self):
        """The process that boots with the word in its code."""
        alive = {child.pid: child for child in self.children if child.is_running()}
        (found,) = [x for x in alive.values() if any("--learner" in y for y in x.cmdline())]
        return found

    def end(self):
        """Exit code and output of the command, and what is left of its children."""
        output = self.process.communicate(timeout=100)[0]
        _, alive = psutil.wait_procs(self.children, timeout=30)
        return self.process.returncode, output, alive


@pytest.fixture
def command(tmp_path, cache):
    made = Command(tmp_path, cache)
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.communicate()
    for child in made.children:
        if child.is_running():
            child.kill()


def test_a_learner_that_is_killed_resumes_and_no_step_is_lost_or_counted_twice(command):
    command.wait(lambda: len(command.saved.steps()) > 1)
    command.learner().kill()
    before = command.saved.steps()[-1]
    command.wait(lambda: command.saved.steps()[-1] > before + 100)
    os.killpg(command.process.pid, signal.SIGTERM)
    code, output, alive = command.end()
    assert code == 128 + signal.SIGTERM, output
    assert alive == []
    assert "The learner died with SIGKILL. The learner is restarted, number 1 of" in output
    assert f"Resumed at {before:,} environment steps" in output
    assert output.count("SIGTERM: saving and stopping.") == 1
    assert "Traceback" not in output
    saved = command.saved.restore()
    # One actor all the time, of whose two environments every step is there once.
    streams = {}
    for path in sorted((command.folder / "replay").glob("*.chunk")):
        about, steps = format.read(path)
        streams.setdefault(about["stream"], []).extend(steps["obs"][:, 0].tolist())
    assert sum(map(len, streams.values())) == saved.step
    for times in streams.values():
        assert times == [step % 11 for step in range(saved.step // 2)]
    assert len(streams) == 2
    assert f"stopped by SIGTERM and saved after {saved.step:,} environment steps" in output


@pytest.mark.slow
def test_the_learner_of_a_supervisor_that_is_killed_saves_and_nothing_is_left(command):
    command.wait(command.saved.steps)
    before = command.saved.steps()[-1]
    command.process.kill()
    _, alive = psutil.wait_procs(command.children, timeout=60)
    assert alive == []
    assert command.saved.steps()[-1] > before


@pytest.mark.slow
def test_ctrl_c_saves_once_and_ends_everything(command):
    command.wait(command.saved.steps)
    os.killpg(command.process.pid, signal.SIGINT)
    code, output, alive = command.end()
    assert code == 130, output
    assert alive == []
    assert output.count("SIGINT: saving and stopping.") == 1
    assert "stopped by SIGINT and saved" in output

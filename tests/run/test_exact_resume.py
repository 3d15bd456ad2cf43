"""A resumed run makes the very updates that it would have made without the interruption."""

import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

from reverie import api
from reverie.learner import learner
from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.replay.batches import Batches
from reverie.run.parts import state

ENVS, LENGTH = 2, 10
"""Episodes of ten steps: with the first one an environment gives eleven observations in each."""


class Numbered(gymnasium.Env):
    """Episodes that follow from their number alone, and which can begin with any of them."""

    observation_space = gs.Box(-2, 2, (4,), np.float32)
    action_space = gs.Discrete(2)

    first = 0

    def __init__(self):
        self.number = self.first - 1

    def reset(self, *, seed=None, options=None):
        self.number, self.time = self.number + 1, 0
        return self._observation(), {}

    def step(self, action):
        self.time += 1
        reward = float(action) + 0.1 * (self.number % 3)
        return self._observation(), reward, self.time >= LENGTH, False, {}

    def _observation(self):
        phase = np.arange(4) * (1 + self.number) + self.time
        return np.sin(phase).astype(np.float32)


def digest(arrays):
    """A number for the content of arrays by name."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()[:16]


def play(logdir, cache, options, begin, stop, at_save):
    """Trains up to a step; returns what each update got and gave, and the last checkpoint.

    Args:
        logdir: Run folder.
        cache: Compiled programs.
        options: Options of the run.
        begin: Step at which the environments begin.
        stop: The last step.
        at_save: A step to save at, and what to call then; what was before is left out.
    """
    batches, metrics = [], []
    draw, pop, store = Batches.next, learner.Learner.pop_metrics, state.Run.save

    def drawn(self):
        sample = draw(self)
        batches.append(digest({**sample.batch, "ids": sample.ids}))
        return sample

    def popped(self):
        metrics.extend(pop(self))
        return []

    def saved(self):
        if self.progress.steps == at_save[0]:
            store(self)
            self.saver.wait()
            popped(self.learner)
            batches.clear()
            metrics.clear()
            at_save[1]()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Numbered, "first", begin // ENVS // (LENGTH + 1))
        patch.setattr(Batches, "next", drawn)
        patch.setattr(learner.Learner, "pop_metrics", popped)
        patch.setattr(state.Run, "save", saved)
        patch.setattr(state.Run, "save_now", lambda self: (store(self), self.saver.wait()))
        # Asks to save in every step.
        base = {"run.save_every": 1e-9, "run.report_every": 0, "run.log_every": 1e9}
        api.train(
            Numbered,
            **{"logdir": str(logdir), "configs": "debug", "jax.cache_dir": cache, **base},
            **{"run.envs": ENVS, "run.env_backend": "sync", "logger.outputs": ["jsonl"]},
            **{"run.steps": stop, **options},
        )
    checkpoint = Checkpointer(logdir / "checkpoints").restore()
    return batches, metrics, checkpoint


def die():
    os.kill(os.getpid(), signal.SIGKILL)


FRACS = {"uniform": 0.2, "priority": 0.5, "recency": 0.3}
SELECTORS = {
    "uniform": {},
    "mixture": {f"replay.fracs.{k}": x for k, x in FRACS.items()},
    "consecutive": {"consec_train": 2, "replay.online": False},
}


KILLED = pytest.param("uniform", True, marks=pytest.mark.slow, id="uniform, a killed process")


@pytest.mark.parametrize(("kind", "kill"), [*((kind, False) for kind in SELECTORS), KILLED])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(cache, tmp_path, kind, kill):
    """What a run that is killed leaves is its folder as it is after a save."""
    period = ENVS * (LENGTH + 1)
    # Replay is full and evicts, with rows that were used again.
    options = {"replay.size": 8 * period, "replay.chunksize": 9, "run.train_ratio": 16}
    options |= SELECTORS[kind]
    save_at, stop = 10 * period, 13 * period
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def leave():
        shutil.copytree(whole, killed)

    if kill:
        here = pathlib.Path(__file__)
        args = f"pathlib.Path({str(killed)!r}), {cache!r}, {options}, 0, {stop}, ({save_at}, die)"
        code = f"import pathlib; from {here.stem} import *; play({args})"
        done = subprocess.run([sys.executable, "-c", code], cwd=here.parent, stderr=subprocess.PIPE)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        leave = int
    batches, metrics, reached = play(whole, cache, options, 0, stop, (save_at, leave))
    found, learned, again = play(killed, cache, options, save_at, stop, (-1, None))
    assert len(batches) > 20
    assert found == batches
    # Those of the last update before the save come with the next one.
    assert learned == metrics[len(metrics) - len(learned) :]
    assert len(learned) >= len(batches) - 1
    assert again.meta["counters"] == reached.meta["counters"]
    for mine, other in ((again.arrays, reached.arrays), (again.held, reached.held)):
        assert mine.keys() == other.keys()
        assert not [name for name in mine if mine[name].tobytes() != other[name].tobytes()]

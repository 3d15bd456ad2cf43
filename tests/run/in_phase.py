"""A run of the command that tells in which phase it is, and stays there for a while.

Arguments: the phase, a file that appears when it is reached, and the words of the command.
"""

import importlib.abc
import pathlib
import signal
import sys
import time

PHASE, MARK, *WORDS = sys.argv[1:]
LONG = 60.0
# The tests may run under nohup, which would keep this one.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def reached(seconds=0.0):
    """Tells it, and waits as somebody does who runs Python code."""
    pathlib.Path(MARK).touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


class SlowImport(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname == "jax":
            sys.meta_path.remove(self)
            reached(LONG)


def before(owner, name, number=1, seconds=0.0):
    """Reaches the phase before a function is called for the nth time."""
    function, calls = getattr(owner, name), []

    def call(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            reached(seconds)
        return function(*args, **kwargs)

    setattr(owner, name, call)


def prepare():
    import gymnasium
    import numpy as np

    class Scripted(gymnasium.Env):
        """Episodes of 10 steps in training, without an end in evaluations."""

        # As in CartPole, so that the compiled programs are shared.
        observation_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
        action_space = gymnasium.spaces.Discrete(2)
        calls = 0

        def __init__(self):
            if PHASE == "building":
                reached(LONG)

        def reset(self, *, seed=None, options=None):
            Scripted.calls += 1
            self.time = 0
            return np.zeros(4, np.float32), {}

        def step(self, action):
            Scripted.calls += 1
            if PHASE == "collecting" and Scripted.calls == 40:
                reached(LONG)
            time.sleep(0.002)
            self.time += 1
            endless = PHASE in ("evaluating", "final") and pathlib.Path(MARK).exists()
            return np.zeros(4, np.float32), 1.0, self.time >= 10 and not endless, False, {}

    gymnasium.register("Scripted-v0", Scripted)
    if PHASE in ("imports", "building", "collecting"):
        return

    from reverie.learner.checkpoints.checkpoint import Checkpointer
    from reverie.learner.learner import Learner
    from reverie.run.reports import evaluation

    where = {
        "compiling": (Learner, "wait"),
        "updating": (Learner, "update", 5),
        "reporting": (Learner, "report", 1, LONG),
        "evaluating": (evaluation, "play"),
        "saving": (Checkpointer, "save", 2, 1.0),
        "stuck": (Checkpointer, "save", 2, LONG),
        "final": (evaluation, "play"),
    }
    before(*where[PHASE])


if PHASE == "imports":
    sys.meta_path.insert(0, SlowImport())
prepare()
sys.argv = ["reverie", *WORDS]
from reverie.cli import main  # noqa: E402

sys.exit(main())

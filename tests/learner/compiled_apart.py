"""Trains a tiny agent whose update is compiled in a process of its own; see `test_compiler.py`."""

import json
import pathlib
import subprocess
import sys

import numpy as np

from reverie.config import load
from reverie.run import build
from reverie.spaces import Space

started = []
traced = []


class Popen(subprocess.Popen):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        started.append(self.pid)
        print(self.pid, flush=True)


def main(cache: str, output: pathlib.Path) -> None:
    words = ["--configs", "debug", "--jax.fast_compile", "False", "--jax.cache_dir", cache]
    config = load([*words, "--batch_size", "2"])
    obs = {"obs": Space("continuous", (3,), "float32")}
    act = {"action": Space("discrete", (), "int32", (2,))}
    learner = build.learner(config, *build.agent(config, obs, act), output.parent)
    shape = (2, config.batch_length + config.replay_context)
    batch = {"obs": np.ones((*shape, 3), np.float32), "action": np.ones(shape, np.int32)}
    batch |= {key: np.zeros(shape, bool) for key in ("is_first", "is_last", "is_terminal")}
    batch |= {"reward": np.ones(shape, np.float32), "consec": np.zeros(2, np.int32)}
    latents = learner.latent_spaces.items()
    batch |= {key: space.zeros(2, config.replay_context) for key, space in latents}
    subprocess.Popen = Popen
    learner.snapshot()  # What makes and copies the state is traced now, if it is.
    lower = learner._programs.lower
    learner._programs.lower = lambda kind, batch: traced.append(kind) or lower(kind, batch)
    learner.prepare("train", batch)
    learner.train(batch)
    (metrics,) = (learner.synchronize(), learner.pop_metrics())[1]
    output.write_text(json.dumps({"started": started, "traced": traced, "metrics": metrics}))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))

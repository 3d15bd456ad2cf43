"""The command with script parallel as a shell starts it, and what it leaves behind."""

import collections
import os
import signal
import subprocess
import sys
import time

import psutil
from ray_nodes import cmdline

from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.replay.files import format
from reverie.track.sinks.jsonl import read_jsonl

CHUNK = 8
"""Steps of each environment in a chunk."""

MODULE = """
import os, pathlib, secrets, time, gymnasium, numpy as np

class Telling(gymnasium.Env):
    '''Observes its own number and that of the observation, and keeps the latter in a file.'''

    # So large that a chunk is no part of an answer, but an object in the store of its node.
    observation_space = gymnasium.spaces.Box(0, 2 ** 23, (2048,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        self.number, self.count = secrets.randbits(23), -1
        folder = pathlib.Path(__file__).parent / "made"
        folder.mkdir(exist_ok=True)
        self.file = os.open(folder / str(self.number), os.O_RDWR | os.O_CREAT)

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return self._seen(), {}

    def step(self, action):
        self.time += 1
        time.sleep(0.01)
        return self._seen(), 1.0, self.time == 10, False, {}

    def close(self):
        os.close(self.file)

    def _seen(self):
        self.count += 1
        os.pwrite(self.file, b"%d" % (self.count + 1), 0)
        seen = np.zeros(2048, np.float32)
        seen[:2] = self.number, self.count
        return seen
"""


class Command:
    """The command in a process group of its own.

    Args:
        folder: Of the test.
        cache: Of compiled programs.
        words: More options.
        prefix: In front of the command.
    """

    def __init__(self, folder, cache, *words, prefix=()):
        (folder / "telling.py").write_text(MODULE)
        self.folder, self._made = folder / "run", folder / "made"
        self.saved = Checkpointer(self.folder / "checkpoints")
        words = [
            "train", "--configs", "debug", "parallel", "--task", "telling:Telling",
            "--logdir", str(self.folder), "--run.steps", "1e5", "--replay.size", "1e5",
            "--run.save_every", "1", "--run.report_every", "0", "--run.env_max_restarts", "3",
            "--run.log_every", "1", "--logger.outputs", "terminal,jsonl", "--ray.chunk", str(CHUNK),
            "--jax.cache_dir", cache, *words,
        ]  # fmt: skip
        path = os.pathsep.join([str(folder), *sys.path])
        self._output = folder / "output"
        # What a shell runs in the background ignores it, and so would this.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        with self._output.open("w") as file:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "reverie", *words],
                stdout=file,
                stderr=file,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        signal.signal(signal.SIGINT, before)
        self.children = []

    @property
    def output(self):
        """What it has printed."""
        return self._output.read_text()

    def wait(self, condition, seconds=900):
        """Returns when a condition holds, and knows the processes of then."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < end, (self.counts(), self.output)
            time.sleep(0.05)
        self.children += psutil.Process(self.process.pid).children(recursive=True)

    def learner(self):
        """The process that boots with the word in its code."""
        children = {child.pid: child for child in self.children}
        (found,) = [child for child in children.values() if "--learner" in cmdline(child)]
        return found

    def end(self, number=signal.SIGTERM):
        """Exit code after a signal to the group, output, and what is left of the children."""
        os.killpg(self.process.pid, number)
        code = self.process.wait(timeout=300)
        _, alive = psutil.wait_procs(self.children, timeout=120)
        return code, self.output, alive

    def close(self):
        """Kills what is left."""
        for process in [self.process, *self.children]:
            if process.poll() is None if process is self.process else process.is_running():
                process.kill()
        self.process.wait()

    def counts(self):
        """The newest that were logged."""
        path = self.folder / "metrics.jsonl"
        found = {}
        for record in read_jsonl(path) if path.exists() else ():
            found |= record
        names = {
            "steps": "step", "replay": "replay/inserts", "streams": "replay/streams",
            "updates": "train/opt/updates", "running": "actors/running",
            "restarts": "actors/restarts",
        }  # fmt: skip
        return {name: int(found.get(key, 0)) for name, key in names.items()}

    def streams(self):
        """Of every stream in the saved replay the numbers of its environment and observations."""
        found = collections.defaultdict(list)
        for path in sorted((self.folder / "replay").rglob("*.chunk")):
            about, steps = format.read(path)
            found[about["stream"]] += steps["obs"][:, :2].astype(int).tolist()
        return {stream: tuple(zip(*rows, strict=True)) for stream, rows in found.items()}

    def check_steps(self):
        """Every step that counts is in replay once, and of each environment all from its first.

        Returns:
            Steps in replay by environment, and how many it has made.
        """
        streams = self.streams()
        assert sum(len(counts) for _, counts in streams.values()) == self.saved.restore().step
        for numbers, counts in streams.values():
            assert len(set(numbers)) == 1
            assert counts == tuple(range(len(counts)))
        kept = {numbers[0]: len(counts) for numbers, counts in streams.values()}
        assert len(kept) == len(streams)
        return kept, {int(path.name): int(path.read_bytes()) for path in self._made.iterdir()}

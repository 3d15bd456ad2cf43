"""A process that compiles one program into the compilation cache."""

import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
from typing import Any

import cloudpickle
import jax
import numpy as np

from reverie.learner.devices import Placement, use_cache
from reverie.learner.programs import Batch, Kind, Programs

log = logging.getLogger("reverie.learner")

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from reverie.learner.compiler_process import main; main()"
)


class CompilerProcess:
    """Compiles one job; ends when it has, with this process, or with a `with` statement."""

    def __init__(self):
        self._killed = False
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed at the end)
        command = [sys.executable, "-c", _BOOT, json.dumps(sys.path)]
        # A session of its own, so that Ctrl-C in the terminal reaches this process alone.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )

    def start(self, job: bytes) -> None:
        """Hands out what to do.

        Args:
            job: A pickled `Job`.
        """
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            # The input stays open: its end tells the process that this one is gone.
            self._process.stdin.write(len(job).to_bytes(8, "little") + job)
            self._process.stdin.flush()

    def wait(self) -> bool:
        """Waits for its end.

        Returns:
            Whether the program is in the cache.
        """
        code = self._process.wait()
        if code and not self._killed:
            self._output.seek(0)
            said = self._output.read().decode(errors="replace")
            log.info("The compiler's process ended with code %d:\n%s", code, said)
        return code == 0

    def kill(self) -> None:
        """Ends it, without an answer."""
        self._killed = True
        self._process.kill()

    def __enter__(self) -> "CompilerProcess":
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Ends it if it still compiles."""
        self.kill()
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # It ended before it had read the job.
            self._process.stdin.close()
        self._process.wait()
        self._output.close()


@dataclasses.dataclass(frozen=True)
class Job:
    """What a compiler's process has to know.

    Args:
        agent: As in `Programs`.
        kind: Which of its programs.
        batch: Shape and type of every array of a batch.
        cache: Folder for the program.
        cpu_devices: How many CPU devices JAX has opened.
        training: Which of them train.
        policy: Which of them acts.
    """

    agent: Any
    kind: Kind
    batch: dict[str, tuple[tuple[int, ...], np.dtype]]
    cache: pathlib.Path
    cpu_devices: int
    training: tuple[int, ...]
    policy: int

    @classmethod
    def of(cls, programs: Programs, cache: pathlib.Path, kind: Kind, batch: Batch) -> "Job":
        """The job of compiling a program for batches like this one."""
        devices = jax.devices("cpu")
        return cls(
            programs.agent,
            kind,
            {key: (array.shape, array.dtype) for key, array in batch.items()},
            cache,
            len(devices),
            tuple(devices.index(device) for device in programs.placement.training),
            devices.index(programs.placement.policy),
        )

    def run(self) -> None:
        """Compiles into the cache; for a process that has not used JAX yet."""
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", self.cpu_devices)
        use_cache(self.cache)
        devices = jax.devices()
        placement = Placement(tuple(devices[i] for i in self.training), devices[self.policy])
        batch = {key: jax.ShapeDtypeStruct(*spec) for key, spec in self.batch.items()}
        Programs(self.agent, placement).lower(self.kind, batch).compile()


def main() -> None:
    """The compiler's process: reads a job from its input, and ends with it or when that closes."""
    source = sys.stdin.buffer
    size = int.from_bytes(source.read(8), "little")
    job = cloudpickle.loads(source.read(size))
    threading.Thread(target=_end_with, args=(source.fileno(),), daemon=True).start()
    job.run()


def _end_with(fd: int) -> None:
    """Ends this process when the other end of a pipe is closed, however that happens."""
    os.read(fd, 1)
    os._exit(1)

"""A process that compiles one program into a store."""

import contextlib
import dataclasses
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from typing import Any

import cloudpickle
import jax
import numpy as np

from reverie.learner.devices import Placement
from reverie.learner.fingerprint import name_of, settings
from reverie.learner.programs import Batch, Kind, Programs
from reverie.learner.store import ProgramStore

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
            stdout=subprocess.PIPE,
            stderr=self._output,
            start_new_session=True,
        )

    def run(self, job: bytes) -> str | None:
        """Hands out what to do and waits for its end.

        Args:
            job: From `Job.pack`.

        Returns:
            The name of the program in the store, None where something went wrong.
        """
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            # The input stays open: its end tells the process that this one is gone.
            self._process.stdin.write(len(job).to_bytes(8, "little") + job)
            self._process.stdin.flush()
        name = self._process.stdout.read().decode()
        if code := self._process.wait():
            if not self._killed:
                self._output.seek(0)
                said = self._output.read().decode(errors="replace")
                log.info("The compiler's process ended with code %d:\n%s", code, said)
            return None
        return name

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
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):  # It ended before it had read the job.
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._output.close()


@dataclasses.dataclass(frozen=True)
class Job:
    """What a compiler's process has to know.

    Args:
        agent: As in `Programs`.
        kind: Which of its programs.
        batch: Shape and type of every array of a batch.
        training: Which CPU devices train.
        policy: Which of them acts.
        fast_compile: As in `Programs`.
    """

    agent: Any
    kind: Kind
    batch: dict[str, tuple[tuple[int, ...], np.dtype]]
    training: tuple[int, ...]
    policy: int
    fast_compile: bool

    @classmethod
    def of(cls, programs: Programs, kind: Kind, batch: Batch) -> "Job":
        """The job of compiling a program for batches like this one."""
        devices = jax.devices("cpu")
        return cls(
            programs.agent,
            kind,
            {key: (array.shape, array.dtype) for key, array in sorted(batch.items())},
            tuple(devices.index(device) for device in programs.placement.training),
            devices.index(programs.placement.policy),
            programs.fast_compile,
        )

    def pack(self, store: ProgramStore) -> bytes:
        """What `CompilerProcess.run` takes, to compile into a store."""
        return cloudpickle.dumps((settings(), store.folder, self))

    def run(self, store: ProgramStore) -> str:
        """Compiles the program into the store, if it is not there; returns its name."""
        devices = jax.devices("cpu")
        placement = Placement(tuple(devices[i] for i in self.training), devices[self.policy])
        programs = Programs(self.agent, placement, self.fast_compile)
        batch = {key: jax.ShapeDtypeStruct(*spec) for key, spec in self.batch.items()}
        lowered = programs.lower(self.kind, batch)
        name = name_of(programs, self.kind, lowered)
        if not store.has(name):
            store.save(name, lowered.compile())
        return name


def main() -> None:
    """The compiler's process: reads a job from its input, and ends with it or when that closes."""
    # Nothing but the answer may go where the answer is awaited.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    source = sys.stdin.buffer
    size = int.from_bytes(source.read(8), "little")
    values, folder, job = cloudpickle.loads(source.read(size))
    threading.Thread(target=_end_with, args=(source.fileno(),), daemon=True).start()
    _use(values)
    answer.write(job.run(ProgramStore(folder)))
    answer.close()


def _use(values: dict[str, Any]) -> None:
    """Sets JAX up as where the job comes from, for CPUs alone and without its cache."""
    values = {**values, "jax_platforms": "cpu", "jax_enable_compilation_cache": False}
    for name, value in values.items():
        if jax.config.values[name] != value:
            jax.config.update(name, value)


def _end_with(fd: int) -> None:
    """Ends this process when the other end of a pipe is closed, however that happens."""
    os.read(fd, 1)
    os._exit(1)

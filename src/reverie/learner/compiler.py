"""Compiles the large programs of a learner, on a CPU in a process of its own.

A compiler leaves the heap of its process in pieces, in which the many small buffers of matrix
products make an update take up to twice as long; it also holds a gigabyte and competes with the
environments for Python's lock. So a helper process compiles, and leaves the program in the
compilation cache of JAX, from which this process loads it in a second.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any

import cloudpickle
import jax
import numpy as np

from reverie.learner.allocator import keep_memory, release_memory
from reverie.learner.devices import Placement, use_cache
from reverie.learner.programs import POLICIES, Batch, Kind, Programs

log = logging.getLogger("reverie.learner")

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from reverie.learner.compiler import main; main()"
)


class Compiler:
    """Compiles in the background.

    Args:
        programs: What to compile.
    """

    def __init__(self, programs: Programs):
        self._programs = programs
        # The policy is needed first and need not wait for an update, nor an update for a report.
        self._quick = concurrent.futures.ThreadPoolExecutor(1, "compile-policy")
        self._slow = concurrent.futures.ThreadPoolExecutor(1, "compile")
        self._tracing = threading.Lock()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._closed = False
        # A program without optimizations is compiled before a process has started.
        can = programs.placement.platform == "cpu" and not programs.fast_compile
        self._cache = programs.placement.cache if can else None

    def submit(
        self, kind: Kind, batch: Batch, apart: bool = True
    ) -> concurrent.futures.Future[Any]:
        """Starts to compile for batches of these shapes.

        Args:
            kind: Which program.
            batch: Arrays whose values do not matter.
            apart: Whether a process of its own compiles, where that is possible. It takes some
                seconds longer, which pays where updates follow.

        Returns:
            What will hold the compiled program.
        """
        threads = self._quick if kind in POLICIES.values() else self._slow
        return threads.submit(self._compile, kind, batch, apart)

    def close(self) -> None:
        """Gives up what is being compiled and what waits for it."""
        self._closed = True
        self._quick.shutdown(wait=False, cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)
        for child in list(self._children):
            child.kill()

    def _compile(self, kind: Kind, batch: Batch, apart: bool) -> Any:
        # Tracing is Python: two at once only delay the one that was asked for first.
        with self._tracing:
            lowered = self._programs.lower(kind, batch)
        if self._cache and apart:
            self._compile_apart(self._cache, lowered, kind, batch)
        if self._closed:
            raise concurrent.futures.CancelledError
        compiled = lowered.compile()
        if kind == "train":
            # What compiling or loading used would otherwise add to the peak of the update. Not
            # for other programs, because it undoes what `keep_memory` has arranged.
            release_memory()
            sizes = compiled.memory_analysis()
            keep_memory(sizes.temp_size_in_bytes if sizes else 0)
        return compiled

    def _compile_apart(self, cache: pathlib.Path, lowered: Any, kind: Kind, batch: Batch) -> None:
        """Has the program put into the cache; where that fails it is simply compiled here."""
        flags = os.environ.get("XLA_FLAGS", "")
        digest = hashlib.sha256((flags + lowered.as_text()).encode()).hexdigest()
        done = cache / f"reverie-{digest[:32]}"
        if done.exists():
            return
        try:
            job = cloudpickle.dumps(Job.of(self._programs, cache, kind, batch))
        except Exception as error:  # Pickling runs the user's code, which may raise anything.
            log.info("The agent cannot be sent to the compiler's process: %s", error)
            return
        with tempfile.TemporaryFile() as output:
            code = self._run(job, output)
            if code == 0:
                with contextlib.suppress(OSError):  # Then it is compiled apart again next time.
                    done.touch()
            elif not self._closed:
                output.seek(0)
                log.info(
                    "The compiler's process ended with code %d:\n%s",
                    code,
                    output.read().decode(errors="replace"),
                )

    def _run(self, job: bytes, output: IO[bytes]) -> int:
        command = [sys.executable, "-c", _BOOT, json.dumps(sys.path)]
        # A session of its own, so that Ctrl-C in the terminal reaches this process alone.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        ) as child:
            assert child.stdin
            self._children.add(child)
            if self._closed:
                child.kill()
            with contextlib.suppress(BrokenPipeError):
                # The input stays open: its end tells the process that this one is gone.
                child.stdin.write(len(job).to_bytes(8, "little") + job)
                child.stdin.flush()
            code = child.wait()
            self._children.discard(child)
            return code


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

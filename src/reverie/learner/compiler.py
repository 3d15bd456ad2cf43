"""Compiles the large programs of a learner, on a CPU in a process of its own.

A compiler leaves the heap of its process in pieces, in which the many small buffers of matrix
products make an update take up to twice as long; it also holds a gigabyte and competes with the
environments for Python's lock. So a helper process compiles, and leaves the program in the
compilation cache of JAX, from which this process loads it in a second.
"""

import concurrent.futures
import contextlib
import hashlib
import logging
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import cloudpickle
import jax

from reverie.learner.allocator import keep_memory, release_memory
from reverie.learner.compiler_process import CompilerProcess, Job
from reverie.learner.programs import POLICIES, Batch, Kind, Programs

log = logging.getLogger("reverie.learner")


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
        self._processes: set[CompilerProcess] = set()
        self._closed = False
        # A program without optimizations is compiled before a process has started.
        can = programs.placement.platform == "cpu" and not programs.fast_compile
        self._cache = programs.placement.cache if can else None

    def init(self, key: jax.Array) -> Any:
        """The program that makes the initial state from a random key, compiled now."""
        with self._tracing:
            lowered = self._programs.init.lower(key)
        return lowered.compile()

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
        for process in list(self._processes):
            process.kill()

    def _compile(self, kind: Kind, batch: Batch, apart: bool) -> Any:
        if self._cache and apart:
            lowered = self._lower_and_cache(self._cache, kind, batch)
        else:
            lowered = self._lower(kind, batch)
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

    def _lower(self, kind: Kind, batch: Batch) -> Any:
        # Tracing is Python: two at once only delay the one that was asked for first.
        with self._tracing:
            return self._programs.lower(kind, batch)

    def _lower_and_cache(self, cache: pathlib.Path, kind: Kind, batch: Batch) -> Any:
        """Traces the program, and has it put into the cache where it is not there yet.

        Only the traced program says for certain whether it is there. That one of the same shapes is
        says that it is likely; where none is, the other process starts without waiting.
        """
        try:
            job = Job.of(self._programs, cache, kind, batch)
            pickled = cloudpickle.dumps(job)
        except Exception as error:  # Pickling runs the user's code, which may raise anything.
            log.info("The agent cannot be sent to the compiler's process: %s", error)
            return self._lower(kind, batch)
        likely = _marker(cache, _shapes(job, self._programs))
        with contextlib.ExitStack() as stack:
            process = None if likely.exists() else stack.enter_context(self._apart(pickled))
            lowered = self._lower(kind, batch)
            certain = _marker(cache, lowered.as_text())
            if not certain.exists():
                process = process or stack.enter_context(self._apart(pickled))
                if not process.wait():
                    return lowered  # It is simply compiled here.
            with contextlib.suppress(OSError):  # Then it is compiled apart again next time.
                certain.touch()
                likely.touch()
        return lowered

    @contextlib.contextmanager
    def _apart(self, job: bytes) -> Iterator[CompilerProcess]:
        """A process that compiles, killed in the end if it still does."""
        with CompilerProcess() as process:
            self._processes.add(process)
            if self._closed:
                process.kill()
            try:
                process.start(job)
                yield process
            finally:
                self._processes.discard(process)


def _shapes(job: Job, programs: Programs) -> str:
    """What two programs have in common that are most likely the same."""
    state = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(programs.example)]
    return repr((job.kind, job.batch, job.training, job.policy, state))


def _marker(cache: pathlib.Path, content: str) -> pathlib.Path:
    """The empty file that says that a program is in the cache."""
    flags = os.environ.get("XLA_FLAGS", "")
    return cache / f"reverie-{hashlib.sha256((flags + content).encode()).hexdigest()[:32]}"

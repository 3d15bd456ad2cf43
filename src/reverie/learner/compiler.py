"""Compiles the large programs of a learner, on a CPU in a process of its own.

A compiler leaves the heap of its process in pieces, in which the many small buffers of matrix
products make an update take up to twice as long; it also holds a gigabyte and competes with the
environments for Python's lock. So a helper process traces and compiles, and leaves the program in a
store, from which this process and later ones load it in a second.
"""

import concurrent.futures
import functools
import logging
import threading
from typing import Any

import jax

from reverie.learner.allocator import keep_memory, release_memory
from reverie.learner.compiler_process import CompilerProcess, Job
from reverie.learner.fingerprint import fingerprint, name_of
from reverie.learner.programs import LARGE, POLICIES, Batch, Kind, Programs
from reverie.learner.store import ProgramStore

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
        cache = programs.placement.cache if programs.placement.platform == "cpu" else None
        self._store = ProgramStore(cache) if cache else None

    def submit(
        self, kind: Kind, batch: Batch, apart: bool = True
    ) -> concurrent.futures.Future[Any]:
        """Starts to compile for batches of these shapes.

        Args:
            kind: Which program.
            batch: Arrays whose values do not matter.
            apart: Whether a process of its own compiles what is large, where that is possible. It
                takes some seconds longer, which pays where updates follow.

        Returns:
            What will hold the compiled program.
        """
        threads = self._quick if kind in POLICIES.values() else self._slow
        return threads.submit(self.compile, kind, batch, apart)

    def close(self) -> None:
        """Gives up what is being compiled and what waits for it."""
        self._closed = True
        self._quick.shutdown(wait=False, cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)
        for process in list(self._processes):
            process.kill()

    def compile(self, kind: Kind, batch: Batch, apart: bool = False) -> Any:
        """As `submit`, but in this thread; returns the program."""
        compiled = self._compile(kind, batch, apart)
        if kind == "train":
            # What compiling or loading used would otherwise add to the peak of the update. Not
            # for other programs, because it undoes what `keep_memory` has arranged.
            release_memory()
            sizes = compiled.memory_analysis()
            keep_memory(sizes.temp_size_in_bytes if sizes else 0)
        return compiled

    def _compile(self, kind: Kind, batch: Batch, apart: bool) -> Any:
        store = self._store
        if store is None:
            return self._compile_here(self._lower(kind, batch))
        job = Job.of(self._programs, kind, batch)
        inputs, devices = self._programs.inputs(kind, batch), self._programs.devices(kind)
        load = functools.partial(store.load, inputs=inputs, devices=devices)
        known = fingerprint((job, jax.tree.structure(self._programs.example)))
        program = load(store.find(known))
        if program is not None:
            return program
        # A program without optimizations is compiled before a process has started.
        apart = apart and kind in LARGE and not self._programs.fast_compile and store.writable
        name = None
        if apart and known:
            name = self._compile_apart(job, store)
            program = load(name)
        if name is None or program is None:
            # Where code of somebody else takes part, what counts is what this process has of it.
            lowered = self._lower(kind, batch)
            name = name_of(self._programs, kind, lowered)
            program = load(name)
            if program is None and apart and not known:
                self._compile_apart(job, store)
                program = load(name)
            if program is None:
                program = self._compile_and_keep(lowered, store, name)
        store.link(known, name)
        return program

    def _lower(self, kind: Kind, batch: Batch) -> jax.stages.Lowered:
        self._check_open()
        # Tracing is Python: two at once only delay the one that was asked for first.
        with self._tracing:
            return self._programs.lower(kind, batch)

    def _compile_here(self, lowered: jax.stages.Lowered) -> Any:
        self._check_open()
        return lowered.compile()

    def _compile_and_keep(self, lowered: jax.stages.Lowered, store: ProgramStore, name: str) -> Any:
        program = self._compile_here(lowered)
        try:
            store.save(name, program)
        except Exception as error:  # A full disk; a program that this version of JAX cannot write.
            log.info("A compiled program cannot be kept: %s", error)
        return program

    def _check_open(self) -> None:
        if self._closed:
            raise concurrent.futures.CancelledError

    def _compile_apart(self, job: Job, store: ProgramStore) -> str | None:
        """Has a program put into the store; returns its name, or None if that fails."""
        try:
            packed = job.pack(store)
        except Exception as error:  # Pickling runs the user's code, which may raise anything.
            log.info("The agent cannot be sent to the compiler's process: %s", error)
            return None
        with CompilerProcess() as process:
            self._processes.add(process)
            if self._closed:
                process.kill()
            try:
                return process.run(packed)
            finally:
                self._processes.discard(process)

"""Compiles programs in threads, in the order in which a run needs them."""

import atexit
import concurrent.futures
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import jax

from reverie.learner.compilation.cache import forget_damaged
from reverie.learner.compilation.programs import Batch, Program

log = logging.getLogger("reverie.learner")

_THREAD = "reverie-compile"
_ending = threading.Event()


class Compiler:
    """Makes each program once for all batches of the same shapes, ahead of time if asked.

    Always in a thread, even where nothing else can be done meanwhile: a signal would have to wait
    for the end of a compilation in the main one.
    """

    def __init__(self):
        self._compiled: dict[Any, concurrent.futures.Future[Any]] = {}
        self._last: concurrent.futures.Future[Any] | None = None
        self._closed = False

    def prepare(self, program: Program, batch: Batch) -> None:
        """Starts to compile for batches of these shapes, after all that was prepared before."""
        if _key(program, batch) not in self._compiled:
            self._last = self._start(program, batch, self._last)

    def ready(self, program: Program, batch: Batch) -> bool:
        """Whether `get` would not wait; starts to compile what was not prepared."""
        self.prepare(program, batch)
        return self._compiled[_key(program, batch)].done()

    def get(self, program: Program, batch: Batch) -> Any:
        """The program for a batch, waited for; compiled now where it was not prepared.

        Raises:
            CancelledError: After `close`.
            Exception: Whatever the compilation has raised.
        """
        return (self._compiled.get(_key(program, batch)) or self._start(program, batch)).result()

    def compile(self, program: Program, batch: Batch) -> Any:
        """As `get`, but in this thread."""
        if self._closed or _ending.is_set():
            raise concurrent.futures.CancelledError
        lowered = program.lower(batch)
        try:
            return lowered.compile()
        except UserWarning as warning:  # See `cache.configure_cache`.
            forget_damaged(str(warning))
            return lowered.compile()

    def memory_needs(self) -> dict[str, int]:
        """Bytes on a device of each program that is there, by name, as far as they are known."""
        needs = {}
        for (program, _), future in list(self._compiled.items()):
            compiled = future.result() if future.done() and not future.exception() else None
            if x := compiled and compiled.memory_analysis():
                arrays = x.argument_size_in_bytes + x.output_size_in_bytes - x.alias_size_in_bytes
                needs[program.name] = arrays + x.temp_size_in_bytes
        return needs

    def close(self) -> None:
        """Gives up what waits to be compiled."""
        self._closed = True

    def _start(
        self, program: Program, batch: Batch, after: concurrent.futures.Future[Any] | None = None
    ) -> concurrent.futures.Future[Any]:
        shapes = {key: jax.ShapeDtypeStruct(x.shape, x.dtype) for key, x in batch.items()}
        future = background(lambda: self.compile(program, shapes), after)
        self._compiled[_key(program, batch)] = future
        return future


def background(
    work: Callable[[], Any], after: concurrent.futures.Future[Any] | None = None
) -> concurrent.futures.Future[Any]:
    """Does something that may compile in a thread of its own, which first waits for `after`."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def run() -> None:
        if after is not None:
            concurrent.futures.wait([after])
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    # No executor: Python waits for the end of its threads before it ends.
    threading.Thread(target=run, name=_THREAD, daemon=True).start()
    return future


def leave(code: int) -> None:
    """Ends this process with an exit code, at once, if a program is still being compiled.

    An ordinary end would crash then: XLA cannot be interrupted, and its thread comes back to an
    interpreter that is gone.
    """
    if _busy():
        exit_now(code)


def exit_now(code: int) -> None:
    """Ends this process at once, with all that it has printed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # Closed, or its reader is gone.
            stream.flush()
    os._exit(code)


@atexit.register
def _finish() -> None:
    """As `leave`, where Python ends because of an error; else the exit code is not known here."""
    _ending.set()
    error = getattr(sys, "last_value", None)
    if error is not None:
        leave(130 if isinstance(error, KeyboardInterrupt) else 1)
    for thread in _busy():
        thread.join()


def _busy() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == _THREAD]


def _key(program: Program, batch: Batch) -> Any:
    return program, frozenset((key, array.shape, array.dtype) for key, array in batch.items())

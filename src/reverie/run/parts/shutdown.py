"""Ctrl-C, SIGTERM and SIGHUP as a request to save and leave, instead of an exception anywhere."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from reverie.track.sinks.terminal import say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

AGAIN_SECONDS = 0.1
"""Two Ctrl-C within this time are one: terminals and wrappers may both pass it on."""


class Stopped(KeyboardInterrupt):
    """A signal has ended a wait."""


class Shutdown:
    """While entered, the first signal sets `requested`, and a second Ctrl-C ends the process.

    Where the run only waits, in `interruptible`, the first signal also ends the wait. Elsewhere it
    never interferes, so that what the run holds is whole when it is saved.

    Only the main thread of a process can handle signals: elsewhere this does nothing. A SIGHUP
    that is ignored, as under `nohup`, stays ignored.

    Args:
        then: What happens after the first signal, for the message.

    Attributes:
        requested: The signal that arrived, or None.
        late: Tells when the time of the run is up; never, at first.
        message: What the signal asked for, in words; empty before.
        shown: Tells whether something else shows the message, on which printing would not stay.
    """

    def __init__(self, then: str = "saving and stopping. Ctrl-C stops without a save."):
        self._then = then
        self.requested: signal.Signals | None = None
        self.late: Callable[[], bool] = lambda: False
        self.message = ""
        self.shown: Callable[[], bool] = lambda: False
        self._previous: dict[signal.Signals, Any] = {}
        self._interruptible = False
        self._again: threading.Timer | None = None
        self._time = 0.0

    @property
    def over(self) -> bool:
        """Whether the run is to end, because of a signal or because its time is up."""
        return self.requested is not None or self.late()

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """For waits that change nothing of the run; takes the signals back first.

        Raises:
            Stopped: When a signal arrives meanwhile, or has arrived before.
        """
        self.install()
        try:
            self._interruptible = True
            if self.requested is not None:
                raise Stopped
            yield
        finally:
            self._interruptible = False

    def install(self) -> None:
        """Takes the signals, also from what has replaced the handlers without Python's help."""
        for number in self._previous:
            signal.signal(number, self._handle)

    def __enter__(self) -> "Shutdown":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if number != signal.SIGHUP or handler != signal.SIG_IGN:
                    self._previous[number] = handler
            self.install()
            self._unraisable, sys.unraisablehook = sys.unraisablehook, self._ignored
        return self

    def __exit__(self, *_: object) -> None:
        if self._again:
            self._again.join()
        for number, handler in self._previous.items():
            # None stands for a handler that is not Python's, which cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self._previous:
            sys.unraisablehook = self._unraisable
        self.late = self.shown = lambda: False  # Without the run, which may be over before this.

    def _ignored(self, what: "sys.UnraisableHookArgs") -> None:
        """Ends a wait again where Python ignored the end: in `__del__` or the garbage collector."""
        if isinstance(what.exc_value, Stopped):
            self._interruptible = True
            # From another thread, as it would be ignored here too. SIGTERM never counts as a
            # second Ctrl-C.
            self._again = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM))
            self._again.start()
        else:
            self._unraisable(what)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested is None:
            self.requested, self._time = signal.Signals(number), now
            self.message = f"{self.requested.name}: {self._then}"
            if not self.shown():
                say(self.message)
        elif number == signal.SIGINT and now - self._time > AGAIN_SECONDS:
            if hasattr(sys, "ps1"):
                raise KeyboardInterrupt  # A notebook goes on, and so does its interpreter.
            # Nothing else would end waiting for a save, a compiler or a device.
            leave(number, "Stopped without a save: what was saved before is still there.")
        if self._interruptible:
            self._interruptible = False
            raise Stopped


def leave(number: int, text: str) -> None:
    """Ends the process at once, as after a signal."""
    say(text)
    os._exit(128 + number)

"""Ctrl-C and SIGTERM as a request to save and leave, instead of an exception anywhere."""

import signal
import threading
from types import FrameType
from typing import Any


class Shutdown:
    """While entered, the first SIGINT or SIGTERM sets `requested`; a second one interrupts.

    Only the main thread of a process can handle signals: elsewhere this does nothing.

    Attributes:
        requested: The signal that arrived, or None.
    """

    def __init__(self):
        self.requested: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Shutdown":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number)

"""Draws pictures beside the run."""

import queue
import threading
import time
from collections.abc import Callable


class Drawing:
    """Draws in a thread of its own, one thing after the other.

    One waits at most; what comes while one is waiting is left out, because the pictures after it
    are newer. An error is told once, and drawing goes on.

    Args:
        note: Receives a message about the first error.
    """

    def __init__(self, note: Callable[[str], None]):
        self._note = note
        self._jobs: queue.Queue[Callable[[], object]] = queue.Queue(maxsize=1)
        self._seconds = 0.0
        self._error: Exception | None = None
        self._told = False
        # A picture never keeps the process from its end.
        threading.Thread(target=self._work, name="drawing", daemon=True).start()

    def __call__(self, draw: Callable[[], object]) -> None:
        """Hands over something to draw; returns at once."""
        try:
            self._jobs.put_nowait(draw)
        except queue.Full:
            return

    @property
    def busy(self) -> bool:
        """Whether something is being drawn."""
        return self._jobs.unfinished_tasks > 0

    def check(self) -> float:
        """Tells the first error; returns the seconds of drawing since the last call."""
        if self._error is not None and not self._told:
            self._told = True
            self._note(
                f"A picture could not be drawn, and training goes on without it: "
                f"{type(self._error).__name__}: {self._error}"
            )
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def wait(self) -> None:
        """Returns when everything is drawn."""
        self._jobs.join()
        self.check()

    def _work(self) -> None:
        while True:
            draw = self._jobs.get()
            start = time.monotonic()
            try:
                draw()
            except Exception as error:
                self._error = error
            self._seconds += time.monotonic() - start
            self._jobs.task_done()

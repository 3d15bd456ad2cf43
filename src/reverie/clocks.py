"""When it is time for something, and how long something takes."""

import time
from collections.abc import Callable


class Every:
    """Does something once per interval.

    An interval begins when the clock is made, and anew when what it started has ended. So what
    takes longer than its interval leaves as much time to everything else.

    Example:
        >>> reverie.train(MyEnv, callbacks=[reverie.Every(60, lambda run: print(run.steps))])

    Args:
        seconds: Length of the interval; 0 means at every call, a negative number never.
        action: What to do with what it is called with. If it returns False it was not ready, and
            is called again the next time.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        seconds: float,
        action: Callable[..., object],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._seconds = seconds
        self._action = action
        self._clock = clock
        self.restart()

    def __call__(self, *args: object) -> bool:
        """Does it if the interval has passed; returns whether it was done."""
        if self._seconds < 0 or self._clock() < self._due:
            return False
        if self._action(*args) is False:
            return False
        self.restart()
        return True

    def restart(self) -> None:
        """Begins a new interval."""
        self._due = self._clock() + self._seconds


class Stopwatch:
    """Adds up the seconds that pass inside of it."""

    def __init__(self):
        self._before = 0.0
        self._start: float | None = None

    @property
    def seconds(self) -> float:
        """All of them so far."""
        return self._before + (0.0 if self._start is None else time.perf_counter() - self._start)

    def __enter__(self) -> "Stopwatch":
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._before, self._start = self.seconds, None

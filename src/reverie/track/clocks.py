"""Clocks: when to do something, and how fast things go."""

import time
from collections.abc import Callable, Sequence


class Every:
    """Does something once per interval.

    An interval begins when the clock is made, and anew when what it started has ended. So what
    takes longer than its interval leaves as much time to everything else.

    Args:
        seconds: Length of the interval; 0 means at every call, a negative number never.
        action: What to do. If it returns False it was not ready, and is called again the next time.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        seconds: float,
        action: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._seconds = seconds
        self._action = action
        self._clock = clock
        self.restart()

    def __call__(self) -> bool:
        """Does it if the interval has passed; returns whether it was done."""
        if self._seconds < 0 or self._clock() < self._due:
            return False
        if self._action() is False:
            return False
        self.restart()
        return True

    def restart(self) -> None:
        """Begins a new interval."""
        self._due = self._clock() + self._seconds


class SideWork:
    """Does several things, each once per interval, within a share of the wall clock.

    After some of them took a while, all of them wait until that while is no more than the share
    of the time that has passed since they began.

    Args:
        share: Most of the time that they may take together, above 0; 1 is no limit.
        jobs: What to do.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, share: float, jobs: Sequence[Every], clock: Callable[[], float] = time.monotonic
    ):
        self._rest = 1 / share - 1
        self._jobs = jobs
        self._clock = clock
        self._free = clock()

    def __call__(self) -> tuple[float, float]:
        """Does what is due, unless the share is used up.

        Returns:
            Seconds that this took, and seconds until the next time at the earliest. Both are 0 if
            nothing was done.
        """
        start = self._clock()
        # All that is due in a row, so that none of them can keep the others from their turn.
        if start < self._free or not sum([job() for job in self._jobs]):
            return 0.0, 0.0
        seconds = self._clock() - start
        self._free = self._clock() + seconds * self._rest
        return seconds, seconds * self._rest

    def count(self, seconds: float) -> None:
        """Counts what was done elsewhere, such as pictures drawn by another thread."""
        self._free = max(self._free, self._clock()) + seconds * self._rest


class Rates:
    """Measures how fast a run acts and learns.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._restart()

    def _restart(self) -> None:
        self._start = self._clock()
        self._policy = self._train = self._updates = 0

    def count(self, *, policy: int = 0, train: int = 0, updates: int = 0) -> None:
        """Counts work that was done.

        Args:
            policy: Environment steps, summed over environments.
            train: Replayed steps that were trained on: batch size times batch length per update.
            updates: Gradient steps.
        """
        self._policy += policy
        self._train += train
        self._updates += updates

    def result(self) -> dict[str, float]:
        """Returns the rates since the last call, and starts over.

        Returns:
            `fps/policy` (environment steps per second), `fps/train` (replayed steps per second)
            and, if the environment was stepped, `train/update_ratio` (gradient steps per
            environment step).
        """
        # Two calls within one tick of the clock must not divide by zero.
        seconds = max(self._clock() - self._start, 1e-6)
        rates = {"fps/policy": self._policy / seconds, "fps/train": self._train / seconds}
        if self._policy:
            rates["train/update_ratio"] = self._updates / self._policy
        self._restart()
        return rates

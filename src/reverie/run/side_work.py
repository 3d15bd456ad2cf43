"""Work that may take only a share of the time."""

import time
from collections.abc import Callable, Sequence

from reverie.clocks import Every


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

    def __call__(self, *args: object) -> tuple[float, float]:
        """Does what is due with the arguments, unless the share is used up.

        Returns:
            Seconds that this took, and seconds until the next time at the earliest. Both are 0 if
            nothing was done.
        """
        start = self._clock()
        # All that is due in a row, so that none of them can keep the others from their turn.
        if start < self._free or not sum([job(*args) for job in self._jobs]):
            return 0.0, 0.0
        seconds = self._clock() - start
        self._free = self._clock() + seconds * self._rest
        return seconds, seconds * self._rest

    def count(self, seconds: float) -> None:
        """Counts what was done elsewhere, such as pictures drawn by another thread."""
        self._free = max(self._free, self._clock()) + seconds * self._rest

"""When an environment that failed is started again.

A failure leaves nothing invented behind: the step that was lost is replaced by the first one of a
new episode. The observation before it is then known to be the last of its episode, which ends there
without being terminal; replay marks it so, as it does with every episode that is abandoned.
"""

import collections
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from reverie.envs.errors import Cancelled
from reverie.envs.vector.seeds import env_seed
from reverie.errors import is_own

if TYPE_CHECKING:
    from reverie.config.schema import RunConfig

RESTARTED = "restarted"
"""Key of the infos of a vector: which environments began an episode because the last one broke."""

LONGEST_WAIT = 30.0
TICK = 0.2
"""Seconds between two looks at whether a wait was cancelled."""

log = logging.getLogger("reverie.envs")


class Restarts:
    """Counts failures, decides about restarts and waits before them.

    The first restart of an environment is immediate. Each further one inside the window waits
    twice as long as the one before: 1, 2, 4, ... up to 30 seconds.

    Args:
        limit: Most restarts inside the window, of all environments together. 0: none.
        window: Seconds.
        cancelled: Whether waiting is in vain, because the run is to end.
        name: What is restarted; `{}` becomes the number.
        tell: Receives the messages; by default they are logged.

    Attributes:
        total: Restarts so far.
    """

    def __init__(
        self,
        limit: int = 0,
        window: float = 3600.0,
        cancelled: Callable[[], bool] = lambda: False,
        name: str = "Environment {}",
        tell: Callable[[str], object] | None = None,
    ):
        self.total = 0
        self.cancelled = cancelled
        self._name = name
        self._tell = tell
        self._limit = limit
        self._window = window
        self._counts: collections.Counter[int] = collections.Counter()
        self._recent: collections.deque[tuple[float, int]] = collections.deque()

    @classmethod
    def of(cls, run: "RunConfig", **options: Any) -> "Restarts":
        """As many as a run allows."""
        return cls(run.env_max_restarts, run.env_restart_window, **options)

    def wait(self, failures: Mapping[int, Exception]) -> None:
        """Returns when the environments that failed may be started again.

        Raises:
            Exception: The failure that is one too many.
            Cancelled: If the run is to end.
        """
        self._check()
        # No generator: a StopIteration, such as that of `next`, would leave one as another error.
        delay = max([self.allow(index, error) for index, error in failures.items()])
        end = time.monotonic() + delay
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, TICK))
            self._check()

    def seed(self, index: int, own: int | None) -> int | None:
        """Seed of the episode after the newest restart of an environment, from its first one."""
        return None if own is None else env_seed(own, self._counts[index])

    def _check(self) -> None:
        if self.cancelled():
            raise Cancelled("No environment is restarted, because the run is to end.")

    def allow(self, index: int, error: Exception) -> float:
        """Counts a restart and returns the seconds to wait for it, or raises the error."""
        now = time.monotonic()
        while self._recent and self._recent[0][0] <= now - self._window:
            self._recent.popleft()
        reason = _first_line(error)
        if len(self._recent) >= self._limit:
            if self._limit:
                (self._tell or log.error)(
                    f"{reason} That is one failure more than the {self._limit} in "
                    f"{self._window:g} seconds which run.env_max_restarts and "
                    "run.env_restart_window allow."
                )
            raise error
        before = sum(number == index for _, number in self._recent)
        delay = min(2.0 ** (before - 1), LONGEST_WAIT) if before else 0.0
        self._recent.append((now, index))
        self._counts[index] += 1
        self.total += 1
        name, later = self._name.format(index), f" in {delay:g} seconds" if delay else ""
        (self._tell or log.warning)(
            f"{reason} {name} is restarted{later}, number {len(self._recent)} of at most "
            f"{self._limit} restarts in {self._window:g} seconds."
        )
        if trace := getattr(error, "trace", ""):
            log.info("%s", trace)
        return delay


def _first_line(error: Exception) -> str:
    """What happened, as one sentence."""
    line = (str(error).splitlines() or [""])[0].strip()
    if not is_own(error):
        line = f"{type(error).__name__}: {line}".removesuffix(": ")
    return line if line.endswith((".", "!", "?")) else f"{line}."

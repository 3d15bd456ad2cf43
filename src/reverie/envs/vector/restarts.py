"""When an environment that failed is started again, and how that is done in this process.

A failure leaves nothing invented behind: the step that was lost is replaced by the first one of a
new episode. The observation before it is then known to be the last of its episode, which ends there
without being terminal; replay marks it so, as it does with every episode that is abandoned.
"""

import collections
import contextlib
import logging
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium

from reverie.config.errors import Note, own_notes
from reverie.envs.errors import Cancelled, OptionError, SpaceError, raised
from reverie.envs.flat.conform import require_same
from reverie.envs.flat.logs import OnlyLogs
from reverie.envs.vector.seeds import env_seed
from reverie.envs.wrappers import wrap

RESTARTED = "restarted"
"""Key of the infos of a vector: which environments began an episode because the last one broke."""

LONGEST_WAIT = 30.0
TICK = 0.2
"""Seconds between two looks at whether a wait was cancelled."""

_IN_USE: "weakref.WeakValueDictionary[int, gymnasium.Env]" = weakref.WeakValueDictionary()
"""The environments that are open in this process, by identity."""

log = logging.getLogger("reverie.envs")


class Restarts:
    """Counts failures, decides about restarts and waits before them.

    The first restart of an environment is immediate. Each further one inside the window waits
    twice as long as the one before: 1, 2, 4, ... up to 30 seconds.

    Args:
        limit: Most restarts inside the window, of all environments together. 0: none.
        window: Seconds.
        cancelled: Whether waiting is in vain, because the run is to end.

    Attributes:
        total: Restarts so far.
    """

    def __init__(
        self,
        limit: int = 0,
        window: float = 3600.0,
        cancelled: Callable[[], bool] = lambda: False,
    ):
        self.total = 0
        self.cancelled = cancelled
        self._limit = limit
        self._window = window
        self._counts: collections.Counter[int] = collections.Counter()
        self._recent: collections.deque[tuple[float, int]] = collections.deque()

    def wait(self, failures: Mapping[int, Exception]) -> None:
        """Returns when the environments that failed may be started again.

        Args:
            failures: Number of the environment -> what happened.

        Raises:
            Exception: The failure that is one too many.
            Cancelled: If the run is to end.
        """
        self._check()
        delay = max(self._allow(index, error) for index, error in failures.items())
        end = time.monotonic() + delay
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, TICK))
            self._check()

    def seed(self, index: int, own: int | None) -> int | None:
        """Seed of the first episode after the latest restart of an environment.

        Args:
            index: Number of the environment.
            own: Its seed at the beginning; None leaves the seed to the environment.
        """
        return None if own is None else env_seed(own, self._counts[index])

    def _check(self) -> None:
        if self.cancelled():
            raise Cancelled("No environment is restarted, because the run is to end.")

    def _allow(self, index: int, error: Exception) -> float:
        """Counts a restart and returns the seconds to wait for it, or raises the error."""
        now = time.monotonic()
        while self._recent and self._recent[0][0] <= now - self._window:
            self._recent.popleft()
        reason = _first_line(error)
        if len(self._recent) >= self._limit:
            if self._limit:
                log.error(
                    "%s That is one failure more than the %d in %g seconds which "
                    "run.env_max_restarts and run.env_restart_window allow.",
                    reason,
                    self._limit,
                    self._window,
                )
            raise error
        before = sum(number == index for _, number in self._recent)
        delay = min(2.0 ** (before - 1), LONGEST_WAIT) if before else 0.0
        self._recent.append((now, index))
        self._counts[index] += 1
        self.total += 1
        log.warning(
            "%s Environment %d is restarted%s, number %d of at most %d restarts in %g seconds.",
            reason,
            index,
            f" in {delay:g} seconds" if delay else "",
            len(self._recent),
            self._limit,
            self._window,
        )
        if trace := getattr(error, "trace", ""):
            log.info("%s", trace)
        return delay


class Restarting(gymnasium.Wrapper):
    """An environment in this process that is built anew when it raises.

    Only exceptions can be caught here: a crash in native code ends this process, and a step that
    hangs is waited for. The infos of the first step after a restart have the key `restarted`.

    Args:
        index: Number of the environment.
        factory: Makes it; `wrappers.wrap` is applied where it was not.
        restarts: Decides about restarts.
        seed: Seed of its first reset, from which those after restarts derive.
    """

    def __init__(
        self,
        index: int,
        factory: Callable[[], gymnasium.Env],
        restarts: Restarts,
        seed: int | None,
    ):
        try:
            super().__init__(_built(index, factory))
        except Exception as error:
            _noted(index, error, 0)
            raise
        self._index = index
        self._factory = factory
        self._restarts = restarts
        self._seed = seed
        self._started = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; an environment that fails at the very first one is not retried."""
        try:
            result = self.env.reset(seed=seed, options=options)
        except Exception as error:
            if not self._started:
                _noted(self._index, error, self._steps)
                raise
            return self._restart(error)
        self._started = True
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step, or the first one of a new episode if the environment raised."""
        try:
            return self.env.step(action)
        except Exception as error:
            obs, info = self._restart(error)
            return obs, 0.0, False, False, info

    def close(self) -> None:
        """Closes the environment, which may then be used again."""
        _IN_USE.pop(id(self.unwrapped), None)
        self.env.close()

    @property
    def _steps(self) -> int:
        return self.env.steps if isinstance(self.env, OnlyLogs) else 0

    def _restart(self, error: Exception) -> tuple[Any, dict[str, Any]]:
        expected = self.observation_space, self.action_space
        while True:
            self._restarts.wait({self._index: _noted(self._index, error, self._steps)})
            with contextlib.suppress(Exception):
                self.close()
            try:
                self.env = _built(self._index, self._factory)
                spaces = self.env.observation_space, self.env.action_space
                require_same(self._index, spaces, expected)
                obs, info = self.env.reset(seed=self._restarts.seed(self._index, self._seed))
                return obs, {**info, RESTARTED: True}
            except SpaceError:
                raise
            except Exception as another:
                error = another


def _noted(index: int, error: Exception, steps: int) -> Exception:
    """The error with a note that says where it comes from; ours explain themselves."""
    if not type(error).__module__.startswith("reverie.") and not own_notes(error):
        error.add_note(Note(f"Environment {index} raised {raised(error, steps)}"))
    return error


def _built(index: int, factory: Callable[[], gymnasium.Env]) -> gymnasium.Env:
    """A new environment; one that is stepped already would mix up two episodes."""
    env = wrap(factory())
    if id(env.unwrapped) in _IN_USE:
        raise OptionError(
            f"Environment {index} is the same object as one that is in use: the function that "
            "makes environments has returned it again. Make a new one in every call, or pass the "
            "environment itself, so that it is known to be the only one."
        )
    _IN_USE[id(env.unwrapped)] = env.unwrapped
    return OnlyLogs(env)


def _first_line(error: Exception) -> str:
    """What happened, as one sentence."""
    line = (str(error).splitlines() or [""])[0].strip()
    if not hasattr(error, "reason"):
        line = f"{type(error).__name__}: {line}".removesuffix(": ")
    return line if line.endswith((".", "!", "?")) else f"{line}."

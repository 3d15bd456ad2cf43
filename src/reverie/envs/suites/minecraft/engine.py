"""Keeps a game going that lives in a process of its own and sometimes breaks."""

import contextlib
import fcntl
import logging
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reverie.machine import cores

log = logging.getLogger("reverie.envs")

ATTEMPTS = 3
"""Failures in a row after which the game counts as broken."""

FORGIVEN = 1000
"""Steps without a failure after which those before are forgotten."""

WAIT = 10.0
"""Seconds before a game is launched again."""


class EngineError(RuntimeError):
    """The game failed time and again."""


class Engine:
    """A game that is launched by the first reset, and again after it failed.

    Args:
        build: Builds a game with MineRL's interface: `seed`, `reset`, `step`, `close`.
        name: What to call it in messages.
    """

    def __init__(self, build: Callable[[], Any], name: str):
        self._build = build
        self._name = name
        self.game = build()
        self._launched = False
        self._failures = 0
        self._steps = 0

    def reset(self, seed: int) -> Mapping[str, Any]:
        """Starts an episode in the world of a seed; returns the first observation.

        Raises:
            EngineError: It failed `ATTEMPTS` times.
        """
        while True:
            turn = contextlib.nullcontext() if self._launched else launch_turn()
            try:
                with turn:
                    self.game.seed(seed, seed_spaces=False)
                    observation = self.game.reset()
            except Exception as error:
                self._restart("reset", error)
                time.sleep(WAIT)
            else:
                self._launched = True
                return observation

    def step(self, action: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool] | None:
        """One step of the game.

        Returns:
            The observation and whether the game is over, or None if the game failed; then it has
            to be reset.

        Raises:
            EngineError: It failed `ATTEMPTS` times with no `FORGIVEN` steps between.
        """
        try:
            observation, _, done, info = self.game.step(action)
            if "error" in info:
                # The observation is a random one then.
                raise ConnectionError(info["error"])
        except Exception as error:
            self._restart("step", error)
            return None
        self._steps += 1
        if self._steps == FORGIVEN:
            self._failures = 0
        return observation, bool(done)

    def close(self) -> None:
        """Ends the game's process."""
        self.game.close()

    def _restart(self, doing: str, error: Exception) -> None:
        """Replaces the game by one that is not launched yet, or gives up."""
        self._failures += 1
        self._steps = 0
        self._launched = False
        with contextlib.suppress(Exception):
            self.game.close()
        if self._failures >= ATTEMPTS:
            raise EngineError(
                f"{self._name}: the game failed {self._failures} times in a row, in {doing}() at "
                f"last: {type(error).__name__}: {error}. MINERL_DEBUG_LOG=1 in the environment "
                "shows what it says; it needs Java 8 and a display (xvfb-run)."
            ) from error
        log.warning(
            "%s: the game failed in %s() and is launched again: %s: %s",
            *(self._name, doing, type(error).__name__, error),
        )
        self.game = self._build()


@contextlib.contextmanager
def launch_turn() -> Iterator[None]:
    """Waits until fewer games are being launched on this machine than it has cores for.

    A launch keeps two cores busy for a minute; many at once exceed the time limits of MineRL. The
    operating system gives a turn back whatever becomes of the process that has it.
    """
    turns = max(1, cores() // 2)
    folder = pathlib.Path(tempfile.gettempdir())
    names = [folder / f"reverie-minecraft-{os.getuid()}-{turn}.lock" for turn in range(turns)]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(name.open("a")) for name in names]
        while not any(_taken(file.fileno()) for file in files):
            time.sleep(0.2)
        yield


def _taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

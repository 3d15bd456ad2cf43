"""How fast things go."""

import time
from collections.abc import Callable


class Rates:
    """Measures how fast a run acts and learns."""

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
            `fps/policy` (environment steps per second), `fps/train` (replayed steps per second),
            `fps/update` (updates per second) and, if the environment was stepped,
            `train/update_ratio` (gradient steps per environment step).
        """
        # Two calls within one tick of the clock must not divide by zero.
        seconds = max(self._clock() - self._start, 1e-6)
        done = {"policy": self._policy, "train": self._train, "update": self._updates}
        rates = {f"fps/{name}": count / seconds for name, count in done.items()}
        if self._policy:
            rates["train/update_ratio"] = self._updates / self._policy
        self._restart()
        return rates

"""Small tasks with the kinds of spaces that gymnasium's own tasks do not have.

Importing this module registers them as `Catch-v0`, `Sliders-v0` and `Console-v0`.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces as gs


class Catch(gymnasium.Env):
    """An image: a ball falls, and a paddle of two cells has to be under it.

    A return of 1 is a catch and -1 a miss. Random play reaches about -0.4.
    """

    observation_space = gs.Box(0, 255, (64, 64, 1), np.uint8)
    action_space = gs.Discrete(3)  # left, stay, right

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode of eight steps."""
        super().reset(seed=seed)
        self._row, self._paddle = 0, 3
        self._column, self._slope = self.np_random.integers(8), self.np_random.integers(-1, 2)
        return self._draw(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Moves the ball down, and the paddle."""
        self._paddle = int(np.clip(self._paddle + action - 1, 0, 6))
        self._row += 1
        self._column += self._slope
        if not 0 <= self._column <= 7:
            self._slope = -self._slope
            self._column += 2 * self._slope
        over = self._row == 7
        caught = self._paddle <= self._column <= self._paddle + 1
        return self._draw(), (1.0 if caught else -1.0) * over, over, False, {}

    def _draw(self) -> np.ndarray:
        cells = np.zeros((8, 8), np.uint8)
        cells[7, self._paddle : self._paddle + 2] = 128
        cells[self._row, self._column] = 255
        return np.kron(cells, np.ones((8, 8), np.uint8))[..., None]


class Sliders(gymnasium.Env):
    """MultiDiscrete observations and actions: two sliders have to stand at two marks.

    Each of 30 steps with both in place gives 1; then new marks appear. Random play reaches about
    0.4 and perfect play about 7.
    """

    observation_space = gs.MultiDiscrete([7, 7, 7, 7])
    action_space = gs.MultiDiscrete([3, 3])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        self._time = 0
        self._at, self._marks = self.np_random.integers(7, size=(2, 2))
        return self._see(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Moves each slider by -1, 0 or 1."""
        self._time += 1
        self._at = np.clip(self._at + action - 1, 0, 6)
        there = bool((self._at == self._marks).all())
        if there:
            self._marks = self.np_random.integers(7, size=2)
        return self._see(), float(there), False, self._time == 30, {}

    def _see(self) -> np.ndarray:
        return np.concatenate([self._at, self._marks])


class Console(gymnasium.Env):
    """Dict and Tuple: press the button that lit up one step ago, and hold the lever at a level.

    The lamp shows only what will have to be pressed at the next step, so that it has to be
    remembered. Each of 20 steps gives up to 1. Random play reaches about 6.
    """

    observation_space = gs.Dict(
        {"lamp": gs.Discrete(3), "level": gs.Tuple([gs.Box(-1, 1, (1,), np.float32)])}
    )
    action_space = gs.Tuple([gs.Discrete(3), gs.Box(-2, 2, (1,), np.float32)])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        self._time, self._due = 0, 0
        self._next()
        return self._see(), {}

    def step(self, action: tuple) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Half a point for the button, up to half for the lever."""
        button, lever = action
        off = abs(float(lever[0]) - 2 * float(self._level[0]))
        reward = 0.5 * (int(button) == self._due) + 0.5 * max(0.0, 1 - off)
        self._due = self._lamp
        self._time += 1
        self._next()
        return self._see(), reward, False, self._time == 20, {}

    def _next(self) -> None:
        self._lamp = int(self.np_random.integers(3))
        self._level = self.np_random.uniform(-1, 1, 1).astype(np.float32)

    def _see(self) -> dict[str, Any]:
        return {"lamp": self._lamp, "level": (self._level,)}


for _class in (Catch, Sliders, Console):
    gymnasium.register(f"{_class.__name__}-v0", entry_point=_class)

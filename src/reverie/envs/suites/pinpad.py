"""PinPad: step on coloured pads in the right order, for long horizons and sparse reward.

The task is that of Hafner et al., "Deep Hierarchical Planning from Pixels" (arXiv 2206.04114); the
rooms, colours and drawing are our own, so that scores compare in kind but not to the digit.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from reverie.config.sections.env import PinpadConfig
from reverie.envs.errors import OptionError, unknown_task

COLUMNS, ROWS = 16, 14
"""Cells of the room, with its walls. Two more rows below it show the history."""

GRID = 16
REWARD = 10.0
PAUSE = 10
"""Steps between a reward and the next start, in which pads do not count."""

ACTIONS = ("stay", "up", "down", "left", "right")
MOVES = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))

NW, N, NE = (1, 1, 3, 3), (6, 1, 4, 2), (12, 1, 3, 3)
W, E = (1, 5, 2, 4), (13, 5, 2, 4)
SW, S, SE = (1, 10, 3, 3), (6, 11, 4, 2), (12, 10, 3, 3)

PADS = {
    "three": ((1, 9, 4, 4), (6, 1, 4, 4), (11, 9, 4, 4)),
    "four": ((1, 1, 4, 4), (11, 9, 4, 4), (11, 1, 4, 4), (1, 9, 4, 4)),
    "five": (NW, SE, N, SW, NE),
    "six": (NW, E, SW, NE, W, SE),
    "seven": (NW, SE, N, W, E, SW, NE),
    "eight": (NW, S, E, SW, N, SE, W, NE),
}
"""Left, top, width and height of the pads in cells, in the order in which they must be pressed.

From five pads on, consecutive ones are never neighbours, so that walking along the walls does not
solve a room.
"""

COLORS = (
    (214, 39, 40),
    (31, 119, 220),
    (44, 170, 44),
    (245, 180, 0),
    (148, 62, 200),
    (0, 190, 190),
    (240, 110, 190),
    (130, 80, 40),
)
FLOOR, REJOICE, WALL, PLAYER = (255, 255, 255), (205, 245, 205), (160, 160, 160), (0, 0, 0)
FAINT = 0.25
"""How strongly a pad is coloured while the player is elsewhere."""


class PinPad(gymnasium.Env):
    """One room seen from above, with a player and three to eight pads at its walls.

    Pressing a pad writes it into the history at the bottom of the image, which holds as many
    pads as the room has; standing on a pad, or coming back to the one pressed last, does not
    write it again. When the history shows all pads in the right order the reward is 10 and the
    floor turns green; 10 steps later the history is empty and the player on a random cell.

    Observations are uint8 images [height, width, 3], the 5 actions are those of `ACTIONS`.
    Episodes never terminate and are truncated at their length. `info` holds `log/solved`, how
    often the reward was given in the episode so far.

    Args:
        name: Number of pads, `three` to `eight`.
        **options: Those of `PinpadConfig`.

    Raises:
        UnknownTaskError: There is no room with so many pads.
        OptionError: For a size that cannot be.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own interface)
    render_mode = "rgb_array"

    def __init__(self, name: str, **options: Any):
        given = PinpadConfig(**options)
        if name not in PADS:
            raise unknown_task("pinpad", name, PADS)
        height, width = given.size
        if min(height, width) < GRID or height % GRID or width % GRID:
            raise OptionError(
                f"size={[height, width]}: the room is drawn on a grid of {GRID}x{GRID} cells, so "
                f"height and width are multiples of {GRID}, such as [64, 64]."
            )
        self.task_name = f"pinpad_{name}"
        self.observation_space = gymnasium.spaces.Box(0, 255, (height, width, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))
        self._length = given.length
        self._cell = (height // GRID, width // GRID)
        self._pad = _pad_map(PADS[name])
        self._goal = list(range(len(PADS[name])))
        self._rooms = [
            [_room(self._pad, current, floor, self._cell) for current in (-1, *self._goal)]
            for floor in (FLOOR, REJOICE)
        ]
        self._history: list[int] = []
        self._strip = self._draw_history()
        self._x = self._y = self._pause = self._time = self._solved = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Puts the player on a random cell, with an empty history."""
        super().reset(seed=seed)
        self._time = self._pause = self._solved = 0
        self._start()
        return self.render(), {"log/solved": 0.0}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Moves the player one cell; walls hold it back."""
        if not self._x:
            raise gymnasium.error.ResetNeeded("Call reset() before step().")
        right, down = MOVES[action]
        # Inside the walls are the cells 1 to one before the last.
        self._x = min(max(self._x + right, 1), COLUMNS - 2)
        self._y = min(max(self._y + down, 1), ROWS - 2)
        reward = 0.0
        if self._pause:
            self._pause -= 1
            if not self._pause:
                self._start()
        elif self._press(self._pad[self._y, self._x]):
            reward = REWARD
            self._pause = PAUSE
            self._solved += 1
        self._time += 1
        truncated = self._time >= self._length
        return self.render(), reward, False, truncated, {"log/solved": float(self._solved)}

    def render(self) -> np.ndarray:
        """The current image."""
        if not self._x:
            raise gymnasium.error.ResetNeeded("Call reset() before render().")
        height, width = self._cell
        image = self._rooms[self._pause > 0][self._pad[self._y, self._x] + 1].copy()
        image[ROWS * height :] = self._strip
        top, left = self._y * height, self._x * width
        image[top : top + height, left : left + width] = PLAYER
        return image

    def _start(self) -> None:
        self._x = int(self.np_random.integers(1, COLUMNS - 1))
        self._y = int(self.np_random.integers(1, ROWS - 1))
        self._history = []
        self._strip = self._draw_history()

    def _press(self, pad: int) -> bool:
        """Notes the pad under the player, -1 for none; whether that completes the order."""
        if pad < 0 or (self._history and self._history[-1] == pad):
            return False
        self._history = [*self._history, pad][-len(self._goal) :]
        self._strip = self._draw_history()
        return self._history == self._goal

    def _draw_history(self) -> np.ndarray:
        """The two rows of cells below the room: one square per pad, the oldest at the left."""
        height, width = self._cell
        strip = np.full(((GRID - ROWS) * height, COLUMNS * width, 3), WALL, np.uint8)
        edge = max(1, height // 4)
        for slot, pad in enumerate(self._history):
            left = 2 * slot * width
            strip[edge:-edge, left + 1 : left + 2 * width - 1] = COLORS[pad]
        return strip


make = PinPad


def tasks() -> list[str]:
    """Names of the tasks."""
    return list(PADS)


def _pad_map(pads: Sequence[tuple[int, int, int, int]]) -> np.ndarray:
    """Number of the pad on each cell [row, column], -1 where there is none."""
    cells = np.full((ROWS, COLUMNS), -1)
    for number, (left, top, width, height) in enumerate(pads):
        cells[top : top + height, left : left + width] = number
    return cells


def _room(
    pads: np.ndarray, current: int, floor: tuple[int, ...], cell: tuple[int, int]
) -> np.ndarray:
    """Image of a room without player and history while the player is on the pad `current`."""
    grid = np.full((GRID, GRID, 3), WALL, np.uint8)
    grid[1 : ROWS - 1, 1 : COLUMNS - 1] = floor
    for number, color in enumerate(COLORS):
        strength = 1.0 if number == current else FAINT
        mixed = strength * np.asarray(color) + (1 - strength) * np.asarray(floor)
        grid[:ROWS][pads == number] = mixed.astype(np.uint8)
    return grid.repeat(cell[0], 0).repeat(cell[1], 1)

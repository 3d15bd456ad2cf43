"""LangRoom: answer questions about a room that is seen through a small window.

Lin et al., "Learning to Model the World with Language" (arXiv 2308.01399).
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import langroom
import numpy as np
from gymnasium import spaces as gs
from langroom import langroom as game

from reverie.config.sections.env import LangroomConfig
from reverie.envs.errors import OptionError, unknown_task

MOVES = 5
"""Stay, down, up, right, left."""

REWARDS = {
    "answer_only": "answer-only",
    "answer_and_echo": "answer-and-echo",
    "echo": "echo",
}
"""Task name -> name of the reward in the package."""


class LangRoom(gymnasium.Env):
    """Move and talk at once in a room with four objects of random colour.

    A question such as "what color is the vase ?" comes one word per step, and ten steps later
    the answer "it is red", whose colour the agent should say in the step in which it comes.
    Observations are `image`, uint8 [size, size, 3], and `text`, the number of the word that was
    just said; 0 is silence. Actions are `move`, one of 5, and `talk`, the number of a word.
    Episodes never terminate and are truncated at their length.

    Args:
        name: What is rewarded. `answer_only`: 1 for the right colour at the right time,
            -0.1 for a wrong one then, -0.01 for talking at other times.
            `answer_and_echo`: 10 for the right colour, 0.1 for every other word or silence that
            was guessed. `echo`: 1 for everything guessed.
        **options: Those of `LangroomConfig`.

    Raises:
        UnknownTaskError: There is no such reward.
        OptionError: For a size that does not go with the view.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own interface)
    render_mode = "rgb_array"

    def __init__(self, name: str, **options: Any):
        given = LangroomConfig(**options)
        if name not in REWARDS:
            raise unknown_task("langroom", name, REWARDS)
        _check(given.size, given.view)
        self.task_name = f"langroom_{name}"
        self._room = _Room(REWARDS[name], given.view, given.length, given.size[0], given.vocab)
        self._running = False
        self.observation_space = gs.Dict(
            {"image": gs.Box(0, 255, (*given.size, 3), np.uint8), "text": gs.Discrete(given.vocab)}
        )
        self.action_space = gs.Dict({"move": gs.Discrete(MOVES), "talk": gs.Discrete(given.vocab)})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode in the middle of the room."""
        super().reset(seed=seed)
        self._room.rng = self.np_random
        self._running = True
        found = self._room.step({"reset": True})
        return {key: found[key] for key in ("image", "text")}, {}

    def step(
        self, action: dict[str, Any]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Moves one cell, and says a word."""
        self._check_running("step()")
        found: dict[str, Any] = self._room.step({**action, "reset": False})
        observation = {key: found[key] for key in ("image", "text")}
        return observation, float(found["reward"]), False, found.get("is_last", False), {}

    def render(self) -> np.ndarray:
        """The current image."""
        self._check_running("render()")
        return self._room.picture()

    def _check_running(self, call: str) -> None:
        if not self._running:
            raise gymnasium.error.ResetNeeded(f"Call reset() before {call}.")


class _Room(langroom.LangRoom):
    """The game, without its debugging pictures of text, which take most of the time."""

    def _obs(self, reward: float, **flags: bool) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        text = game.VOCAB.index(self.target)
        return {"image": self.picture(), "text": text, "reward": reward, **flags}

    def picture(self) -> np.ndarray:
        """The cells around the player [size, size, 3]."""
        return np.ascontiguousarray(self.render().transpose((1, 0, 2)))


make = LangRoom


def tasks() -> list[str]:
    """Names of the tasks."""
    return list(REWARDS)


def _check(size: Sequence[int], view: int) -> None:
    height, width = size
    cells = 2 * view + 1
    if height != width:
        raise OptionError(f"size={list(size)}: the image is a square. Use one number twice.")
    if height < cells or height % cells % 2:
        good = cells * max(1, round(height / cells))
        raise OptionError(
            f"size={list(size)}: with view={view} the image shows {cells}x{cells} cells, and what "
            f"remains of {height} pixels is not an equal border. Use [{good}, {good}]."
        )

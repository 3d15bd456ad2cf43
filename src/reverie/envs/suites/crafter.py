"""Crafter as a gymnasium environment that repeats itself under a seed.

Hafner, "Benchmarking the Spectrum of Agent Capabilities" (arXiv 2109.06780).
"""

import collections
import importlib.util
import logging
from typing import Any

import crafter
import gymnasium
import numpy as np
from crafter import constants, engine

from reverie.config.sections.env import CrafterConfig
from reverie.envs.errors import unknown_task
from reverie.extras import install

# The package reads these names from a file, so type checkers do not see them.
ACTIONS: list[str] = vars(constants)["actions"]
ACHIEVEMENTS: list[str] = vars(constants)["achievements"]

log = logging.getLogger("reverie.envs")

REWARDS = {"reward": True, "noreward": False}


class Crafter(gymnasium.Env):
    """64x64 images, 17 discrete actions, at most 10,000 steps.

    `info` holds `log/achievement_<name>`, how often each of the 22 achievements was reached so
    far in the episode, and with `logs` also `log/inventory_<name>`. A run makes the published
    score of them, see `track.achievements`. Death ends an episode by termination, the step
    limit by truncation.

    Args:
        name: `reward` for achievements and health, or `noreward`, which is always 0.
        **options: Those of `CrafterConfig`.

    Raises:
        UnknownTaskError: The name is another one.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own interface)
    render_mode = "rgb_array"

    def __init__(self, name: str = "reward", **options: Any):
        given = CrafterConfig(**options)
        if name not in REWARDS:
            raise unknown_task("crafter", name, REWARDS)
        # The terrain's noise compiles itself where numba is found.
        if importlib.util.find_spec("numba") is None:
            log.warning("Crafter is several times slower without numba: %s", install("crafter"))
        self.task_name = f"crafter_{name}"
        self._reward = REWARDS[name]
        self._log_inventory = given.logs
        height, width = given.size
        self.observation_space = gymnasium.spaces.Box(0, 255, (height, width, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))
        self._size = (width, height)
        self._game: crafter.Env | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode in a new world."""
        super().reset(seed=seed)
        if self._game is None or seed is not None:
            self._game = self._build(int(self.np_random.integers(2**31 - 1)))
        image = self._game.reset()
        # Only a step returns these counts; the logs start with the episode.
        player: Any = self._game._player
        return image, self._logs(player.achievements, player.inventory)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step of the game."""
        game = self._started()
        image, reward, done, info = game.step(action)
        # Crafter reports death as a discount of 0; the step limit leaves it at 1.
        dead = info["discount"] == 0
        logs = self._logs(info["achievements"], info["inventory"])
        # The game moves this very array on with the player.
        info["player_pos"] = info["player_pos"].copy()
        return image, float(reward), dead, bool(done) and not dead, {**info, **logs}

    def render(self) -> np.ndarray:
        """The current image."""
        return self._started().render()

    def _logs(self, achievements: dict[str, int], inventory: dict[str, int]) -> dict[str, float]:
        logs = {f"log/achievement_{name}": float(achievements[name]) for name in ACHIEVEMENTS}
        if self._log_inventory:
            logs |= {f"log/inventory_{name}": float(count) for name, count in inventory.items()}
        return logs

    def _started(self) -> crafter.Env:
        if self._game is None:
            raise gymnasium.error.ResetNeeded("Call reset() before step() or render().")
        return self._game

    def _build(self, seed: int) -> crafter.Env:
        game = crafter.Env(size=self._size, reward=self._reward, seed=seed)
        # Crafter keeps the objects of a chunk in a set, whose order depends on memory addresses,
        # so the same seed plays out differently each time. The rest of the world is unchanged.
        game._world.__class__ = _OrderedWorld
        return game


class _OrderedWorld(engine.World):
    """Crafter's world with chunks that remember the order in which objects came."""

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self._chunks = collections.defaultdict(_OrderedSet)


class _OrderedSet(dict):
    """What Crafter uses of `set`, in insertion order."""

    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]


make = Crafter


def tasks() -> list[str]:
    """Names of the tasks."""
    return list(REWARDS)

"""Minecraft as a gymnasium environment: collect wood, climb, or find a diamond.

Hafner et al., "Mastering Diverse Domains through World Models" (arXiv 2301.04104), whose settings
are the defaults.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.config.sections.env import MinecraftConfig
from reverie.envs.errors import unknown_task
from reverie.envs.suites.minecraft.actions import ACTIONS, Controls
from reverie.envs.suites.minecraft.engine import Engine
from reverie.envs.suites.minecraft.rewards import MILESTONES, Player, Progress
from reverie.envs.suites.minecraft.spec import build

LIFE, FOOD, AIR = 20, 20, 300
"""What the game calls a full bar of health, of hunger and of breath."""


class Minecraft(gymnasium.Env):
    """A new world in survival mode, seen by the player.

    Observations are a dictionary of `image` [height, width, 3]; `inventory` and `inventory_max`
    [items], how many of each item are held and the most that were in this episode; `equipped`
    [items], one-hot, what is in the hand; and `health`, `hunger` and `breath`, 1 when full. The
    items are listed in `items` and `hands`; both kinds of logs count as `log`, and `air` counts
    the empty places. Actions are the class indices of `actions`, 12 or 25 of them.

    Rewards: 1 for each log (`wood`), the blocks gained in height (`climb`), or 1 for each of the
    12 milestones reached for the first time in the episode (`diamond`); in all of them 0.01 for
    each heart regained, minus as much for one lost. Death ends an episode by termination, the
    step limit by truncation, as does a failure of the game; the game is launched again then.

    `info` holds `log/milestone_<item>`, 1 once it is reached, and with `logs` also
    `log/inventory_<item>`.

    Args:
        name: `wood`, `climb` or `diamond`.
        **options: Those of `MinecraftConfig`.

    Raises:
        UnknownTaskError: There is no such task.
        EngineError: By `reset` or `step`, when the game fails again and again.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own interface)
    render_mode = "rgb_array"

    def __init__(self, name: str, **options: Any):
        given = MinecraftConfig(**options)
        if name not in ACTIONS:
            raise unknown_task("minecraft", name, ACTIONS)
        self.task_name = f"minecraft_{name}"
        self._task = name
        self._length = given.length
        self._log_inventory = given.logs
        self.actions = tuple(ACTIONS[name])
        # Where one blow breaks a block there is nothing to hold on to.
        attack = given.sticky_attack if given.break_speed == 1 else 0
        commands = list(ACTIONS[name].values())
        self._controls = Controls(commands, attack, given.sticky_jump, given.pitch)
        world = functools.partial(build, given.size, given.break_speed)
        self._engine = Engine(world, self.task_name)
        game = self._engine.game
        self._noop = dict(game.action_space.no_op())
        self.items = tuple(
            key for key in game.observation_space["inventory"].spaces if key != "log2"
        )
        hand = game.observation_space["equipped_items"]["mainhand"]["type"]
        self.hands = tuple(map(str, hand.values))
        self.observation_space = self._space(given.size)
        self.action_space = gs.Discrete(len(self.actions))
        self._observation: dict[str, np.ndarray] = {}
        self._progress: Progress | None = None
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode in a new world; the first reset launches the game, about a minute."""
        super().reset(seed=seed)
        self._progress = None
        found = self._engine.reset(int(self.np_random.integers(2**31 - 1)))
        self._controls.reset()
        self._step = 0
        player = _player(found)
        self._observation = self._observe(found, player, {})
        self._progress = Progress(self._task, player)
        return self._observation, self._logs(self._progress, player)

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One tick of the game, a twentieth of a second."""
        progress = self._progress
        if progress is None:
            raise gymnasium.error.ResetNeeded("Call reset() before step().")
        self._step += 1
        found = self._engine.step(self._controls(int(action), self._noop))
        if found is None:
            self._progress = None
            return self._observation, 0.0, False, True, {}
        raw, done = found
        player = _player(raw)
        self._observation = self._observe(raw, player, self._observation)
        truncated = not done and self._step >= self._length
        if done or truncated:
            self._progress = None
        reward = float(progress.step(player))
        return self._observation, reward, done, truncated, self._logs(progress, player)

    def render(self) -> np.ndarray:
        """The current image [height, width, 3]."""
        if not self._observation:
            raise gymnasium.error.ResetNeeded("Call reset() before render().")
        return self._observation["image"]

    def close(self) -> None:
        """Ends the game's process."""
        self._engine.close()

    def _space(self, size: Sequence[int]) -> gs.Dict:
        height, width = size
        entries: dict[str, gymnasium.Space] = {
            "image": gs.Box(0, 255, (height, width, 3), np.uint8),
            "inventory": gs.Box(0, np.inf, (len(self.items),), np.float32),
            "inventory_max": gs.Box(0, np.inf, (len(self.items),), np.float32),
            "equipped": gs.Box(0, 1, (len(self.hands),), np.float32),
        }
        for key in ("health", "hunger", "breath"):
            # Breath goes below 0 while the player drowns.
            entries[key] = gs.Box(-np.inf, np.inf, (), np.float32)
        return gs.Dict(entries)

    def _observe(
        self, raw: Mapping[str, Any], player: Player, before: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        inventory = np.array([player.inventory[item] for item in self.items], np.float32)
        held = raw["equipped_items"]["mainhand"]["type"]
        bars = raw["life_stats"]
        return {
            # The game's image is a view of its buffer, upside down.
            "image": np.array(raw["pov"], order="C"),
            "inventory": inventory,
            "inventory_max": np.maximum(inventory, before.get("inventory_max", inventory)),
            "equipped": np.array([hand == held for hand in self.hands], np.float32),
            "health": np.array(player.health, np.float32),
            "hunger": np.array(bars["food"] / FOOD, np.float32),
            "breath": np.array(bars["air"] / AIR, np.float32),
        }

    def _logs(self, progress: Progress, player: Player) -> dict[str, float]:
        logs = {f"log/milestone_{item}": float(item in progress.reached) for item in MILESTONES}
        if self._log_inventory:
            logs |= {f"log/inventory_{item}": float(player.inventory[item]) for item in self.items}
        return logs


make = Minecraft


def tasks() -> list[str]:
    """Names of the tasks."""
    return list(ACTIONS)


def _player(raw: Mapping[str, Any]) -> Player:
    """The player of an observation of the game; both kinds of logs are one item."""
    inventory = {item: int(count) for item, count in raw["inventory"].items()}
    inventory["log"] += inventory.pop("log2")
    health = float(raw["life_stats"]["life"]) / LIFE
    return Player(inventory, health, float(raw["location_stats"]["ypos"]))

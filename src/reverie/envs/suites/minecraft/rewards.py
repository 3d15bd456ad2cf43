"""What the Minecraft tasks reward. Hafner et al. (arXiv 2301.04104)."""

import dataclasses
from collections.abc import Callable, Mapping

MILESTONES = (
    "log",
    "planks",
    "stick",
    "crafting_table",
    "wooden_pickaxe",
    "cobblestone",
    "stone_pickaxe",
    "iron_ore",
    "furnace",
    "iron_ingot",
    "iron_pickaxe",
    "diamond",
)
"""The items on the way to a diamond; each counts the first time it is held in an episode."""

HEALTH = 0.1
"""Reward for a whole bar of health: 0.01 for each of its ten hearts, minus as much when lost."""


@dataclasses.dataclass(frozen=True)
class Player:
    """What rewards depend on.

    Args:
        inventory: Item -> how many of it are held.
        health: From 0 to 1.
        height: Above the bottom of the world, in blocks.
    """

    inventory: Mapping[str, int]
    health: float
    height: float


TASKS: dict[str, Callable[[Player, Player, int], float]] = {
    "wood": lambda before, now, new: max(0, now.inventory["log"] - before.inventory["log"]),
    "climb": lambda before, now, new: now.height - before.height,
    "diamond": lambda before, now, new: new,
}
"""Task -> its reward, from the player before and after the step and the new milestones."""


class Progress:
    """Rewards and milestones of one episode.

    Args:
        task: One of `TASKS`.
        start: The player at the start; what it holds already is no achievement.
    """

    def __init__(self, task: str, start: Player):
        self._reward = TASKS[task]
        self._player = start
        self.reached = {item for item in MILESTONES if start.inventory[item] > 0}

    def step(self, now: Player) -> float:
        """The reward of a step that led to this player."""
        before, self._player = self._player, now
        new = {item for item in MILESTONES if now.inventory[item] > 0} - self.reached
        self.reached |= new
        return self._reward(before, now, len(new)) + HEALTH * (now.health - before.health)

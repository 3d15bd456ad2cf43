"""The flat discrete actions of the Minecraft tasks, and how they become keys, camera and commands.

The lists, their order and the numbers are those of the published DreamerV3 experiments (Hafner et
al., arXiv 2301.04104, and its environment danijar/diamond_env), so that results compare.
"""

from collections.abc import Mapping, Sequence
from typing import Any

STEP = 15.0
"""Degrees that the camera turns in one step."""

Command = Mapping[str, Any]
"""The entries of a game action that differ from doing nothing."""

MOVE: dict[str, Command] = {
    "noop": {},
    "attack": {"attack": 1},
    "turn_up": {"camera": (-STEP, 0.0)},
    "turn_down": {"camera": (STEP, 0.0)},
    "turn_left": {"camera": (0.0, -STEP)},
    "turn_right": {"camera": (0.0, STEP)},
    "forward": {"forward": 1},
    "back": {"back": 1},
    "left": {"left": 1},
    "right": {"right": 1},
    "jump": {"jump": 1, "forward": 1},
    "place_dirt": {"place": "dirt"},
}
"""What every task has. The camera is (pitch, yaw); looking down is positive."""

MAKE: dict[str, Command] = {
    "craft_planks": {"craft": "planks"},
    "craft_stick": {"craft": "stick"},
    "craft_crafting_table": {"craft": "crafting_table"},
    "place_crafting_table": {"place": "crafting_table"},
    "craft_wooden_pickaxe": {"nearbyCraft": "wooden_pickaxe"},
    "craft_stone_pickaxe": {"nearbyCraft": "stone_pickaxe"},
    "craft_iron_pickaxe": {"nearbyCraft": "iron_pickaxe"},
    "equip_stone_pickaxe": {"equip": "stone_pickaxe"},
    "equip_wooden_pickaxe": {"equip": "wooden_pickaxe"},
    "equip_iron_pickaxe": {"equip": "iron_pickaxe"},
    "craft_furnace": {"nearbyCraft": "furnace"},
    "place_furnace": {"place": "furnace"},
    "smelt_iron_ingot": {"nearbySmelt": "iron_ingot"},
}
"""What the way to a diamond needs besides. `nearby` asks for a crafting table or a furnace."""

ACTIONS: dict[str, dict[str, Command]] = {
    "wood": MOVE,
    "climb": MOVE,
    "diamond": MOVE | MAKE,
}
"""Task -> name of an action -> what it does, in the order of the action space."""


class Controls:
    """Turns class indices into game actions; remembers what is held and where the player looks.

    Args:
        commands: What each class does.
        sticky_attack: Steps that an attack goes on, itself included; 0: one.
        sticky_jump: Steps that a jump goes on, itself included; 0: one.
        pitch: Degrees by which the player may look up or down; a turn beyond them does nothing.
    """

    def __init__(
        self, commands: Sequence[Command], sticky_attack: int, sticky_jump: int, pitch: float
    ):
        self._commands = list(commands)
        self._lengths = (sticky_attack, sticky_jump)
        self._limit = pitch
        self.reset()

    def reset(self) -> None:
        """Lets go of everything and looks straight ahead."""
        self._attack = self._jump = 0
        self._pitch = 0.0

    def __call__(self, index: int, noop: Mapping[str, Any]) -> dict[str, Any]:
        """The game action of a class; `noop` is the one that does nothing and has every key."""
        action = {**noop, **self._commands[index]}
        self._hold(action)
        self._turn(action)
        return action

    def _hold(self, action: dict[str, Any]) -> None:
        attack, jump = self._lengths
        if action["attack"]:
            self._attack = attack
        if self._attack:
            # Attacking goes before jumping, but a jump that has begun goes on.
            action.update(attack=1, jump=0)
            self._attack -= 1
        if action["jump"]:
            self._jump = jump
        if self._jump:
            action.update(jump=1, forward=1)
            self._jump -= 1

    def _turn(self, action: dict[str, Any]) -> None:
        up, sideways = action["camera"]
        if abs(self._pitch + up) > self._limit:
            up = 0.0
            action["camera"] = (up, sideways)
        self._pitch += up

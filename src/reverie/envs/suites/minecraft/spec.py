"""The world of the Minecraft tasks, in the terms of MineRL 0.4.4.

Later versions of MineRL have no commands that craft, so the tasks cannot be built with them.
"""

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np

# MineRL asks numpy for names that it no longer has, while it is imported and at every reset.
for _name, _kind in (("float", float), ("int", int)):
    if not hasattr(np, _name):
        setattr(np, _name, _kind)

from minerl.herobraine import env_spec  # noqa: E402
from minerl.herobraine.hero import handlers, mc  # noqa: E402

KEYS = ("forward", "back", "left", "right", "jump", "sneak", "attack")


def _check_version() -> None:
    try:
        version = importlib.metadata.version("minerl")
    except importlib.metadata.PackageNotFoundError:
        return
    if not version.startswith("0.4."):
        raise ImportError(f"minerl {version} has no crafting commands, minerl 0.4.4 has them")


_check_version()


class Spec(env_spec.EnvSpec):
    """A new default world each episode, in survival mode; nothing in the hands.

    Args:
        size: Height and width of the image.
        break_speed: How many times faster than usual blocks break.
    """

    def __init__(self, size: Sequence[int], break_speed: float):
        # The constructor of MineRL calls the methods below.
        self._size = tuple(size)
        self._break_speed = break_speed
        super().__init__(name="ReverieMinecraft-v0")

    def create_observables(self) -> list[Any]:
        """Image, inventory, what is in the hand, place, and state of the body."""
        height, width = self._size
        return [
            handlers.POVObservation((width, height)),
            handlers.FlatInventoryObservation(mc.ALL_ITEMS),
            handlers.EquippedItemObservation(mc.ALL_ITEMS, _default="air", _other="other"),
            handlers.ObservationFromCurrentLocation(),
            handlers.ObservationFromLifeStats(),
        ]

    def create_actionables(self) -> list[Any]:
        """Keys, camera, and commands that take an item."""
        keys = [handlers.KeybasedCommandAction(key, mc.INVERSE_KEYMAP[key]) for key in KEYS]
        commands = (
            handlers.PlaceBlock,
            handlers.EquipAction,
            handlers.CraftAction,
            handlers.CraftNearbyAction,
            handlers.SmeltItemNearby,
        )
        items = ["none", *mc.ALL_ITEMS]
        takers = [command(items, _other="none", _default="none") for command in commands]
        return [*keys, handlers.CameraAction(), *takers]

    def create_agent_start(self) -> list[Any]:
        """How fast blocks break."""
        return [handlers.AgentStartBreakSpeedMultiplier(self._break_speed)]

    def create_server_world_generators(self) -> list[Any]:
        """A new world each episode."""
        return [handlers.DefaultWorldGenerator(force_reset=True)]

    def create_server_initial_conditions(self) -> list[Any]:
        """It is morning, time passes, and creatures appear."""
        return [
            handlers.TimeInitialCondition(allow_passage_of_time=True, start_time=0),
            handlers.SpawningInitialCondition(allow_spawning=True),
        ]

    def create_server_quit_producers(self) -> list[Any]:
        """The game is over when the player is."""
        return [handlers.ServerQuitWhenAnyAgentFinishes()]

    def _none(self) -> list[Any]:
        """Nothing: rewards are computed from observations."""
        return []

    create_rewardables = create_agent_handlers = _none
    create_monitors = create_server_decorators = _none

    def is_from_folder(self, folder: str) -> bool:
        """There are no recordings of it."""
        return False

    def determine_success_from_rewards(self, rewards: list[float]) -> bool:
        """Nothing that could be told from the game's own rewards."""
        return False

    def get_docstring(self) -> str:
        """Nothing for MineRL's own documentation."""
        return ""


def build(size: Sequence[int], break_speed: float) -> Any:
    """A game; its process starts with the first reset."""
    return Spec(size, break_speed).make()

"""Names of DeepMind Lab's levels and where the engine finds them.

Sources: the folder `game_scripts/levels` of https://github.com/google-deepmind/lab, and for the
older levels Beattie et al., "DeepMind Lab" (arXiv 1612.03801).
"""

import dataclasses

from reverie.envs.errors import unknown_task

FOLDER = "contributed/dmlab30/"

FAMILIES = {
    "explore": (
        *("goal_locations_large", "goal_locations_small"),
        *("object_locations_large", "object_locations_small"),
        *("object_rewards_few", "object_rewards_many"),
        *("obstructed_goals_large", "obstructed_goals_small"),
    ),
    "language": (
        *("answer_quantitative_question", "execute_random_task"),
        *("select_described_object", "select_located_object"),
    ),
    "lasertag": (
        *("one_opponent_large", "one_opponent_small"),
        *("three_opponents_large", "three_opponents_small"),
    ),
    "natlab": ("fixed_large_map", "varying_map_randomized", "varying_map_regrowth"),
    "psychlab": (
        *("arbitrary_visuomotor_mapping", "continuous_recognition"),
        *("sequential_comparison", "visual_search"),
    ),
    "rooms": (
        *("collect_good_objects", "exploit_deferred_effects"),
        *("keys_doors_puzzle", "select_nonmatching_object", "watermaze"),
    ),
    "skymaze": ("irreversible_path_hard", "irreversible_path_varied"),
}

DMLAB30 = tuple(f"{family}_{name}" for family, names in FAMILIES.items() for name in names)
"""The 30 tasks."""

PAIRED = ("rooms_collect_good_objects", "rooms_exploit_deferred_effects")
"""Tasks of which there is one level for training and one, held out, for tests."""

OLDER = (
    *("lt_chasm", "lt_hallway_slope", "lt_horseshoe_color", "lt_space_bounce_hard"),
    *("nav_maze_random_goal_01", "nav_maze_random_goal_02", "nav_maze_random_goal_03"),
    *("nav_maze_static_01", "nav_maze_static_02", "nav_maze_static_03"),
    *("seekavoid_arena_01", "stairway_to_melon"),
)
"""The levels that came with the first release."""


@dataclasses.dataclass(frozen=True)
class Level:
    """A level as the engine takes it.

    Args:
        path: Its script under `game_scripts/levels` of the engine, without `.lua`.
        held_out: Whether it is played for evaluation, with seeds that training never sees.
    """

    path: str
    held_out: bool

    @property
    def language(self) -> bool:
        """Whether it gives its instructions in words."""
        return self.path.rpartition("/")[2].startswith("language_")


def find(name: str, held_out: bool = False) -> Level:
    """The level of a task name.

    Args:
        name: One of `names()`; one of `PAIRED` without its ending; or, with a `/` in it, a path
            under the engine's `game_scripts/levels`, which is taken as it is. A name that ends in
            `_test` is always held out.
        held_out: Play for evaluation; of a paired task the level for tests.

    Raises:
        UnknownTaskError: There is no such level.
    """
    held_out = held_out or name.endswith("_test")
    if "/" in name:
        return Level(name, held_out)
    task = name.removesuffix("_train").removesuffix("_test")
    if task in PAIRED:
        return Level(f"{FOLDER}{task}_{'test' if held_out else 'train'}", held_out)
    if name in OLDER:
        return Level(name, held_out)
    if name in DMLAB30:
        return Level(FOLDER + name, held_out)
    advice = "A path under the engine's game_scripts/levels, with a / in it, is a level too."
    raise unknown_task("dmlab", name, names(), advice)


def names() -> list[str]:
    """All names of levels: 30 tasks, two of them twice, and the older ones."""
    tasks = [
        full
        for name in DMLAB30
        for full in ((f"{name}_train", f"{name}_test") if name in PAIRED else (name,))
    ]
    return [*tasks, *OLDER]

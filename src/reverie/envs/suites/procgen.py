"""ProcGen as a gymnasium environment with proper ends of episodes.

Cobbe et al., "Leveraging Procedural Generation to Benchmark Reinforcement Learning"
(arXiv 1912.01588).
"""

from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from reverie.config.sections.env import ProcgenConfig
from reverie.envs.errors import OptionError, unknown_task
from reverie.envs.suites._common.submodules import import_submodule

_env = import_submodule("procgen", "env")
GAMES: tuple[str, ...] = tuple(_env.ENV_NAMES)

# The engine ends the process when a game lacks the mode, so this is checked before.
MODES: dict[str, tuple[str, ...]] = {
    "easy": GAMES,
    "hard": GAMES,
    "extreme": ("chaser", "dodgeball", "leaper", "starpilot"),
    "memory": ("caveflyer", "dodgeball", "heist", "jumper", "maze", "miner"),
    "exploration": tuple(_env.EXPLORATION_LEVEL_SEEDS),
}

LIMITS = {"bigfish": 6000, "bossfight": 4000, "leaper": 500, "maze": 500, "plunder": 4000}
"""Steps after which the engine cuts off a level; all other games 1000, jumper 2000 in `memory`."""

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "area": Image.Resampling.BOX}
NATIVE = 64
RESET = -1  # As an action, it makes the engine start the next episode at once.


class Procgen(gymnasium.Env):
    """One game: images, 15 discrete actions, a new level in every episode.

    The engine draws 64x64 images; other sizes are made of them, or of its 512x512 rendering if they
    are larger. It moves on to the next level within the last step of an episode, so that the last
    image cannot be had: the one before is given again. Its step limit ends an episode by
    truncation, anything else by termination. A death in the very step of the limit looks like the
    limit.

    `info` holds `level_seed`, and `level_complete` at the end of a level.

    `limit` is the number of steps after which the engine cuts off a level.

    Args:
        name: One of `GAMES`, such as `coinrun`.
        **options: Those of `ProcgenConfig`.

    Raises:
        UnknownTaskError: There is no such game.
        OptionError: The game has no such mode, or the levels asked for do not fit the mode or each
            other.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own interface)
    render_mode = "rgb_array"

    def __init__(self, name: str, **options: Any):
        given = ProcgenConfig(**options)
        mode, num_levels, start_level = given.mode, given.num_levels, given.start_level
        _check(name, mode, num_levels, start_level)
        self.task_name = f"procgen_{name}"
        height, width = given.size
        self.observation_space = gymnasium.spaces.Box(0, 255, (height, width, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(15)
        self._size = (width, height)
        self._filter = FILTERS[given.resize]
        self.limit = 2000 if (name, mode) == ("jumper", "memory") else LIMITS.get(name, 1000)
        self._large = max(height, width) > NATIVE
        self._options: dict[str, Any] = {"env_name": name, "distribution_mode": mode}
        if num_levels:
            self._options |= {"num_levels": num_levels, "start_level": start_level}
        if self._large:
            self._options["render_mode"] = "rgb_array"
        self._game: Any = None
        self._image = np.zeros((height, width, 3), np.uint8)
        # Whether the engine has moved on to an episode that no reset has asked for yet.
        self._waiting, self._length = False, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode on the next level."""
        super().reset(seed=seed)
        if self._game is None or seed is not None:
            self.close()
            self._game = _env.ProcgenGym3Env(
                num=1,
                num_threads=0,
                rand_seed=int(self.np_random.integers(2**31 - 1)),
                **self._options,
            )
        elif not self._waiting:
            self._game.act(np.array([RESET]))
        self._waiting, self._length = False, 0
        self._observe(fresh=True)
        return self._image, {"level_seed": int(self._info("level_seed"))}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step of the game."""
        self._started().act(np.array([action]))
        reward, self._waiting = self._observe()
        self._length += 1
        if not self._waiting:
            return self._image, reward, False, False, {"level_seed": int(self._info("level_seed"))}
        complete = bool(self._info("prev_level_complete"))
        truncated = self._length >= self.limit and not complete
        info = {"level_seed": int(self._info("prev_level_seed")), "level_complete": complete}
        return self._image, reward, not truncated, truncated, info

    def render(self) -> np.ndarray:
        """The current image [height, width, 3]."""
        self._started()
        return self._image

    def close(self) -> None:
        """Frees the engine."""
        if self._game is not None:
            self._game.close()
            self._game = None

    def _observe(self, fresh: bool = False) -> tuple[float, bool]:
        """Returns the reward, and whether the engine shows the start of an episode.

        Such an image belongs to a reset, so it is taken over only if `fresh`.
        """
        rewards, observation, firsts = self._game.observe()
        first = bool(firsts[0])
        if fresh or not first:
            self._image = self._resized(self._info("rgb") if self._large else observation["rgb"][0])
        return float(rewards[0]), first

    def _resized(self, image: np.ndarray) -> np.ndarray:
        if self._size == image.shape[1::-1]:
            return image.copy()
        return np.asarray(Image.fromarray(image).resize(self._size, self._filter))

    def _info(self, key: str) -> np.ndarray:
        # The public get_info() would draw everything a second time.
        return self._game._info[key][0]

    def _started(self) -> Any:
        if self._game is None:
            raise gymnasium.error.ResetNeeded("Call reset() before step() or render().")
        return self._game


make = Procgen


def tasks() -> list[str]:
    """Names of the games."""
    return list(GAMES)


def _check(game: str, mode: str, num_levels: int, start_level: int) -> None:
    if game not in GAMES:
        raise unknown_task("procgen", game, GAMES)
    if game not in MODES[mode]:
        has = [name for name, games in MODES.items() if game in games]
        raise OptionError(f"mode={mode!r}: {game} has {', '.join(has)} only.")
    if mode == "exploration" and num_levels:
        raise OptionError(f"num_levels={num_levels}: the mode exploration has one fixed level.")
    if start_level and not num_levels:
        raise OptionError(
            f"start_level={start_level}: it needs num_levels, and a mode other than exploration."
        )
    if start_level + num_levels > 2**31 - 1:
        raise OptionError(
            f"num_levels={num_levels}, start_level={start_level}: their sum is below 2**31."
        )

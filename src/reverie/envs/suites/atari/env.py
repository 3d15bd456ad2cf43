"""Atari 2600 games as gymnasium environments, on the emulator of `ale_py`.

Bellemare et al., "The Arcade Learning Environment" (arXiv 1207.4708); sticky actions and the full
action set after Machado et al., "Revisiting the Arcade Learning Environment" (arXiv 1709.06009).
"""

import functools
from typing import Any

import ale_py
import gymnasium
import numpy as np
from ale_py import roms

from reverie.config.sections.env import AtariConfig
from reverie.envs.errors import UnknownTaskError, unknown_task
from reverie.envs.suites.atari.frames import Frames

FRAME_LIMIT = 108_000
"""Frames of a game after which it is cut off: half an hour of play."""

FRAME_RATE = 60
"""Frames per second of the console."""

STICKY = 0.25
"""Probability per frame that the emulator keeps the previous action."""

LIFE_LOST = "log/is_terminal"
"""With `lives="discount"`: 1 in the `info` of a step that lost a life, otherwise 0."""

# Otherwise every emulator prints its version, its ROM and its seed.
ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


class Atari(gymnasium.Env):
    """One game: uint8 images [height, width, 1 or 3] and a Discrete action.

    A game ends by termination when it is over and by truncation at the frame limit. `info` holds
    `lives` and `episode_frame_number`, which counts the frames of the game.

    What a lost life does while the game goes on:
        unused: Nothing.
        discount: `info["log/is_terminal"]` is 1, because gymnasium has no flag for a state whose
            value is 0 without a reset.
        reset: The step is terminated and the next `reset` without a seed goes on with the next
            life, without no-ops. Other resets start a new game.

    Args:
        name: Such as `pong`; underscores may be added or left out, as in `james_bond`.
        **options: Those of `AtariConfig`.

    Attributes:
        suite: First part of the task's name.
        options: Class of the options.
        limit: Frames of a game until it is truncated.
        press_fire: Whether fire is pressed at the start.

    Raises:
        UnknownTaskError: There is no such game, or it needs several players.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own interface)
    render_mode = "rgb_array"
    suite, options, limit = "atari", AtariConfig, FRAME_LIMIT

    def __init__(self, name: str, **options: Any):
        given = self.options(**options)
        rom = find(self.suite, name)
        self.task_name = f"{self.suite}_{rom}"
        self._path = str(roms.get_rom_path(rom))
        self._repeat, self._noops, self._pooling = given.repeat, given.noops, given.pooling
        self.metadata = {**self.metadata, "render_fps": FRAME_RATE / given.repeat}
        self._lives_mode, self._clip = given.lives, given.clip_reward
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", STICKY if given.sticky else 0.0)
        self._ale.setInt("max_num_frames_per_episode", self.limit)
        self._load(seed=0)
        needed = self._ale.getMinimalActionSet()
        self._actions = self._ale.getLegalActionSet() if given.actions == "all" else needed
        self.press_fire = given.autostart and ale_py.Action.FIRE in needed
        self._frames = Frames(self._ale.getScreenDims(), given)
        self._started = self._life_over = False
        self._lives = 0
        self.observation_space = gymnasium.spaces.Box(0, 255, self._frames.shape, np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(self._actions))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts a game, or goes on with the next life (see `lives`)."""
        super().reset(seed=seed)
        if seed is not None or not self._started:
            self._load(int(self.np_random.integers(2**31 - 1)))
        if seed is not None or not self._life_over:
            self._ale.reset_game()
            self._hold(ale_py.Action.NOOP, int(self.np_random.integers(self._noops + 1)))
        if self.press_fire:
            self._hold(ale_py.Action.FIRE, self._repeat)
        self._started, self._life_over = True, False
        self._lives = self._ale.lives()
        self._ale.getScreenRGB(self._frames.next())
        self._frames.spread()
        return self._frames.image(), self._info(life_lost=False)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Plays `repeat` frames with one action, fewer where the game ends."""
        self._check_started()
        if not 0 <= action < len(self._actions):
            raise ValueError(
                f"{self.task_name}: the action is {action}, expected 0 to {len(self._actions) - 1}."
            )
        reward = float(self._play(self._actions[int(action)]))
        terminated = self._ale.game_over(with_truncation=False)
        truncated = self._ale.game_truncated() and not terminated
        lives = self._ale.lives()
        # Some games count down to 0 with the last life still in play; its end is the game's.
        life_lost = 0 < lives < self._lives and not (terminated or truncated)
        self._lives = lives
        self._life_over = life_lost and self._lives_mode == "reset"
        reward = float(np.sign(reward)) if self._clip else reward
        info = self._info(life_lost)
        return self._frames.image(), reward, terminated or self._life_over, truncated, info

    def render(self) -> np.ndarray:
        """The last frame as the emulator draws it, uint8 [height, width, 3]."""
        self._check_started()
        return self._ale.getScreenRGB()

    def _play(self, action: ale_py.Action) -> int:
        """Emulates the frames of a step and keeps the last ones."""
        reward, last = 0, self._repeat - 1
        for frame in range(self._repeat):
            reward += self._ale.act(action)
            over = self._ale.game_over()
            if over or frame > last - self._pooling:
                self._ale.getScreenRGB(self._frames.next())
            if over and frame < last:
                # Frames of the step before would show through the last image.
                self._frames.spread()
                break
        return reward

    def _hold(self, action: ale_py.Action, frames: int) -> None:
        """Plays frames outside the agent's steps; a game that ends there starts anew."""
        for _ in range(frames):
            self._ale.act(action)
            if self._ale.game_over():
                self._ale.reset_game()

    def _load(self, seed: int) -> None:
        # The emulator reads its seed only when it loads a game.
        self._ale.setInt("random_seed", seed)
        self._ale.loadROM(self._path)

    def _info(self, life_lost: bool) -> dict[str, Any]:
        info: dict[str, Any] = {
            "lives": self._lives,
            "episode_frame_number": self._ale.getEpisodeFrameNumber(),
        }
        if self._lives_mode == "discount":
            info[LIFE_LOST] = float(life_lost)
        return info

    def _check_started(self) -> None:
        if not self._started:
            raise gymnasium.error.ResetNeeded("Call reset() before step() or render().")


make = Atari


def tasks() -> list[str]:
    """Names of the games."""
    return [rom for rom in sorted(roms.get_all_rom_ids()) if _playable(rom)]


def find(suite: str, name: str) -> str:
    """The ROM that a task name means, whatever its underscores.

    Raises:
        UnknownTaskError: There is no such game, or it needs several players.
    """
    spellings = {rom.replace("_", ""): rom for rom in roms.get_all_rom_ids()}
    rom = spellings.get(name.lower().replace("_", ""))
    if rom and _playable(rom):
        return rom
    if rom:
        raise UnknownTaskError(
            f"The game '{suite}_{name}' has no mode for one player. See "
            f"reverie.envs.registry.tasks({suite!r}) for the games that have."
        )
    raise unknown_task(suite, name.lower(), spellings.values())


@functools.cache
def _playable(rom: str) -> bool:
    # The emulator ends the whole process when it loads a game that it cannot play.
    path = roms.get_rom_path(rom)
    return path is not None and bool(ale_py.ALEInterface.isSupportedROM(path))

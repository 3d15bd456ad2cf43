"""Atari games on the vector environment of `ale_py`, whose threads step all games at once."""

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import ale_py
import numpy as np
from ale_py.vector_env import AtariVectorEnv

from reverie.envs.backend import cores
from reverie.envs.batched import BatchedVectorEnv, Engine, Results
from reverie.envs.errors import OptionError
from reverie.envs.suites.atari_frames import LUMA
from reverie.envs.suites.atari_game import FRAME_LIMIT, LIFE_LOST, STICKY, Atari

Backend = Literal["process", "native"]

_DEFAULTS = {key: each.default for key, each in inspect.signature(Atari).parameters.items()}
_LIMITED = ("size", "repeat", "pooling", "aggregate", "resize")


class AtariEngine(Engine):
    """N games with the settings of `Atari`, where ALE has them too.

    What differs from `Atari`:

    - Of a step that a game does not finish ALE draws no new frames, so that the last image of a
      game can be the one before.
    - `autostart` presses fire for one frame in place of a step.
    - `lives="reset"` goes on with the next life after one step without action, or with fire where
      `autostart` presses it.
    - The random numbers behind sticky actions and no-ops are others.

    Args:
        suite: First part of the task's name.
        name: The game.
        num_envs: N.
        limit: Frames of a game until it is truncated.
        options: Those of `Atari`.

    Raises:
        UnknownTaskError: There is no such game, or it needs several players.
        OptionError: An option outside its range, or one that ALE's vector environment cannot do.
    """

    def __init__(
        self, suite: str, name: str, num_envs: int, limit: int = FRAME_LIMIT, **options: Any
    ):
        # A single game checks the options and knows the spaces.
        game = Atari(name, suite=suite, limit=limit, **options)
        options = {**_DEFAULTS, **options}
        check_backend("native", suite, game.screen, *(options[key] for key in _LIMITED))
        self.name, self.num_envs = game.task_name, num_envs
        self.observation_space, self.action_space = game.observation_space, game.action_space
        self._lives_mode, self._clip, self._gray = (
            options[key] for key in ("lives", "clip_reward", "gray")
        )
        self._go_on = game.index(ale_py.Action.FIRE if game.press_fire else ale_py.Action.NOOP)
        # The brightest gray value of two frames is not the gray value of their brightest colours,
        # which `Atari` takes.
        self._draws_gray = self._gray and options["pooling"] == 1
        height, width = options["size"]
        self._games: AtariVectorEnv | None = AtariVectorEnv(
            game.rom,
            num_envs,
            num_threads=min(num_envs, cores()),
            max_num_frames_per_episode=limit,
            repeat_action_probability=STICKY if options["sticky"] else 0.0,
            full_action_space=options["actions"] == "all",
            img_height=height,
            img_width=width,
            grayscale=self._draws_gray,
            stack_num=1,
            frameskip=options["repeat"],
            maxpool=options["pooling"] == 2,
            # ALE draws a number below this one.
            noop_max=options["noops"] + 1,
            use_fire_reset=game.press_fire,
            reward_clipping=False,
        )
        self._lives = np.zeros(num_envs, np.int32)
        # Games whose step was or will be a reset, and lives that ended in the step before.
        self._over = np.zeros(num_envs, bool)
        self._life_over = np.zeros(num_envs, bool)

    def reset(self, seeds: Sequence[int] | None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Starts new games."""
        images, info = self._engine.reset(seed=None if seeds is None else np.array(seeds, np.int32))
        self._lives = info["lives"].copy()
        self._over[:] = self._life_over[:] = False
        return self._images(images), self._logs(self._over)

    def send(self, actions: np.ndarray) -> None:
        """Begins a step of all games."""
        self._engine.send(np.where(self._life_over, self._go_on, actions).astype(np.int32))

    def recv(self) -> Results:
        """Ends the step."""
        images, rewards, terminated, truncated, info = self._engine.recv()
        lives = info["lives"].copy()
        over = terminated | truncated
        # Some games count down to 0 with the last life still in play; its end is the game's.
        lost = (lives > 0) & (lives < self._lives) & ~over & ~self._over
        self._lives, self._over = lives, over
        self._life_over = lost & (self._lives_mode == "reset")
        rewards = np.sign(rewards) if self._clip else rewards
        images, logs = self._images(images), self._logs(lost)
        return images, rewards, terminated | self._life_over, truncated, logs

    def close(self) -> None:
        """Ends the threads."""
        self._games = None

    def _images(self, images: np.ndarray) -> np.ndarray:
        """[N, height, width, 1 or 3] of what the engine draws: [N, 1, height, width, ...]."""
        if self._draws_gray:
            return images[:, 0, :, :, None]
        colours = images[:, 0]
        return np.rint(colours @ LUMA)[..., None].astype(np.uint8) if self._gray else colours

    def _logs(self, lost: np.ndarray) -> dict[str, np.ndarray]:
        return {LIFE_LOST: lost.astype(np.float32)} if self._lives_mode == "discount" else {}

    @property
    def _engine(self) -> AtariVectorEnv:
        if self._games is None:
            raise RuntimeError(f"{self.name} was closed.")
        return self._games


def native_games(
    suite: str,
    name: str,
    num_envs: int,
    seeds: Sequence[int],
    backend: Backend = "process",
    **options: Any,
) -> BatchedVectorEnv | None:
    """The games of a suite on one engine where `backend` is `native`; None where it is not."""
    if backend != "native":
        return None
    return BatchedVectorEnv(AtariEngine(suite, name, num_envs, **options), seeds)


def check_backend(
    backend: str,
    suite: str,
    screen: Sequence[int],
    size: Sequence[int],
    repeat: int,
    pooling: int,
    aggregate: str,
    resize: str,
) -> None:
    """Raises OptionError where `native` is asked for with settings that it cannot do.

    Args:
        backend: `process` or `native`.
        suite: First part of the option names in the message.
        screen: Height and width of the frames.
        size: The option of that name, like all that follow.
        repeat: Frames per step.
        pooling: How many of the last frames make an image.
        aggregate: How.
        resize: Interpolation.
    """
    if backend not in ("process", "native"):
        raise OptionError(f"backend={backend!r}: choose one of process, native.")
    largest = f"{screen[0]} {screen[1]} or less"
    problems = (
        (resize != "area", "resize", resize, "area"),
        (aggregate != "max" and pooling > 1, "aggregate", aggregate, "max"),
        (pooling > min(repeat, 2), "pooling", pooling, min(repeat, 2)),
        (size[0] > screen[0] or size[1] > screen[1], "size", list(size), largest),
    )
    for wrong, key, value, mend in problems:
        if wrong and backend == "native":
            raise OptionError(
                f"env.{suite}.{key} is {value!r}, which ALE's vector environment cannot do: set "
                f"env.{suite}.{key} {mend}, or env.{suite}.backend process."
            )

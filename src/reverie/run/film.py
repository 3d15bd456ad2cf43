"""Films evaluation episodes."""

import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import error as gym_error
from gymnasium import spaces as gs

from reverie.envs.errors import MissingPackageError
from reverie.envs.flat.conform import name_of
from reverie.extras import install
from reverie.track.stats import MAX_FRAMES
from reverie.track.video import write_video

Factory = Callable[[], gymnasium.Env]

KEY = "log/video"
FRAMES = f"epstats/{KEY}"
"""Where the record of a filmed episode has its pictures [T, H, W, C]."""


class FilmingError(RuntimeError):
    """An environment gives no pictures to film."""


class Filmed(gymnasium.ObservationWrapper):
    """Adds the picture of every step to the observations of a wrapped environment, for the logger.

    Environments with images in their observations show the first of them, others are rendered.

    Args:
        env: A wrapped environment.

    Raises:
        MissingPackageError: If a package that draws its pictures is not installed.
        FilmingError: If it has no images and does not render any.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        assert isinstance(env.observation_space, gs.Dict)
        spaces = dict(env.observation_space.spaces)
        self._image = next((k for k, s in sorted(spaces.items()) if _is_image(s)), None)
        obs, _ = env.reset()
        frame = self._frame(obs)
        self.observation_space = gs.Dict({**spaces, KEY: gs.Box(0, 255, frame.shape, np.uint8)})

    def observation(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The observation with the picture."""
        return {**observation, KEY: self._frame(observation)}

    def _frame(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        if self._image is not None:
            return obs[self._image]
        frame = None
        try:
            frame = self.env.render()
        except NotImplementedError:
            pass  # As if it returned nothing.
        except gym_error.DependencyNotInstalled as error:
            raise MissingPackageError(
                f"{name_of(self.env)} cannot be filmed, because a package is missing: "
                f"{install('video')} ({error})"
            ) from error
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3:
            raise FilmingError(
                f"{name_of(self.env)} cannot be filmed: it has no image observation, and "
                f"render() gave {type(frame).__name__} in place of a uint8 image [H, W, C]. The "
                "environment needs an argument render_mode that accepts 'rgb_array', and a "
                "render() that returns such images."
            )
        return frame


def filmed(factory: Factory, plain: Factory) -> Factory:
    """A factory of the same environments with a picture of every step.

    Args:
        factory: Makes one that renders, if it can.
        plain: Makes one that was not asked to render.
    """
    return functools.partial(_film, factory, plain)


def write_film(path: pathlib.Path, records: Sequence[dict[str, Any]], fps: float) -> pathlib.Path:
    """Writes the filmed episodes, one after the other.

    Args:
        path: Where to write, without an extension.
        records: Records of the episodes; some of them hold frames.
        fps: Frames per second.
    """
    frames = [record[FRAMES] for record in records if FRAMES in record]
    return write_video(path, np.concatenate(frames), fps)


def cut_films(records: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Says so where a film does not show all of an episode."""
    longest = max(r["episode/length"] + 1 for r in records if FRAMES in r)
    if longest <= MAX_FRAMES:
        return ()
    return (
        f"The film shows the first {MAX_FRAMES:,} frames of each episode; the longest has "
        f"{longest:,}.",
    )


def _film(factory: Factory, plain: Factory) -> gymnasium.Env:
    # Environments that draw with SDL need no window for pictures, and complain about its absence.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    try:
        env = factory()
    except Exception:
        # Not every environment takes a render mode, and one with images needs none.
        env = plain()
    return Filmed(env)


def _is_image(space: gymnasium.Space) -> bool:
    shape = space.shape or ()
    return space.dtype == np.uint8 and len(shape) == 3 and shape[2] in (1, 3, 4)

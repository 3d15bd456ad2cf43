"""Films evaluation episodes: the only place that does."""

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import error as gym_error
from gymnasium import spaces as gs

from reverie.actors.collector import Rollout
from reverie.actors.evaluate import Evaluation, evaluate
from reverie.actors.host import Actor
from reverie.disk import is_full
from reverie.envs.errors import MissingPackageError
from reverie.envs.flat.conform import name_of
from reverie.envs.images import resize
from reverie.envs.vector.vector import VectorEnv
from reverie.extras import install
from reverie.learner.policy import Policy
from reverie.spaces import LATENT_PREFIX, PICTURE
from reverie.track.encoding.video import VideoWriter
from reverie.track.pictures.panel import Panel

Factory = Callable[[], gymnasium.Env]

HOLD = 0.8
"""Seconds for which the end of an episode stays, so that it can be seen."""


class FilmingError(RuntimeError):
    """An environment gives no pictures to film."""


class Filmed(gymnasium.ObservationWrapper):
    """Adds the picture of every step to the observations of a wrapped environment, for the logger.

    Environments with images in their observations show the first of them, others are rendered.

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
        self._last = frame = self._frame(obs)
        self._size = frame.shape[0], frame.shape[1]
        self.observation_space = gs.Dict({**spaces, PICTURE: gs.Box(0, 255, frame.shape, np.uint8)})

    def observation(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The observation with the picture; where none can be drawn, the one before stays."""
        try:
            frame = self._frame(observation)
            if frame.shape[:2] != self._size:  # As plots are, cut to what is on them.
                frame = resize(frame, self._size)
            self._last = frame
        except FilmingError as error:  # The episodes are worth more.
            self.env.get_wrapper_attr("converter").warnings[PICTURE] = (
                f"In a part of the film the picture before it stays: {error}"
            )
        return {**observation, PICTURE: self._last}

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
        except Exception as error:
            said = f"render() raised {type(error).__name__}: {error}"
            raise FilmingError(f"{name_of(self.env)} cannot be filmed: {said}") from error
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3:
            raise FilmingError(
                f"{name_of(self.env)} cannot be filmed: it has no image observation, and "
                f"render() gave {type(frame).__name__} in place of a uint8 image [H, W, C]. The "
                "environment needs an argument render_mode that accepts 'rgb_array', and a "
                "render() that returns such images. One that is passed from Python has to be made "
                "with it: functools.partial(MyEnv, render_mode='rgb_array')."
            )
        return frame


def filmed(factory: Factory, plain: Factory) -> gymnasium.Env:
    """Makes an environment with a picture of every step.

    Args:
        factory: Makes one that renders, if it can.
        plain: Makes one that was not asked to render.
    """
    # Environments that draw with SDL need no window for pictures, and complain about its absence.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    try:
        env = factory()
    except Exception:
        # Not every environment takes a render mode, and one with images needs none.
        env = plain()
    return Filmed(env)


def film_episodes(
    policy: Actor,
    envs: VectorEnv,
    episodes: int,
    path: pathlib.Path | None,
    fps: float,
    **how: Any,
) -> tuple[Evaluation, list[dict[str, Any]]]:
    """Plays episodes as `evaluate` does, and films those of the first environment.

    The film has every step, with the reward below it, and with what the agent expects.

    Args:
        policy, envs, episodes: As for `evaluate`; the environments are of `filmed`.
        path: Where to write; without an extension it gets that of what is installed, `.mp4` or
            `.gif`. None films nothing.
        fps: Frames per second.
        **how: More of `evaluate`. If that is a `note`, it is told of a film that could not be
            written, which is an error otherwise, and of one that was cut, which is a warning.

    Returns:
        What `evaluate` does, with the film as the `video` of the evaluation if there is one.

    Raises:
        FilmingError: If it is to be a file of another kind.
        MissingPackageError: If it is to be an mp4 and what writes that is not installed.
    """
    if path is None:
        return evaluate(policy, envs, episodes, **how)
    path, format = path.expanduser(), "auto"
    if path.suffix[1:].isidentifier():
        if path.suffix not in (".mp4", ".gif"):
            raise FilmingError(f"A film is written as .mp4 or .gif, and not as {path.name}.")
        path, format = path.with_suffix(""), path.suffix[1:]
    try:
        writer = VideoWriter(path, fps, format)
    except ImportError as error:
        raise MissingPackageError(str(error)) from error
    share = -(-episodes // envs.num_envs)
    played = None
    try:
        with writer:
            film = _Film(writer, policy, share, round(HOLD * fps))
            callbacks = [*how.pop("callbacks", ()), film]
            played = evaluate(policy, envs, episodes, callbacks, **how)
    except (RuntimeError, OSError) as error:
        # The episodes are worth more.
        if played is None or "note" not in how:
            raise
        full = f"the disk of {path.parent} is full."
        how["note"](f"There is no film: {full if is_full(error) else error}")
        return played
    if not writer.count:
        return played
    if film.cut:
        how.get("note", warnings.warn)(
            f"The film ends after {writer.count:,} frames, as a longer gif would take too much "
            f"memory. An mp4 has no such limit: {install('video')}."
        )
    return dataclasses.replace(played[0], video=writer.path), played[1]


class _Film:
    """Writes the steps of the first environment as they come, as a callback of `evaluate`.

    Args:
        writer: Receives the frames.
        policy: Says what the agent expects.
        episodes: How many of its episodes count; what it plays beyond them is left out.
        hold: How often the last picture of each is repeated.

    Attributes:
        cut: Whether there were more steps than the writer has room for.
    """

    def __init__(self, writer: VideoWriter, policy: Actor, episodes: int, hold: int):
        self._writer = writer
        self._policy = policy
        self._episodes = episodes
        self._hold = hold
        self._ended = 0
        self._panel = Panel()
        self.cut = False

    def __call__(self, rollout: Rollout) -> None:
        if self._ended == self._episodes:
            return
        (step,) = rollout.rows()
        if self._writer.count >= self._writer.most:
            self.cut = True
            return
        expected = {}
        latents = {k: x[:1] for k, x in step.items() if k.startswith(LATENT_PREFIX)}
        if isinstance(self._policy, Policy) and latents:
            expected = {k: float(x[0]) for k, x in self._policy.expect(latents).items()}
        if step["is_first"][0]:
            many = self._episodes > 1
            self._panel = Panel(f"episode {self._ended + 1} of {self._episodes}" * many)
        frame = self._panel.frame(step[PICTURE][0], float(step["reward"][0]), expected)
        ended = bool(step["is_last"][0])
        self._ended += ended
        for _ in range(1 + ended * self._hold):
            self._writer.add(frame)


def _is_image(space: gymnasium.Space) -> bool:
    shape = space.shape or ()
    return space.dtype == np.uint8 and len(shape) == 3 and shape[2] in (1, 3, 4)

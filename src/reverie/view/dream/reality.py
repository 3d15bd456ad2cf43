"""The environment of a run beside a dream."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from reverie.config.schema import Config
from reverie.envs import errors
from reverie.envs.flat.conform import spaces
from reverie.errors import ConfigError
from reverie.run.environments.film import FilmingError
from reverie.run.environments.source import EnvSource
from reverie.run.load import OpenedRun
from reverie.spaces import PICTURE, Space
from reverie.view.content import jpeg
from reverie.view.dream.truth import DreamError, Step, equal

_ALONE = "From here on you see the dream alone."


class Reality:
    """An environment that follows the actions of a dream.

    It cannot be set back. Where a dream goes on from an earlier frame, its episode begins again
    from the same seed and is played up to there; an environment that then shows something else
    than the first time is left out from there on.

    Args:
        env: A wrapped environment; closed by `close`.
        obs_space: What the agent sees of it.
        seed: Of its episode.
    """

    name = "environment"

    def __init__(self, env: gymnasium.Env, obs_space: Mapping[str, Space], seed: int):
        self._env, self._keys, self._seed = env, tuple(obs_space), seed
        # The actions of its episode so far; None where that is not known.
        self._done: list[dict[str, np.ndarray]] | None = None
        self.note = ""

    @property
    def action_names(self) -> list[str]:
        """What the environment calls the classes of its only discrete action, if it says so."""
        with contextlib.suppress(Exception):  # Most environments have no such function.
            unwrapped: Any = self._env.unwrapped
            return [str(name) for name in unwrapped.get_action_meanings()]
        return []

    def reset(self) -> Step:
        """Begins the episode of its seed."""
        obs, _ = self._env.reset(seed=self._seed)
        self._done = []
        return self._step(obs, 0.0, is_first=True, is_last=False, is_terminal=False)

    def after(
        self, history: list[dict[str, np.ndarray]], action: Mapping[str, np.ndarray], last: Step
    ) -> Step | None:
        """The step that follows; None after the end of the episode, or where it cannot be told."""
        if last.is_last:
            return None
        try:
            if not self._reach(history, last):
                return None
            return self._act(history, action)
        except Exception as error:  # Whatever its own code raises.
            self._done = None
            self.note = f"The environment raised {type(error).__name__}: {error}. {_ALONE}"
            return None

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def _reach(self, history: list[dict[str, np.ndarray]], last: Step) -> bool:
        """Whether the environment is where these actions lead, played again if need be."""
        done = self._done
        if done is not None and len(done) == len(history) and all(map(equal, done, history)):
            return True
        now = self.reset()
        for count, action in enumerate(history):
            now = self._act(history[:count], action)
        if all(np.array_equal(now.obs[key], last.obs[key]) for key in self._keys):
            return True
        self.note = (
            "This environment does not repeat itself from a seed, so it cannot go back to an "
            f"earlier frame. {_ALONE}"
        )
        return False

    def _act(
        self, history: Sequence[dict[str, np.ndarray]], action: Mapping[str, np.ndarray]
    ) -> Step:
        # Copies, because environments may write into their actions.
        given = {key: np.array(value) for key, value in action.items()}
        self._done = None
        obs, reward, terminated, truncated, _ = self._env.step(given)
        self._done = [*history, dict(action)]
        flags = {"is_first": False, "is_last": terminated or truncated, "is_terminal": terminated}
        return self._step(obs, float(reward), **flags)

    def _step(self, obs: Mapping[str, Any], reward: float, **flags: bool) -> Step:
        # Copies, because environments may write into what they have returned.
        seen = {key: np.array(obs[key]) for key in self._keys}
        picture = jpeg(obs[PICTURE]) if PICTURE in obs else None
        return Step(seen, reward, **flags, picture=picture)


def open_reality(run: OpenedRun, seed: int) -> Reality:
    """Makes the environment of a run, with pictures where its observations are none.

    Raises:
        DreamError: If it must not or cannot be made, or is another one than the agent was trained
            in.
    """
    obs_space, act_space = run.converter.spaces
    images = any(space.kind == "image" for space in obs_space.values())
    try:
        run.permitted()
        env = _make(run.config, filmed=not images)
    except Exception as error:  # Whatever its own code raises.
        known = isinstance(error, ConfigError | ImportError | errors.UnknownTaskError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        raise DreamError(
            f"The environment of this run cannot be made here, so dream from a step of replay "
            f"instead. {reason}"
        ) from error
    found = [{k: s for k, s in x.items() if k != PICTURE} for x in spaces(env)]
    if found != [obs_space, act_space]:
        env.close()
        raise DreamError(
            f"The task {run.config.task} has other spaces here than the agent was trained with: "
            f"observations {found[0]} and actions {found[1]}, instead of {obs_space} and "
            f"{act_space}. Dream from a step of replay instead."
        )
    return Reality(env, obs_space, seed)


def _make(config: Config, filmed: bool) -> gymnasium.Env:
    source = EnvSource(config.task, config.env, filmed=filmed)
    try:
        return source.factory()()
    except (errors.MissingPackageError, FilmingError):
        if not filmed:
            raise
        return _make(config, filmed=False)

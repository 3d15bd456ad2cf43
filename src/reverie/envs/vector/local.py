"""One environment that steps in this process, asked as one in a process of its own is."""

import logging
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from reverie.envs.errors import OptionError, raised
from reverie.envs.flat.logs import only_logs
from reverie.envs.wrappers import wrap
from reverie.errors import Note, is_own, own_notes

log = logging.getLogger("reverie.envs")

Outcome = tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]

_IN_USE: "weakref.WeakValueDictionary[int, gymnasium.Env]" = weakref.WeakValueDictionary()
"""The environments that are open in this process, by identity."""


def build(factory: Callable[[], gymnasium.Env]) -> gymnasium.Env:
    """An environment as vectors have it: a step after the end of an episode begins the next one."""
    return gymnasium.wrappers.Autoreset(wrap(factory()))


def play(env: gymnasium.Env, request: str, given: Any) -> Outcome:
    """Answers `reset` with a seed or `step` with an action, where infos hold `log/` keys alone."""
    if request == "reset":
        obs, info = env.reset(seed=given)
        return obs, 0.0, False, False, only_logs(env, info)
    obs, reward, terminated, truncated, info = env.step(given)
    return obs, float(reward), terminated, truncated, only_logs(env, info)


class LocalEnv:
    """An environment that is built, reset and stepped when it is asked for its answer."""

    def __init__(self, index: int, factory: Callable[[], gymnasium.Env]):
        self.index = index
        self._factory = factory
        self._env: gymnasium.Env | None = None
        self._request: tuple[str, Any] = ("reset", None)

    def send(self, request: str, given: Any) -> None:
        """Requests something, see `play`."""
        self._request = request, given

    def answer(self) -> Any:
        """The spaces at first, after that what `play` returns to the last request.

        Raises:
            Exception: What the environment raises, with a note where it comes from.
        """
        try:
            if self._env is not None:
                obs, *others = play(self._env, *self._request)
                # Some draw into one buffer together, and the next one does before this is stacked.
                return {key: np.array(value) for key, value in obs.items()}, *others
            self._env = self._build()
            return self._env.observation_space, self._env.action_space
        except (Exception, SystemExit) as error:
            steps = self._env.get_wrapper_attr("steps") if self._env else 0
            said = f"Environment {self.index} raised {raised(error, steps)}"
            if isinstance(error, SystemExit):
                log.warning(said)  # It ends the process without a word, as if all were well.
            # Our own explain themselves.
            elif not (is_own(error) or own_notes(error)):
                error.add_note(Note(said))
            raise

    def close(self) -> None:
        """Closes the environment, which may then be used again; a second call does nothing."""
        if self._env is not None:
            _IN_USE.pop(id(self._env.unwrapped), None)
            self._env.close()
            self._env = None

    kill = close

    def _build(self) -> gymnasium.Env:
        """A new environment; one that is stepped already would mix up two episodes."""
        env = build(self._factory)
        if id(env.unwrapped) in _IN_USE:
            raise OptionError(
                f"Environment {self.index} is the same object as one that is in use: the function "
                "that makes environments has returned it again. Make a new one in every call, or "
                "pass the environment itself, so that it is known to be the only one."
            )
        _IN_USE[id(env.unwrapped)] = env.unwrapped
        return env


def collect(envs: Sequence[LocalEnv]) -> tuple[dict[int, Any], dict[int, Exception]]:
    """Answers of some environments, and what went wrong with the others, by their numbers."""
    answers, failed = {}, {}
    for env in envs:
        try:
            answers[env.index] = env.answer()
        except Exception as error:
            failed[env.index] = error
    return answers, failed

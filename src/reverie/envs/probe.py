"""What an environment says about itself before a run begins, and a stand-in with its spaces."""

import dataclasses
from typing import Any

import gymnasium

from reverie.envs.flat.conform import Conform, name_of
from reverie.envs.flat.masks import MaskFromInfo


@dataclasses.dataclass(frozen=True)
class Probe:
    """What was seen of an environment.

    Attributes:
        name: Its name in messages.
        observation_space: Observation space before Reverie's wrappers.
        action_space: Action space before Reverie's wrappers.
        masked: Whether its infos have masks that are used.
    """

    name: str
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    masked: bool


class StandIn(gymnasium.Env):
    """Has the spaces of an environment, plays an observation back and keeps the last action.

    Args:
        name: What messages call it.
        observation_space: As the environment declares it.
        action_space: As the environment declares it.

    Attributes:
        obs: What a reset or step returns.
        action: What the last step was given.
    """

    def __init__(
        self, name: str, observation_space: gymnasium.Space, action_space: gymnasium.Space
    ):
        self.task_name = name
        self.observation_space = observation_space
        self.action_space = action_space
        self.obs: Any = None
        self.action: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Plays the observation back."""
        return self.obs, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Keeps the action."""
        self.action = action
        return self.obs, 0.0, False, False, {}


def native(env: gymnasium.Env) -> gymnasium.Env:
    """The environment inside the wrappers that `reverie.envs.wrappers.wrap` added."""
    inner = env
    while isinstance(inner, gymnasium.Wrapper):
        found, inner = isinstance(inner, Conform), inner.env
        if found:
            return inner
    return env


def probe(env: gymnasium.Env) -> Probe:
    """Looks at a wrapped environment."""
    inner = native(env)
    masked = isinstance(inner, MaskFromInfo)
    return Probe(name_of(env), inner.observation_space, inner.action_space, masked)

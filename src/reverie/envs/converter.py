"""Between an environment's own values and the flat arrays of an agent, without an environment."""

from typing import Any

import gymnasium
import numpy as np

from reverie.envs.flat.conform import spaces
from reverie.envs.probe import StandIn
from reverie.envs.wrappers import wrap


class Converter:
    """Translates between an environment's own spaces and the flat arrays of the agent.

    It sends values through the very wrappers that training uses, around a stand-in that plays them
    back, so that the two cannot differ.

    Args:
        observation_space: As the environment declares it.
        action_space: As the environment declares it.
        size: Height and width to which images were resized in training; empty for none.
        name: What messages call the environment.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        size: tuple[int, ...] = (),
        name: str = "the environment",
    ):
        self._stand_in = StandIn(name, observation_space, action_space)
        self._wrapped = wrap(self._stand_in, size=size, bounds="ignore")

    @property
    def native(self) -> gymnasium.Env:
        """A stand-in with the spaces that the environment declares."""
        return self._stand_in

    @property
    def wrapped(self) -> gymnasium.Env:
        """An environment with the agent's spaces."""
        return self._wrapped

    def observation(self, obs: Any) -> dict[str, np.ndarray]:
        """Flat arrays of an observation, without `log/` keys."""
        self._stand_in.obs = obs
        flat, _ = self._wrapped.reset()
        return {key: np.asarray(flat[key]) for key in spaces(self._wrapped)[0]}

    def action(self, flat: dict[str, np.ndarray]) -> Any:
        """The action that the environment takes."""
        self._wrapped.step(flat)
        return self._stand_in.action

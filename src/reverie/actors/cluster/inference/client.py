"""What an actor has in the place of a policy."""

import time
from typing import Any, Literal

import numpy as np
import ray
from ray import exceptions

from reverie.actors.cluster.chunk import Failure

PAUSE = 0.5
"""Seconds before a server that has died is asked again: the learner will start it."""


class ServedPolicy:
    """Asks the inference server, and keeps what is to be remembered of the environments.

    Args:
        name: Of the server, and of its namespace.
    """

    def __init__(self, name: tuple[str, str]):
        self._server = ray.get_actor(*name)
        self._oldest: int | None = None

    def take_version(self) -> int:
        """The oldest parameters that have acted since the last call."""
        version, self._oldest = self._oldest, None
        assert version is not None
        return version

    def init(self, num: int) -> None:
        """The server knows what is remembered before the first step."""

    def act(
        self, carry: Any, obs: dict[str, np.ndarray], mode: Literal["train", "eval"] = "train"
    ) -> tuple[Any, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """As `Policy.act`, as often as it takes until there is a server that answers.

        Raises:
            Exception: What acting has raised.
        """
        assert mode == "train"
        while True:
            try:
                answer: Any = ray.get(self._server.act.remote(carry, obs))
                break
            except exceptions.RayActorError:
                time.sleep(PAUSE)
        if isinstance(answer, Failure):
            raise answer.error("The inference server")
        oldest = answer.version if self._oldest is None else self._oldest
        self._oldest = min(answer.version, oldest)
        return answer.carry, answer.actions, answer.latents

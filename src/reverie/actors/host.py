"""Rollouts of environments on this machine, in lockstep."""

from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from reverie.actors.collector import Arrays, Rollout
from reverie.clocks import Stopwatch
from reverie.envs.vector.vector import VectorEnv
from reverie.spaces import FLAGS

if TYPE_CHECKING:
    from reverie.learner.policy import Params


class Actor(Protocol):
    """Chooses actions: a `Policy` or a `RandomPolicy`."""

    def init(self, num: int) -> Any:
        """What is remembered of `num` environments before their first step."""
        ...

    def act(
        self, carry: Any, obs: Arrays, mode: Literal["train", "eval"]
    ) -> tuple[Any, Arrays, Arrays]:
        """Returns the next carry, the actions and the latents for observations [N, ...]."""
        ...

    def set_params(self, params: "Params") -> None:
        """Acts with other parameters from the next step on."""
        ...


class HostCollector:
    """Moves N parallel environments one step at a time: each rollout is [1, N].

    The environments work between two calls of `collect`, while the caller stores the rollout and
    issues updates.

    Args:
        envs: The environments; they are reset at the first step, and closed by `close`.
        policy: Chooses the actions.
        mode: Passed to the policy.
        seed: Seed of the environments' first reset; None keeps those that they were made with.
        acting: Times the policy.
    """

    def __init__(
        self,
        envs: VectorEnv,
        policy: Actor,
        *,
        mode: Literal["train", "eval"] = "train",
        seed: int | None = None,
        acting: Stopwatch | None = None,
    ):
        self.envs = envs
        self._policy = policy
        self._mode: Literal["train", "eval"] = mode
        self._seed = seed
        self._visible = (*envs.obs_space, *FLAGS)
        self._carry = policy.init(envs.num_envs)
        self._stepping = False
        self._acting = acting or Stopwatch()

    @property
    def advice(self) -> str:
        """What to do where most of the time is spent waiting for steps; empty if nothing."""
        if self.envs.backend != "sync" or self.envs.num_envs == 1:
            return ""
        return "--run.env_backend async steps each of them in a process of its own."

    def metrics(self) -> dict[str, float]:
        """Counts for the logger."""
        return {"env/restarts": self.envs.restarts}

    def set_params(self, params: "Params") -> None:
        """Acts with other parameters from the next step on."""
        self._policy.set_params(params)

    def collect(self) -> Rollout:
        """Waits for the environments, acts and sets them going again.

        What interrupts it loses the step under way alone, which is then unknown to all.

        Returns:
            Their step [1, N, ...]: the observation that has just arrived, its reward, flags and
            `log/` keys, the actions chosen for it (zeros where `is_last`) and the latents.
        """
        obs = self.envs.step_wait() if self._stepping else self.envs.reset(self._seed)
        visible = {key: obs[key] for key in self._visible}
        with self._acting:
            self._carry, actions, latents = self._policy.act(self._carry, visible, self._mode)
        # Copies, because environments may write into their actions.
        actions = {key: np.array(value) for key, value in actions.items()}
        if np.count_nonzero(obs["is_last"]):
            for value in actions.values():
                value[obs["is_last"]] = 0  # Nobody will take them: the episode is over.
        self.envs.step_async(actions)
        self._stepping = True
        step = {**obs, **actions, **latents}
        steps = {key: value[None] for key, value in step.items()}
        return Rollout(steps, tuple(range(self.envs.num_envs)))

    def close(self) -> None:
        """Closes the environments."""
        self.envs.close()

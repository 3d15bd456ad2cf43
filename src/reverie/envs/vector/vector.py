"""`VectorEnv`: many environments that speak transitions."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np

from reverie.envs.flat.leaves import describe
from reverie.envs.vector.backend import choose
from reverie.envs.vector.batched import BatchedVectorEnv
from reverie.envs.vector.restarts import RESTARTED, Restarts
from reverie.envs.vector.seeds import env_seeds
from reverie.envs.vector.separate import SeparateEnvs

Backend = Literal["auto", "sync", "async", "native"]
Factory = Callable[[], gymnasium.Env]
Transition = dict[str, np.ndarray]

TERMINAL = "log/is_terminal"
"""Key of an info that marks a step as terminal without ending the episode."""

log = logging.getLogger("reverie.envs")


class VectorEnv:
    """Steps N environments together and returns transitions `dict[str, np.ndarray]` [N, ...].

    A transition holds the observation keys, `reward` float32, `is_first`, `is_last` and
    `is_terminal` bool, and `log/` keys: those of the observation space, and those of the infos as
    float32 with NaN where an environment gave none. Termination is `is_last` with `is_terminal`,
    truncation is `is_last` alone. `is_terminal` alone is a step that is to be learned as an end
    although the episode goes on, such as a lost life: its info has `log/is_terminal` 1. The step
    after `is_last` ignores its action and returns the first step of the next episode, with reward
    0. All arrays are fresh: later steps do not change them.

    An environment that fails after its first reset can be restarted. In place of the step that was
    lost comes the first one of a new episode, without an `is_last` before it: which observation
    would have been the last one is not known, so none is made up. Whoever learns from the stream
    takes a step followed by `is_first` as a truncation, as replay does.

    Args:
        factories: One function per environment; `wrappers.wrap` is applied where it was not.
        backend: `sync` steps them one after another in this process, `async` in one process
            each, `native` all together in `engine`; `auto` takes that where it is given, else
            `async` for several that are `slow`, else `sync`. `choice` says what and why.
        seeds: Seeds of the first reset of every environment; an integer is the run's seed that
            they derive from; None leaves it to the environments.
        timeout: Seconds until a process that does not answer counts as hung; None waits for ever.
            Applies to `async`.
        restarts: Decides about restarts of environments that raised, died or hung, and counts
            them; by default there are none. With `sync` only exceptions can be survived.
        engine: The same environments as one engine steps them together, where they have such a
            form; see `reverie.envs.registry.make_vec`. Then the factories are not called.
        slow: Whether their steps take long enough to be worth a process each.

    Attributes:
        num_envs: N.
        obs_space: Space of every observation key without `log/` keys.
        act_space: Space of every action key.
        backend: `sync`, `async` or `native`.
        choice: Why that backend, in a sentence.

    Raises:
        WorkerError: A process raised (with its traceback), died or hung, and is not restarted.
        ValueMismatchError: An environment returned a value outside its spaces (`sync`).
        Cancelled: When `restarts` says so during a wait.
    """

    def __init__(
        self,
        factories: Sequence[Factory],
        backend: Backend = "auto",
        seeds: int | Sequence[int] | None = None,
        *,
        timeout: float | None = None,
        restarts: Restarts | None = None,
        engine: BatchedVectorEnv | None = None,
        slow: bool = False,
    ):
        if not factories:
            raise ValueError("factories is empty: a VectorEnv needs at least one environment.")
        self.num_envs = len(factories)
        self._seeds = _spread(seeds, self.num_envs)
        self._restarts = restarts or Restarts()
        if engine is not None and backend in ("auto", "native"):
            if engine.num_envs != self.num_envs:
                raise ValueError(
                    f"engine has {engine.num_envs} environments, factories {self.num_envs}."
                )
            self.backend, self.choice = "native", "one engine steps all environments."
            self._inner = engine
        else:
            self.backend, self.choice = choose(factories, backend, slow)
            apart = self.backend == "async"
            self._inner = SeparateEnvs(factories, self._seeds, self._restarts, apart, timeout)
        log.info("%d environments, backend %s: %s", self.num_envs, self.backend, self.choice)
        self.obs_space = describe(self._inner.single_observation_space)
        self.act_space = describe(self._inner.single_action_space)
        self._act_shapes = {k: (self.num_envs, *s.shape) for k, s in self.act_space.items()}
        self._stepping = False
        self._over = np.zeros(self.num_envs, bool)

    @property
    def restarts(self) -> int:
        """How often an environment was restarted so far."""
        return self._restarts.total

    def reset(self, seeds: int | Sequence[int] | None = None) -> Transition:
        """Starts an episode everywhere; seeds take the place of those of the constructor."""
        stepping, self._stepping = self._stepping, False
        if stepping and self.backend != "sync":  # There a step begins when it is waited for.
            self._inner.step_wait()
        self._seeds = self._seeds if seeds is None else _spread(seeds, self.num_envs)
        obs, infos = self._inner.reset(seed=self._seeds)
        never = np.zeros(self.num_envs, bool)
        rewards = np.zeros(self.num_envs, np.float32)
        self._over = ~never
        return self._transition(obs, rewards, never, never, infos)

    def step_async(self, actions: Mapping[str, np.ndarray]) -> None:
        """Begins a step; with `async` and `native` the environments run until `step_wait`.

        Args:
            actions: Every key of `act_space` as [N, ...]; other keys are ignored.
        """
        if self._stepping:
            raise RuntimeError("step_async() was called twice. Call step_wait() in between.")
        chosen = {key: self._action(key, actions) for key in self.act_space}
        self._inner.step_async(chosen)
        self._stepping = True

    def step_wait(self) -> Transition:
        """Finishes the step that `step_async` began."""
        if not self._stepping:
            raise RuntimeError("step_wait() was called without step_async().")
        self._stepping = False
        return self._transition(*self._inner.step_wait())

    def step(self, actions: Mapping[str, np.ndarray]) -> Transition:
        """`step_async` and `step_wait` in one call."""
        self.step_async(actions)
        return self.step_wait()

    def close(self) -> None:
        """Closes the environments and ends their processes; a second call does nothing."""
        self._inner.close()

    def __enter__(self) -> "VectorEnv":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _action(self, key: str, actions: Mapping[str, np.ndarray]) -> np.ndarray:
        if key not in actions:
            raise KeyError(f"The action {key!r} is missing; got {sorted(actions)}.")
        array, expected = np.asarray(actions[key], self.act_space[key].dtype), self._act_shapes[key]
        if array.shape != expected:
            raise ValueError(
                f"The action {key!r} has shape {array.shape}, expected {expected}: one row per "
                "environment."
            )
        return array

    def _transition(self, obs, rewards, terminated, truncated, infos) -> Transition:
        first, self._over = self._over, terminated | truncated
        with np.errstate(under="ignore"):  # Whatever the user lets numpy raise.
            transition = {**obs, "reward": rewards.astype(np.float32)}
        transition["is_first"] = first | infos.pop(RESTARTED, False)
        transition["is_last"] = self._over.copy()
        transition["is_terminal"] = terminated
        transition.update(infos)
        if TERMINAL in transition:
            transition["is_terminal"] |= transition[TERMINAL] > 0
        return transition


def open_envs(
    factories: Sequence[Factory],
    engine: Callable[..., BatchedVectorEnv | None] | None,
    seed: int,
    **options: Any,
) -> VectorEnv:
    """Makes environments where they are to be; `engine` makes all together, if they can be."""
    made = engine(seed=seed) if engine else None
    return VectorEnv(factories, seeds=seed, engine=made, **options)


def _spread(seeds: int | Sequence[int] | None, num: int) -> list[int] | None:
    if seeds is None:
        return None
    if isinstance(seeds, int | np.integer):
        return env_seeds(seeds, num)
    if len(seeds) != num:
        raise ValueError(f"{len(seeds)} seeds for {num} environments: give one for each.")
    return [int(seed) for seed in seeds]

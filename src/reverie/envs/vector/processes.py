"""Environments in processes of their own, as a `gymnasium.vector.VectorEnv`.

It keeps the interface of `gymnasium.vector.AsyncVectorEnv` and differs inside: actions, rewards
and flags lie in shared memory beside the observations; workers are forked from a `ForkServer`, so
they start fast, never import the device library and cannot outlive the trainer; a failure says
which environment it was and why, leaves the other workers usable, and can be followed by a restart.
"""

import os
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from reverie.envs.flat.conform import SpacePair, require_same
from reverie.envs.flat.leaves import describe_all
from reverie.envs.flat.logs import stack, tell
from reverie.envs.vector import worker
from reverie.envs.vector.remote import Answers, Failures, ForkServer, RemoteEnv, collect
from reverie.envs.vector.restarts import RESTARTED, Restarts

CLOSE_SECONDS = 5.0


class ProcessVectorEnv(gymnasium.vector.VectorEnv):
    """N environments in N processes, NEXT_STEP autoreset.

    An environment that raises, dies or hangs after its first reset is restarted as far as
    `restarts` allows; the others wait. What then takes the place of its step is the first one of an
    episode: its observation, reward 0, no flags, and a true entry in the infos' key `restarted`.

    Args:
        factories: One function per environment. Wrapped by `wrappers.wrap` in the worker
            where it is not already. They travel by cloudpickle, so lambdas and classes defined
            in a script or notebook work.
        seeds: Seeds of the workers' global random generators.
        timeout: Seconds to wait for one reset or step, or for a restarted environment to be
            built, before the worker counts as hung; None waits for ever.
        restarts: Decides about restarts; by default there are none.

    Raises:
        WorkerError: An environment could not be built.
        SpaceError: The environments have different spaces.
    """

    def __init__(
        self,
        factories: Sequence[Callable[[], gymnasium.Env]],
        seeds: Sequence[int],
        timeout: float | None = None,
        restarts: Restarts | None = None,
    ):
        self.num_envs = len(factories)
        self._factories = list(factories)
        self._seeds = list(seeds)
        self._reset_seeds: list[int | None] = [None] * self.num_envs
        self._timeout = timeout
        self._restarts = restarts or Restarts()
        self._started = False
        self._told: set[str] = set()
        self._waiting: list[int] = []
        self._block = -1
        self._server = ForkServer()
        self._workers: list[RemoteEnv] = []
        try:
            for index, seed in enumerate(self._seeds):
                self._workers.append(self._start(index, seed))
            self._agree([self._built(each)[:2] for each in self._workers])
            self._share()
        except BaseException:
            self.close()
            raise

    def _start(self, index: int, seed: int) -> RemoteEnv:
        return RemoteEnv(index, self._server, self._factories[index], seed)

    def _built(self, remote: RemoteEnv) -> Any:
        """Waits until an environment is built; an error need not wait for the others."""
        found, failed = collect([remote], None, self._restarts.cancelled)
        for error in failed.values():
            raise error
        return found[remote.index]

    def _agree(self, found: list[SpacePair]) -> None:
        for index, spaces in enumerate(found):
            require_same(index, spaces, found[0])
        self.single_observation_space, self.single_action_space = found[0]
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def _share(self) -> None:
        """Lays out the shared memory and hands it to the workers."""
        fields: dict[str, tuple[str, tuple[int, ...]]] = {
            worker.OUTCOME: ("float64", (self.num_envs, 3))
        }
        for prefix, space in (
            (worker.OBSERVATION, self.single_observation_space),
            (worker.ACTION, self.single_action_space),
        ):
            for key, entry in describe_all(space).items():
                fields[prefix + key] = (entry.dtype, (self.num_envs, *entry.shape))
        self._layout = worker.Layout(fields)
        self._block = self._layout.create()
        arrays = self._layout.attach(self._block)
        for each in self._workers:
            each.share(self._block, self._layout)
        self._outcome = arrays[worker.OUTCOME]
        self._obs = worker.part(arrays, worker.OBSERVATION)
        self._act = worker.part(arrays, worker.ACTION)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Any = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode everywhere.

        Args:
            seed: One seed per environment; an integer counts up from it; None keeps the
                environments' own randomness.
            options: Not supported, must be None.

        Returns:
            Observations [N, ...] by key, which the next call does not touch, and infos.
        """
        if options is not None:
            raise ValueError(f"options={options!r}: environments in processes take no options.")
        self._drain()
        if seed is None or isinstance(seed, int):
            seeds = [None if seed is None else seed + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        self._reset_seeds = seeds
        for each, own in zip(self._workers, seeds, strict=True):
            each.send(pickle.dumps(own))
        self._waiting = list(range(self.num_envs))
        infos = self._wait()
        self._started = True
        return {key: array.copy() for key, array in self._obs.items()}, infos

    def step_async(self, actions: Mapping[str, np.ndarray]) -> None:
        """Hands out actions [N, ...] by key and returns while the environments step."""
        if self._waiting:
            raise RuntimeError("step_async() was called twice. Call step_wait() in between.")
        for key, array in self._act.items():
            array[...] = actions[key]
        for each in self._workers:
            each.send(worker.STEP)
        self._waiting = list(range(self.num_envs))

    def step_wait(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict]:
        """Waits for the step that `step_async` began.

        Returns:
            Observations [N, ...] by key, rewards float64 [N], terminations and truncations
            bool [N], infos; all of them fresh arrays.

        Raises:
            WorkerError: An environment raised, died or hung, and must not be restarted.
            Cancelled: If the run is to end.
        """
        if not self._waiting:
            raise RuntimeError("step_wait() was called without step_async().")
        infos = self._wait()
        rewards = self._outcome[:, 0].copy()
        terminated, truncated = self._outcome[:, 1] > 0, self._outcome[:, 2] > 0
        obs = {key: array.copy() for key, array in self._obs.items()}
        return obs, rewards, terminated, truncated, infos

    def step(self, actions: Mapping[str, np.ndarray]):
        """`step_async` and `step_wait` in one call."""
        self.step_async(actions)
        return self.step_wait()

    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [each.pid for each in self._workers]

    def close_extras(self, **kwargs: Any) -> None:
        """Lets every environment close itself, then ends the processes (within 5 seconds)."""
        # Whoever ends the run may not wait for long: some environments may hang.
        seconds = CLOSE_SECONDS / 5 if self._restarts.cancelled() else CLOSE_SECONDS
        deadline = time.monotonic() + seconds
        for each in self._workers:
            each.close()
        for each in self._workers:
            self._server.exit_code(each.pid, max(0.0, deadline - time.monotonic()))
        self._server.close()
        if self._block >= 0:
            os.close(self._block)
            self._block = -1

    def _wait(self) -> dict[str, Any]:
        """Collects the answers that are due, and restarts environments that failed."""
        found, failed = self._collect(self._waiting)
        self._waiting = []
        logs: list[dict[str, Any]] = [found.get(index, {}) for index in range(self.num_envs)]
        if any(logs):
            tell(logs, self._told)
        if not failed:
            return stack(logs) if any(logs) else {}
        if not self._started:
            raise next(iter(failed.values()))
        restarted = np.zeros(self.num_envs, bool)
        while failed:
            self._restarts.wait(failed)
            restarted[list(failed)] = True
            failed = self._restart(list(failed), logs)
        tell(logs, self._told)
        return {**stack(logs), RESTARTED: restarted}

    def _collect(self, indices: Sequence[int]) -> tuple[Answers, Failures]:
        """Waits for some workers, all of them even when one failed."""
        remotes = [self._workers[index] for index in indices]
        return collect(remotes, self._timeout, self._restarts.cancelled)

    def _restart(self, indices: Sequence[int], logs: list[dict[str, Any]]) -> Failures:
        """Gives some environments new processes and resets them, all at the same time."""
        for index in indices:
            self._workers[index].close()
            self._workers[index].kill()
            seed = self._restarts.seed(index, self._seeds[index])
            assert seed is not None
            self._workers[index] = self._start(index, seed)
        spaces, failed = self._collect(indices)
        for index in spaces:
            own = self.single_observation_space, self.single_action_space
            require_same(index, spaces[index][:2], own)
            seed = self._restarts.seed(index, self._reset_seeds[index])
            self._workers[index].share(self._block, self._layout)
            self._workers[index].send(pickle.dumps(seed))
        found, others = self._collect(list(spaces))
        for index, each in found.items():
            logs[index] = each
        return failed | others

    def _drain(self) -> None:
        if self._waiting:
            self._wait()

    def __del__(self):
        # The server's finalizer ends the processes; gymnasium's would call close() half-built.
        return

"""Environments that each step on their own, in this process or in one of their own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from reverie.envs.errors import SpaceError
from reverie.envs.flat.conform import SpacePair, require_same
from reverie.envs.flat.leaves import describe_all
from reverie.envs.flat.logs import stack, tell
from reverie.envs.vector import local, processes
from reverie.envs.vector.local import LocalEnv
from reverie.envs.vector.processes import ForkServer, RemoteEnv
from reverie.envs.vector.restarts import RESTARTED, Restarts
from reverie.envs.vector.seeds import env_seeds

Arrays = dict[str, np.ndarray]
Results = tuple[Arrays, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class SeparateEnvs:
    """N environments, with NEXT_STEP autoreset and restarts.

    An environment that fails after its first reset is restarted as far as `restarts` allows; the
    others wait. What then takes the place of its step is the first one of an episode: its
    observation, reward 0, no flags, and a true entry in the infos' key `restarted`. In this process
    only exceptions can be caught: a crash in native code ends it, and a step that hangs is waited
    for.

    Args:
        factories: One function per environment, as for `VectorEnv`. To processes they travel by
            cloudpickle, so lambdas and classes defined in a script or notebook work.
        seeds: Seeds of the global random generators in the processes.
        restarts: Decides about restarts.
        apart: Whether each environment has a process.
        timeout: As for `VectorEnv`; also for a restarted environment to be built.

    Raises:
        WorkerError: An environment could not be built in its process.
        SpaceError: The environments have different spaces.
    """

    def __init__(
        self,
        factories: Sequence[Callable[[], gymnasium.Env]],
        seeds: Sequence[int] | None,
        restarts: Restarts,
        apart: bool,
        timeout: float | None = None,
    ):
        self._factories = list(factories)
        self._seeds = seeds or env_seeds(0, len(factories))
        self._reset_seeds: Sequence[int | None] = [None] * len(factories)
        self._restarts = restarts
        self._timeout = timeout
        self._started = False
        self._told: set[str] = set()
        self._server = ForkServer() if apart else None
        self._envs: list[LocalEnv] | list[RemoteEnv] = []
        try:
            self._envs = [self._launch(index, seed) for index, seed in enumerate(self._seeds)]
            found: list[SpacePair] = []
            for index, env in enumerate(self._envs):
                # One by one, because an error need not wait for the others.
                built, failed = self._collect([env], None)
                if failed:
                    raise failed[index]
                found.append(built[index][:2])
                require_same(index, found[index], found[0])
        except BaseException:
            self.close()
            raise
        self.single_observation_space, self.single_action_space = found[0]
        spaces = describe_all(self.single_observation_space)
        self._layout = [(k, (len(factories), *s.shape), s.dtype) for k, s in spaces.items()]

    def reset(self, *, seed: Sequence[int] | None = None) -> tuple[Arrays, dict[str, Any]]:
        """Starts an episode everywhere; None keeps the environments' own randomness."""
        self._reset_seeds = seed or [None] * len(self._envs)
        for env, own in zip(self._envs, self._reset_seeds, strict=True):
            env.send("reset", own)
        obs, *_, infos = self.step_wait()
        self._started = True
        return obs, infos

    def step_async(self, actions: Mapping[str, np.ndarray]) -> None:
        """Hands out actions [N, ...] by key; processes step meanwhile."""
        rows = list(actions.items())
        for index, env in enumerate(self._envs):
            env.send("step", {key: array[index] for key, array in rows})

    def step_wait(self) -> Results:
        """Ends what was begun, and restarts environments that failed.

        Returns:
            Observations [N, ...] by key, rewards float64 [N], terminations and truncations
            bool [N], infos; all of them fresh arrays.

        Raises:
            WorkerError: A process raised, died or hung, and must not be restarted; in this process
                the exception itself.
            Cancelled: If the run is to end.
        """
        found, failed = self._collect(self._envs, self._timeout)
        if failed and not self._started:
            raise next(iter(failed.values()))
        restarted = np.zeros(len(self._envs), bool)
        while failed:
            self._restarts.wait(failed)
            restarted[list(failed)] = True
            failed = self._restart(failed, found)
        outcomes = [found[index] for index in range(len(self._envs))]
        each, rewards, terminated, truncated, logs = zip(*outcomes, strict=True)
        obs = {key: np.empty(shape, dtype) for key, shape, dtype in self._layout}
        for key, array in obs.items():
            for index, values in enumerate(each):
                array[index] = values[key]
        tell(logs, self._told)
        infos = stack(logs)
        if restarted.any():
            infos[RESTARTED] = restarted
        return obs, np.array(rewards), np.array(terminated), np.array(truncated), infos

    def close(self) -> None:
        """Closes the environments and ends their processes; a second call does nothing."""
        for env in self._envs:
            env.close()
        if self._server is not None:
            # Whoever ends the run may not wait for long: some environments may hang.
            self._server.close(1.0 if self._restarts.cancelled() else 5.0)

    def _launch(self, index: int, seed: int | None) -> Any:
        if self._server is None:
            return LocalEnv(index, self._factories[index])
        return RemoteEnv(index, self._server, self._factories[index], seed)

    def _collect(
        self, envs: Sequence[Any], timeout: float | None
    ) -> tuple[dict[int, Any], dict[int, Any]]:
        """Answers and failures of some environments, all of them even when one failed."""
        if self._server is None:
            return local.collect(envs)
        return processes.collect(envs, timeout, self._restarts.cancelled)

    def _restart(
        self, failed: Mapping[int, Exception], found: dict[int, Any]
    ) -> dict[int, Exception]:
        """Builds some environments anew and resets them, all at the same time."""
        for index in failed:
            self._envs[index].kill()
            seed = self._restarts.seed(index, self._seeds[index])
            self._envs[index] = self._launch(index, seed)
        spaces, unbuilt = self._collect([self._envs[index] for index in failed], self._timeout)
        for error in unbuilt.values():
            if isinstance(error, SpaceError):
                raise error
        for index in spaces:
            own = self.single_observation_space, self.single_action_space
            require_same(index, spaces[index][:2], own)
            seed = self._restarts.seed(index, self._reset_seeds[index])
            self._envs[index].send("reset", seed)
        answers, unready = self._collect([self._envs[index] for index in spaces], self._timeout)
        found.update(answers)
        return unbuilt | unready

"""Environments in processes of their own, as a `gymnasium.vector.VectorEnv`.

It keeps the interface of `gymnasium.vector.AsyncVectorEnv` and differs inside: actions, rewards
and flags lie in shared memory beside the observations and a step costs one byte each way, which
makes cheap environments several times faster; workers are forked from a `Nursery`, so they start
fast, never import the device library and cannot outlive the trainer; a failure says which
environment it was and why, and leaves the other workers usable.
"""

import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from reverie.envs import shared, wire, worker
from reverie.envs.conform import SpacePair, require_same
from reverie.envs.errors import WorkerError
from reverie.envs.leaves import describe_all
from reverie.envs.logs import stack
from reverie.envs.nursery import Nursery, describe_exit

CLOSE_SECONDS = 5.0


class ProcessVectorEnv(gymnasium.vector.VectorEnv):
    """N environments in N processes, NEXT_STEP autoreset.

    Args:
        factories: One function per environment. Wrapped by `reverie.envs.wrap` in the worker
            where it is not already. They travel by cloudpickle, so lambdas and classes defined
            in a script or notebook work.
        seeds: Seeds of the workers' global random generators.
        timeout: Seconds to wait for one reset or step before the worker counts as hung; None
            waits for ever.

    Raises:
        WorkerError: An environment could not be built.
        SpaceError: The environments have different spaces.
    """

    def __init__(
        self,
        factories: Sequence[Callable[[], gymnasium.Env]],
        seeds: Sequence[int],
        timeout: float | None = None,
    ):
        self.num_envs = len(factories)
        self._timeout = timeout
        self._waiting: list[int] = []
        self._nursery = Nursery()
        self._workers: list[_Worker] = []
        try:
            for index, (factory, seed) in enumerate(zip(factories, seeds, strict=True)):
                pickled = cloudpickle.dumps(factory)
                self._workers.append(_Worker(index, self._nursery, pickled, seed))
            self._agree([each.spaces() for each in self._workers])
            self._share()
        except BaseException:
            self.close()
            raise

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
        layout = shared.plan(fields)
        block = shared.create(layout)
        try:
            arrays = shared.attach(block, layout)
            for each in self._workers:
                each.share(block, layout)
        finally:
            os.close(block)
        self._outcome = arrays[worker.OUTCOME]
        self._obs = _part(arrays, worker.OBSERVATION)
        self._act = _part(arrays, worker.ACTION)

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
        for each, own in zip(self._workers, seeds, strict=True):
            each.send(wire.RESET, wire.SEED.pack(-1 if own is None else own))
        self._waiting = list(range(self.num_envs))
        infos = self._wait()
        return {key: array.copy() for key, array in self._obs.items()}, infos

    def step_async(self, actions: Mapping[str, np.ndarray]) -> None:
        """Hands out actions [N, ...] by key and returns while the environments step."""
        if self._waiting:
            raise RuntimeError("step_async() was called twice. Call step_wait() in between.")
        for key, array in self._act.items():
            array[...] = actions[key]
        for each in self._workers:
            each.send(wire.STEP)
        self._waiting = list(range(self.num_envs))

    def step_wait(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict]:
        """Waits for the step that `step_async` began.

        Returns:
            Observations [N, ...] by key, rewards float64 [N], terminations and truncations
            bool [N], infos; all of them fresh arrays.

        Raises:
            WorkerError: An environment raised, died or hung.
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
        deadline = time.monotonic() + CLOSE_SECONDS
        for each in self._workers:
            each.ask_to_close()
        for each in self._workers:
            self._nursery.exit_code(each.pid, max(0.0, deadline - time.monotonic()))
        self._nursery.close()

    def _wait(self) -> dict[str, Any]:
        """Collects the answers that are due, all of them even when one is an error."""
        logs: list[Mapping[str, float]] = [{}] * self.num_envs
        failures = []
        some = False
        for index in self._waiting:
            try:
                logs[index] = self._workers[index].answer(self._timeout)
                some = some or bool(logs[index])
            except WorkerError as error:
                failures.append(error)
        self._waiting = []
        if failures:
            raise failures[0]
        return stack(logs) if some else {}

    def _drain(self) -> None:
        if self._waiting:
            self._wait()

    def __del__(self):
        # The nursery's finalizer ends the processes; gymnasium's would call close() half-built.
        return


class _Worker:
    """The parent's side of one environment process."""

    def __init__(self, index: int, nursery: Nursery, pickled: bytes, seed: int):
        self._index = index
        self._nursery = nursery
        self.pid, self._sock = nursery.start()
        self._fd = self._sock.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        wire.send_object(self._sock, wire.LOAD, (pickled, seed))

    def spaces(self) -> SpacePair:
        """The environment's flat spaces, once it is built."""
        return self._answer(None)

    def share(self, block: int, layout: shared.Layout) -> None:
        """Hands the shared memory over."""
        socket.send_fds(self._sock, [wire.MEMORY], [block])
        wire.send_object(self._sock, b"", (layout, self._index))

    def send(self, tag: bytes, body: bytes = b"") -> None:
        """Requests something; a worker that has died is reported by the next answer."""
        try:
            wire.send(self._sock, tag, body)
        except wire.Gone:
            return

    def answer(self, timeout: float | None) -> Mapping[str, float]:
        """Waits for a request to be done; returns the logs that came with it."""
        return self._answer(timeout)

    def ask_to_close(self) -> None:
        """Requests the end; the answer is that the process ends."""
        self.send(wire.CLOSE)
        self._sock.close()

    def _answer(self, timeout: float | None) -> Any:
        if timeout is not None and not self._poll.poll(timeout * 1000):
            self._nursery.kill(self.pid)
            raise WorkerError(
                self._index,
                "hung",
                f"Environment {self._index} did not answer within {timeout:g} seconds, so its "
                "process was killed. Raise the timeout if its steps may take that long.",
            )
        try:
            tag = wire.receive(self._fd)
            if tag == wire.DONE:
                return {}
            payload = wire.receive_object(self._fd)
        except wire.Gone as error:
            code = describe_exit(self._nursery.exit_code(self.pid))
            raise WorkerError(
                self._index,
                "died",
                f"The process of environment {self._index} died with {code}. Its last messages, "
                "if any, are on the standard error output.",
            ) from error
        if tag == wire.RAISED:
            summary, trace = payload
            raise WorkerError(
                self._index,
                "raised",
                f"Environment {self._index} raised {summary}\n\nIn its process:\n{trace}",
                trace,
            )
        return payload


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

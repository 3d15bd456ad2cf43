"""The inference server as the learner sees it: what it is given, and what if it dies."""

import time
from typing import Any

import ray
from ray import exceptions

from reverie.actors.cluster.chunk import ActorError, Failure
from reverie.envs.vector.restarts import Restarts
from reverie.envs.vector.seeds import env_seed

SECONDS = 1.0
"""Between two looks at whether it is there."""


class Inference:
    """Hands parameters to the server, and starts it again as far as that is allowed.

    Ray replaces a process that has died; the new one waits for what it is to act with.

    Args:
        server: Handle of an `InferenceServer`.
        model: A pickled `Model`.
        session: Of this learner.
        seed: What its seeds derive from.
        timeout: Seconds without an answer after which it hangs; 0: never.
        restarts: Decides whether it is started again, and tells.
    """

    def __init__(
        self,
        server: Any,
        model: bytes,
        *,
        session: str,
        seed: int,
        timeout: float,
        restarts: Restarts,
    ):
        self._server, self._model, self._session = server, ray.put(model), session
        self._seed, self._timeout, self._restarts = seed, timeout, restarts
        self._params: tuple[int, list[Any]] | None = None
        self._call: Any = None
        self._looked = self._waited = self._due = 0.0
        self._started = 0
        self._counts: tuple[int, ...] = (0, 0)
        self._told = self._counts
        self._there = self.running = False

    def set_params(self, version: int, params: list[Any]) -> None:
        """Acts with other parameters, to which there is a reference, from the next batch on."""
        self._params = version, params
        if self.running:
            self._server.take.remote(self._session, version, params)

    def look(self) -> None:
        """Sees whether it is there, and starts it if it is not.

        Raises:
            Exception: What it has raised, or that it has died too often.
        """
        now = time.monotonic()
        # While this process stands still it takes in no answer.
        passed, self._looked = min(now - self._looked, 1.0), now
        self._waited = 0.0 if self._call is None else self._waited + passed
        if self._call is None:
            if self._params and now >= self._due:
                self._call = self._ask()
        elif ray.wait([self._call], timeout=0)[0]:
            call, self._call = self._call, None
            try:
                self._answered(ray.get(call))
            except exceptions.RayActorError as error:
                self._failed(error)
        elif 0 < self._timeout < self._waited:
            self._call = None
            self._hangs()

    def metrics(self) -> dict[str, float]:
        """The mean number of actors that it has acted for at once since the last call."""
        calls, answers = (x - y for x, y in zip(self._counts, self._told, strict=True))
        self._told = self._counts
        return {"actors/batch": answers / calls} if calls > 0 else {}

    def _ask(self) -> Any:
        assert self._params
        if not self._there:  # Else nobody knows whether it is starting that ends its process.
            return self._server.__ray_ready__.remote()
        if self.running:
            return self._server.counts.remote(self._session)
        version, params = self._params
        seed = env_seed(self._seed, self._started)
        return self._server.start.remote(self._session, self._model, seed, version, params)

    def _answered(self, result: Any) -> None:
        if isinstance(result, Failure):
            raise result.error("The inference server")
        if not self._there:
            self._there = True
            return
        if self.running:
            if result is None:  # Ray has replaced its process since the last look.
                raise exceptions.RayActorError()
            *counts, busy = result
            self._counts, self._due = tuple(counts), time.monotonic() + SECONDS
            if 0 < self._timeout < busy:
                self._hangs()
            return
        self.running, self._started = True, self._started + 1
        self._counts = self._told = (0, 0)
        assert self._params
        self.set_params(*self._params)  # Newer ones may have come meanwhile.

    def _hangs(self) -> None:
        ray.kill(self._server, no_restart=False)
        text = f"gave no answer for {self._timeout:g} seconds and was killed (run.env_timeout)."
        self._failed(ActorError(f"The inference server {text}"))

    def _failed(self, error: Exception) -> None:
        """Lets it start again, or raises what is one failure too many."""
        there, self._there, self.running = self._there, False, False
        self._due = time.monotonic() + 1.0
        if there or not isinstance(error, exceptions.ActorUnavailableError):
            if not isinstance(error, ActorError):
                error = ActorError("The process of the inference server has died.")
            self._due += self._restarts.allow(0, error)

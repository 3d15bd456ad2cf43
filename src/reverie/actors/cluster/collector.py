"""Rollouts of actors in other processes: whichever has finished a chunk."""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ray
from ray import exceptions

from reverie.actors.cluster.chunk import ActorError, Chunk, Failure, Started
from reverie.actors.cluster.inference.supervisor import Inference
from reverie.actors.collector import Rollout
from reverie.envs.errors import Cancelled
from reverie.envs.vector.restarts import TICK, Restarts
from reverie.envs.vector.seeds import env_seed
from reverie.learner.policy import Params
from reverie.replay.shards.apart import Apart

AHEAD = 2
"""Chunks that an actor is asked for at once: it makes one while a finished one waits."""

GRACE = 15.0
"""Seconds beyond `timeout` until an actor counts as hung: it hands a chunk over after ten."""

MISSING = 15.0
"""Seconds after the first actor has started until the user is told how many have not."""

NONE_YET = 60.0
"""Seconds after which the user is told so if none has."""

Known = tuple[int, int, int]
"""Incarnation of an actor, number of its last chunk here, and its number of environments."""


@dataclasses.dataclass
class _Remote:
    """What is known of an actor."""

    index: int
    handle: Any
    calls: collections.deque[Any] = dataclasses.field(default_factory=collections.deque)
    there: bool = False
    running: bool = False
    due: float = 0.0
    waited: float = 0.0
    begun: int = 0
    known: Known | None = None
    restarts: int = 0
    before: int = 0

    @property
    def streams(self) -> tuple[int, ...]:
        """Those that go on when the actor does."""
        first, _, count = self.known or (0, -1, 0)
        return tuple(range(first, first + count))


class RayCollector:
    """Rollouts of actors, each of which has environments and a policy of its own.

    It asks, and nobody else does: an actor that is ahead has two finished chunks and waits. Which
    one comes next depends on time, so that a run is not repeated by its seed. An actor that has
    died, or hangs, is started again as far as `restarts` allows, with new streams; one that was
    out of reach goes on where it was. What environments raise ends the run, as in one process:
    the actor has restarted them before as far as it may.

    Args:
        actors: Handles of `EnvActor`s, which Ray restarts when they die.
        work: A pickled `Work`.
        session: As of `EnvActor.start`.
        seed: What the actors' seeds derive from.
        push_every: Updates after which parameters go out.
        timeout: Seconds without a chunk after which an actor hangs; 0: never.
        restarts: Decides about actors that have died or hang, counts them and tells.
        cancelled: Whether waiting is in vain.
        note: Receives messages for the user.
        apart: Whether what replay stores is left where it is: steps are then `Apart`.
        inference: What acts for the actors, if they do not do so themselves.
    """

    def __init__(
        self,
        actors: Sequence[Any],
        work: bytes,
        *,
        session: str,
        seed: int,
        push_every: int = 1,
        timeout: float = 0.0,
        restarts: Restarts | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        note: Callable[[str], object] = print,
        apart: bool = False,
        inference: Inference | None = None,
    ):
        self._actors = [_Remote(index, handle) for index, handle in enumerate(actors)]
        self._work = ray.put(work)
        self._session, self._seed = session, seed
        self._push_every, self._timeout = push_every, timeout
        self._restarts = restarts or Restarts()
        self._cancelled, self._note = cancelled, note
        self._params: list[Any] = []
        self._version = self._pushed = -1
        self._ended: list[int] = []
        self._looked = time.monotonic()
        self._first: float | None = None
        self._begun = time.monotonic()
        self._told_missing = False
        self._lags: list[int] = []
        self._at_once: list[bool] = []
        self._apart, self._inference = apart, inference
        self._stored: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"{len(self._actors)} actors"

    @property
    def advice(self) -> str:
        """What to do where most of the time is spent waiting for steps."""
        return f"more of them (--ray.actors, now {len(self._actors)}) make more steps."

    @property
    def streams(self) -> tuple[int, ...]:
        """Those that go on."""
        return tuple(stream for actor in self._actors for stream in actor.streams)

    @property
    def counters(self) -> dict[str, Known]:
        """The last chunk of every actor that was returned, for the checkpoint."""
        return {str(actor.index): actor.known for actor in self._actors if actor.known}

    def restore(self, counters: Mapping[str, Sequence[int]]) -> None:
        """Goes on where `counters` was taken, with those actors that still live."""
        for actor in self._actors:
            if known := counters.get(str(actor.index)):
                incarnation, number, envs = known
                actor.known = incarnation, number, envs

    def durable(self, counters: Mapping[str, Sequence[int]]) -> None:
        """Tells the actors what they need not keep any more."""
        for actor in self._actors:
            if known := counters.get(str(actor.index)):
                actor.handle.durable.remote(*known[:2])

    def set_params(self, params: Params) -> None:
        """Hands parameters out, once for all actors; they take them before their next chunk."""
        if params.version == self._version:
            return
        self._version = params.version
        if not self._params or params.version >= self._pushed + self._push_every:
            # The references before are dropped, and with the last actor that reads them the object.
            self._params = [ray.put(jax.device_get(list(params.leaves)))]
            self._pushed = params.version
            if self._inference:
                self._inference.set_params(self._pushed, self._params)

    def collect(self) -> Rollout:
        """Waits for the next chunk.

        Raises:
            Cancelled: If the run is to end.
            Exception: What an actor has raised, or that one too many has died.
        """
        try:
            return self._next()
        except KeyboardInterrupt:
            # Ray raises one of its own in the place of what the handler of a signal has raised.
            if not self._cancelled():
                raise
        raise Cancelled("Waiting for an actor was cancelled.")

    def _next(self) -> Rollout:
        at_once = True
        while not self._cancelled():
            self._look()
            for actor in self._actors:
                self._ask(actor)
            # Of each actor the oldest: chunks follow one another.
            calls = {actor.calls[0]: actor for actor in self._actors if actor.calls}
            ready = ray.wait(list(calls), timeout=0 if at_once else TICK)[0] if calls else []
            for call in ready:
                if (rollout := self._take(calls[call])) is not None:
                    self._at_once.append(at_once)
                    return rollout
            if not calls:
                time.sleep(TICK)
            at_once = at_once and bool(ready)
        raise Cancelled("Waiting for an actor was cancelled.")

    def metrics(self) -> dict[str, float]:
        """Means since the last call, and counts."""
        lags, self._lags = self._lags, []
        at_once, self._at_once = self._at_once, []
        found: dict[str, float] = {
            "env/restarts": sum(actor.before + actor.restarts for actor in self._actors)
        }
        found["actors/running"] = sum(actor.running for actor in self._actors)
        found["actors/restarts"] = self._restarts.total
        found |= self._inference.metrics() if self._inference else {}
        if lags:
            found["actors/lag"] = sum(lags) / len(lags)
            found["actors/ahead"] = sum(at_once) / max(1, len(at_once))
        return found

    def close(self) -> None:
        """Lets the actors close their environments; they may be gone already."""
        calls = []
        with contextlib.suppress(exceptions.RayError, RuntimeError):
            for actor in self._actors:
                if actor.running:
                    calls.append(actor.handle.close.remote())
            ray.wait(calls, num_returns=len(calls), timeout=2.0) if calls else None

    def _ask(self, actor: _Remote) -> None:
        """Keeps an actor busy."""
        if not actor.running and not actor.calls and time.monotonic() >= actor.due:
            actor.calls.append(self._start(actor))
        while actor.running and len(actor.calls) < AHEAD:
            asked = self._session, self._pushed, [] if self._inference else self._params
            if self._apart:
                collect = actor.handle.collect_apart.options(num_returns=2)
                call, stored = collect.remote(*asked)
                self._stored[call] = stored
            else:
                call = actor.handle.collect.remote(*asked)
            actor.calls.append(call)

    def _start(self, actor: _Remote) -> Any:
        """Starts an actor whose process is there: if it is gone then, starting has ended it."""
        if not actor.there:
            return actor.handle.__ray_ready__.remote()
        seed = env_seed(env_seed(self._seed, actor.index), actor.begun)
        known = actor.known and actor.known[:2]
        return actor.handle.start.remote(self._session, self._work, seed, known)

    def _take(self, actor: _Remote) -> Rollout | None:
        """What the oldest call of an actor has returned, if these are steps."""
        try:
            result = ray.get(actor.calls[0])
            if result is None:  # Ray has replaced its process while all calls had an answer.
                raise exceptions.RayActorError()
        except exceptions.RayError as error:
            self._failed(actor, error)
            return None
        stored = self._stored.pop(actor.calls.popleft(), None)
        if not actor.there:
            actor.there = True
            return None
        actor.waited = 0.0
        # The next turn is that of the others. The thread that saves may go through the list before.
        self._actors = [*(each for each in self._actors if each is not actor), actor]
        for line in getattr(result, "printed", ()):
            print(f"(actor {actor.index}) {line}")
        if isinstance(result, Failure):
            raise result.error(f"Actor {actor.index}")
        if isinstance(result, Started):
            return self._started(actor, result)
        assert isinstance(result, Chunk)
        return self._rollout(actor, result, stored)

    def _started(self, actor: _Remote, started: Started) -> None:
        known = actor.known
        if known is None or known[0] != started.incarnation:
            self._ended += actor.streams
            actor.known = (started.incarnation, -1, started.envs)
            actor.before, actor.restarts = actor.before + actor.restarts, 0
        if started.lost:
            # What follows is not what came next: the streams begin anew.
            self._ended += actor.streams
            self._note(
                f"{started.lost} chunks of actor {actor.index} are lost: they were made after the "
                "last save, and an actor keeps 256 MB of them. run.save_every saves more often."
            )
        if self._first is None:
            self._first = time.monotonic()
            self._note(f"Each actor has {started.envs} environments, backend {started.backend}")
        actor.begun += 1
        actor.running = True
        if self._told_missing and all(each.running for each in self._actors):
            self._told_missing = False
            self._note(f"All {len(self._actors)} actors work.")

    def _rollout(self, actor: _Remote, chunk: Chunk, stored: Any) -> Rollout:
        assert actor.known
        actor.known = (chunk.incarnation, chunk.number, actor.known[2])
        actor.restarts = chunk.restarts
        self._lags.append(max(0, self._version - chunk.version))
        ended, self._ended = tuple(self._ended), []
        steps = Apart(chunk.steps, stored) if self._apart else chunk.steps
        return Rollout(steps, chunk.streams, ended)

    def _failed(self, actor: _Remote, error: Exception) -> None:
        """Starts an actor again, or raises what is one failure too many."""
        there, actor.there, actor.running = actor.there, False, False
        for call in actor.calls:
            self._stored.pop(call, None)
        actor.calls.clear()
        actor.waited = 0.0
        if not there and isinstance(error, exceptions.ActorUnavailableError):
            actor.due = time.monotonic() + 1.0  # Ray is not done with restarting it.
            return
        actor.due = time.monotonic() + self._restarts.allow(actor.index, _reason(actor, error))

    def _check_hung(self, actor: _Remote) -> None:
        """Kills an actor that has no finished chunk for so long."""
        if actor.calls and ray.wait([actor.calls[0]], timeout=0)[0]:
            actor.waited = 0.0
            return
        ray.kill(actor.handle, no_restart=False)
        text = f"gave no steps for {actor.waited:.0f} seconds and was killed (run.env_timeout)."
        self._failed(actor, ActorError(f"Actor {actor.index} {text}"))

    def _look(self) -> None:
        """Counts the time of waiting, in which this process itself did not stand still."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, 1.0), now
        if self._inference:
            self._inference.look()
            passed *= self._inference.running  # Else it is not the actors that keep us waiting.
        for actor in self._actors:
            # As in one process, only the first start may take as long as it likes.
            actor.waited += passed * (actor.running or (actor.there and actor.begun > 0))
            grace = GRACE if actor.running else 120.0  # It imports what it works with.
            if self._timeout and actor.waited > self._timeout + grace:
                self._check_hung(actor)
        missing = sum(not actor.begun for actor in self._actors)
        late = now > (self._first + MISSING if self._first else self._begun + NONE_YET)
        if missing and late and not self._told_missing:
            self._told_missing = True
            self._note(
                f"{missing} of {len(self._actors)} actors have not started yet, for want of room "
                "in the cluster or because they are slow to start; they take part when they have."
            )


def _reason(actor: _Remote, error: Exception) -> Exception:
    """What became of an actor, in a sentence."""
    if isinstance(error, ActorError):
        return error
    if isinstance(error, exceptions.RayActorError):
        return ActorError(f"The process of actor {actor.index} has died or is out of reach.")
    if isinstance(error, exceptions.ObjectLostError):
        return ActorError(f"The node of actor {actor.index} is gone with a finished chunk.")
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return ActorError(f"Actor {actor.index} has failed with {type(error).__name__}: {first}")

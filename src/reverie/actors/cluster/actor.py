"""The process of an actor: environments, a policy on its CPU, and the chunks that it has made.

Importing this imports neither the device library nor environments: the process does so when it is
told what to work with, and Ray can always start it anew.
"""

import collections
import contextlib
import dataclasses
import os
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import cloudpickle

from reverie.actors.cluster.chunk import Arrays, Chunk, Failure, Started, joined
from reverie.actors.cluster.printed import Printed
from reverie.replay.shards.apart import parted
from reverie.replay.shards.place import enter

if TYPE_CHECKING:
    from reverie.envs.vector.vector import VectorEnv

CHUNK_SECONDS = 10.0
"""A chunk of slow environments is handed over after this time, whatever it has got."""

KEPT_BYTES = 256 << 20
"""Most bytes of chunks that an actor keeps until they are saved; of more the oldest go."""

_ENVIRON = {
    # The accelerators are the learner's. One actor works on one core.
    "JAX_PLATFORMS": "cpu",
    "NPROC": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclasses.dataclass(frozen=True)
class Work:
    """What an actor works with; travels by cloudpickle.

    Args:
        agent: Makes the agent whose parameters are handed out; None where a server acts.
        envs: Makes the environments from a seed.
        steps: Steps of each environment in a chunk.
        cache_dir: Folder of compiled programs, as of `configure_cache`.
        fast_compile: As of `Policy`.
        server: What acts in the place of the agent, as of `ServedPolicy`.
    """

    agent: Callable[[], Any] | None
    envs: "Callable[[int], VectorEnv]"
    steps: int
    cache_dir: str = ""
    fast_compile: bool = False
    server: tuple[str, str] | None = None


class ActorProcess:
    """What the processes of all actors do: find modules, keep to one core, open environments.

    Args:
        paths: Where modules are found, as in the process of the learner.
        folder: Working folder of that, entered if it is here too.
    """

    def __init__(self, paths: Sequence[str], folder: str):
        os.environ.update(_ENVIRON)
        enter(paths, folder)
        self._printed = Printed()
        self._envs: Any = None

    def close(self) -> None:
        """Closes the environments."""
        envs, self._envs = self._envs, None
        if envs is not None:
            envs.close()

    def _open(self, work: Work, seed: int) -> "VectorEnv":
        # From now on they are closed, whatever fails.
        self._envs = envs = work.envs(seed)
        self._policy = _policy(work, seed)
        return envs


def _policy(work: Work, seed: int) -> Any:
    if work.server:
        # An actor whose steps are chosen elsewhere is spared the device library.
        from reverie.actors.cluster.inference.client import ServedPolicy

        return ServedPolicy(work.server)
    # Only now is the path complete, and the device library told that it has a CPU.
    from reverie.learner.compilation.cache import configure_cache
    from reverie.learner.policy import Policy

    assert work.agent
    configure_cache(work.cache_dir)
    return Policy(work.agent(), seed=seed, fast_compile=work.fast_compile)


class EnvActor(ActorProcess):
    """Steps environments with a policy when it is asked to.

    It works for one learner at a time, whose `session` every call names: what one that has died
    had still asked for is not done. Chunks are kept until they are durable, and are given again to
    a learner that resumes behind them. After what it raised it can be started again.
    """

    def __init__(self, paths: Sequence[str], folder: str):
        super().__init__(paths, folder)
        self._session = ""
        self._kept: collections.deque[Chunk] = collections.deque()
        self._again: collections.deque[Chunk] = collections.deque()

    def start(
        self, session: str, work: bytes, seed: int, known: tuple[int, int] | None
    ) -> Started | Failure:
        """Makes the environments, or goes on with them.

        Args:
            session: Of the learner to work for from now on.
            work: A pickled `Work`.
            seed: Of new environments and of the policy.
            known: Incarnation and number of the last chunk that the learner has; None if there
                is none. Later ones are given again.
        """
        self._session = session
        try:
            envs = self._envs or self._make(cloudpickle.loads(work), seed)
            after = known[1] if known and known[0] == self._incarnation else -1
            self._again = collections.deque(x for x in self._kept if x.number > after)
            first = self._again[0].number if self._again else self._made
            backend = f"{envs.backend}: {envs.choice}"
            return Started(self._incarnation, envs.num_envs, first - after - 1, backend)
        except Exception as error:
            return self._failed(error)

    def collect(
        self, session: str, version: int, params: Sequence[Any]
    ) -> "Chunk | Failure | None":
        """The next chunk; None in the session of another learner, or without parameters.

        Args:
            session: As of `start`.
            version: Of the parameters to act with.
            params: A reference to them; nothing where a server acts.
        """
        if session != self._session:
            return None
        if self._again:
            return self._again.popleft()
        try:
            asked = version != self._version and not self._served
            if asked and not self._took_params(version, params):
                return None
            chunk = self._chunk()
        except Exception as error:
            return self._failed(error)
        self._kept.append(chunk)
        self._bytes += chunk.nbytes
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popleft().nbytes
        return chunk

    def collect_apart(self, *args: Any) -> tuple["Chunk | Failure | None", Any]:
        """As `collect`, and apart from the chunk what replay stores of it."""
        chunk = self.collect(*args)
        if not isinstance(chunk, Chunk):
            return chunk, None
        seen, stored = parted(chunk.steps)
        return dataclasses.replace(chunk, steps=seen), stored

    def durable(self, incarnation: int, number: int) -> None:
        """Forgets the chunks up to a number, which are saved."""
        while self._kept and incarnation == self._incarnation and self._kept[0].number <= number:
            self._bytes -= self._kept.popleft().nbytes

    def _make(self, work: Work, seed: int) -> "VectorEnv":
        from reverie.actors.host import HostCollector

        envs = self._open(work, seed)
        self._served = work.server is not None
        if not self._served:
            self._policy.prepare(envs.num_envs)
        self._collector = HostCollector(envs, self._policy)
        self._steps = work.steps
        # Room for the numbers of environments, and for the sign in 64 bits.
        self._incarnation = secrets.randbits(46) << 16
        self._version, self._made, self._bytes = -1, 0, 0
        self._kept.clear()
        return envs

    def _took_params(self, version: int, params: Sequence[Any]) -> bool:
        """Whether there are any to act with, if only the ones before."""
        import ray
        from ray import exceptions

        from reverie.learner.policy import Params

        try:
            leaves = ray.get(params[0])
        except exceptions.ObjectLostError:  # They went with their learner, or its node.
            return self._version >= 0
        self._policy.set_params(Params(version, leaves))
        self._version = version
        return True

    def _chunk(self) -> Chunk:
        rows: list[Arrays] = []
        end = time.monotonic() + CHUNK_SECONDS
        while len(rows) < self._steps and (not rows or time.monotonic() < end):
            rows.append(self._collector.collect().steps)
        self._made += 1
        return Chunk(
            joined(rows),
            self._incarnation,
            self._made - 1,
            self._policy.take_version() if self._served else self._version,
            self._envs.restarts,
            self._printed.take(),
        )

    def _failed(self, error: Exception) -> Failure:
        """Gives up the environments: nobody knows what state they are in."""
        with contextlib.suppress(Exception):
            self.close()
        return Failure.of(error, self._printed.take())

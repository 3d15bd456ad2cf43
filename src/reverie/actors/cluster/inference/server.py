"""The process that acts for all actors, in batches, with the newest parameters."""

import asyncio
import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from reverie.actors.cluster.chunk import ActorError, Arrays, Failure
from reverie.replay.shards.place import enter

SIZES = 4
"""Most programs, each for half as many actors as the one before."""


@dataclasses.dataclass(frozen=True)
class Model:
    """What acts, and where; travels by cloudpickle.

    Args:
        agent: Makes the agent whose parameters are handed out.
        platform: As of `devices.configure`.
        device: Index of a device of the platform.
        actors: Actors that ask at most.
        envs: Environments of each.
        cache_dir: As of `devices.configure`.
        fast_compile: As of `Policy`.
    """

    agent: Callable[[], Any]
    platform: str
    device: int
    actors: int
    envs: int
    cache_dir: str = ""
    fast_compile: bool = False

    @property
    def sizes(self) -> list[int]:
        """Rows of the batches that there are programs for, least first."""
        return sorted({-(-self.actors // 2**k) * self.envs for k in range(SIZES)})


class Answer(NamedTuple):
    """What was chosen for the environments of an actor.

    Attributes:
        version: Of the parameters.
        carry: What the actor sends with its next observations: leaves [N, ...].
        actions: As of `Policy.act`.
        latents: As of `Policy.act`.
    """

    version: int
    carry: list[np.ndarray]
    actions: Arrays
    latents: Arrays


class InferenceServer:
    """Acts for whoever has asked while it was acting for those before.

    It remembers nothing of environments: actors send what there is to remember, so that a server
    that was started again goes on where the one before has died.

    Args:
        paths: Where modules are found, as in the process of the learner.
        folder: Working folder of that, entered if it is here too.
        visible: CUDA devices that the learner sees; Ray hides them from who has not asked for any.
    """

    def __init__(self, paths: Sequence[str], folder: str, visible: str | None):
        enter(paths, folder)
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if visible is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible
        self._policy: Any = None
        self._params: Any = None
        self._session, self._newest = "", -1
        self._ready = asyncio.Event()
        self._asked: list[tuple[Any, Arrays, asyncio.Future[Answer | Failure]]] = []
        self._serving: asyncio.Task[None] | None = None
        self._calls = self._answered = 0
        self._making, self._began = asyncio.Lock(), 0.0

    async def start(
        self, session: str, model: bytes, seed: int, version: int, params: Sequence[Any]
    ) -> Failure | None:
        """Works for a learner from now on; what has asked meanwhile is answered then.

        Args:
            session: Of the learner; others are not obeyed any more.
            model: A pickled `Model`, which is that of the learner before.
            seed: Of the draws.
            version, params: Of the parameters, to which there is a reference.
        """
        self._session, self._newest = session, -1
        try:
            async with self._making:  # A learner may have died while it was made for it.
                if self._policy is None:
                    self._policy = await asyncio.to_thread(self._make, model, seed)
            await self.take(session, version, params)
            if session == self._session:
                self._ready.set()
        except Exception as error:
            return Failure.of(_explained(error))
        return None

    async def take(self, session: str, version: int, params: Sequence[Any]) -> None:
        """Acts with other parameters from the next batch on."""
        from reverie.learner.policy import Params

        if session == self._session and version > self._newest:
            self._newest = version
            leaves = await params[0]
            if (session, version) == (self._session, self._newest):
                self._params = Params(version, leaves)

    async def act(self, carry: list[np.ndarray] | None, obs: Arrays) -> Answer | Failure:
        """Chooses actions for the environments of an actor.

        Args:
            carry: As the last answer gave it; None before the first one.
            obs: As of `Policy.act`.
        """
        await self._ready.wait()
        answer = asyncio.get_running_loop().create_future()
        self._asked.append((carry, obs, answer))
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        return await answer

    async def counts(self, session: str) -> tuple[int, int, float] | None:
        """Batches and answers so far, and the seconds that a batch has taken until now.

        None is the answer to a learner that it does not work for.
        """
        if session != self._session:
            return None
        busy = time.monotonic() - self._began if self._serving else 0.0
        return self._calls, self._answered, busy

    async def _serve(self) -> None:
        while self._asked:
            # There are more where actors have asked and died, for the programs too many.
            most = self._model.actors
            asked, self._asked = self._asked[:most], self._asked[most:]
            self._began = time.monotonic()
            try:
                found = await asyncio.to_thread(self._answers, [each[:2] for each in asked])
            except Exception as error:
                found = [Failure.of(_explained(error))] * len(asked)
            self._calls += 1
            self._answered += len(asked)
            for (*_, answer), result in zip(asked, found, strict=True):
                if not answer.done():  # As that of an actor that has died.
                    answer.set_result(result)
        self._serving = None

    def _make(self, model: bytes, seed: int) -> Any:
        import jax

        # The path is complete only now, and the devices can still be chosen.
        from reverie.learner.placement.devices import configure
        from reverie.learner.policy import Policy

        self._model: Model = cloudpickle.loads(model)
        device = configure(
            self._model.platform,
            policy_device=self._model.device,
            prealloc=False,  # The learner has reserved what it wants.
            cache_dir=self._model.cache_dir,
        ).policy
        fast = self._model.fast_compile
        policy = Policy(self._model.agent(), device=device, seed=seed, fast_compile=fast)
        leaves, self._structure = jax.tree.flatten(policy.init(1))
        self._blank: list[np.ndarray] = jax.device_get(leaves)
        for size in reversed(self._model.sizes):
            policy.prepare(size)
        return policy

    def _answers(self, asked: Sequence[tuple[list[np.ndarray] | None, Arrays]]) -> list[Answer]:
        import jax

        params = self._params
        self._policy.set_params(params)
        counts = [len(obs["is_first"]) for _, obs in asked]
        size = next(size for size in self._model.sizes if size >= sum(counts))
        begun = [
            carry or [np.repeat(x, count, 0) for x in self._blank]
            for (carry, _), count in zip(asked, counts, strict=True)
        ]
        leaves = [_padded(x, size, blank) for *x, blank in zip(*begun, self._blank, strict=True)]
        obs = {key: _padded([obs[key] for _, obs in asked], size) for key in asked[0][1]}
        carry = jax.tree.unflatten(self._structure, leaves)
        carry, *chosen = self._policy.act(carry, obs)
        found = [jax.device_get(jax.tree.leaves(carry)), *chosen]
        cut = lambda start, stop: jax.tree.map(lambda x: x[start:stop], found)  # noqa: E731
        borders = itertools.pairwise(np.cumsum([0, *counts]))
        return [Answer(params.version, *cut(*rows)) for rows in borders]


def _explained(error: Exception) -> Exception:
    """An error of the device, with the options of this process in place of the learner's."""
    from reverie.learner.placement.devices import DeviceError

    if isinstance(error, DeviceError):
        return ActorError(f"ray.inference_platform and ray.inference_device: {error}")
    if "RESOURCE_EXHAUSTED" in str(error):
        return ActorError(
            "The device of the inference server has not enough memory. ray.inference_device names "
            "another one; on that of the learner XLA_PYTHON_CLIENT_MEM_FRACTION=0.6 leaves it some."
        )
    return error


def _padded(rows: Sequence[np.ndarray], size: int, blank: np.ndarray | None = None) -> np.ndarray:
    """Rows of several actors, and as many more that nobody looks at as the program wants."""
    missing = size - sum(map(len, rows))
    blank = np.zeros_like(rows[0][:1]) if blank is None else blank
    return np.concatenate([*rows, np.repeat(blank, missing, 0)])

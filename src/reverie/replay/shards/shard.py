"""The process of a shard: a replay of its own, with a share of the streams."""

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from reverie.replay.files.archive import Saving
from reverie.replay.files.restore import Loaded
from reverie.replay.plan import Plan
from reverie.replay.replay import Replay
from reverie.replay.shards.place import enter

PLANS = 16
"""Plans that are kept, newest first, for the batches that follow one another in their sequences."""


class Content(NamedTuple):
    """How much a shard holds.

    Attributes:
        items: Sequences that can be drawn.
        inserts: Steps that were added since the beginning of the run.
    """

    items: int = 0
    inserts: int = 0


@dataclasses.dataclass(frozen=True)
class Opened:
    """A shard is ready.

    Args:
        loaded: What it has found in its folder; None without one.
        streams: Those that go on.
        content: What it holds.
    """

    loaded: Loaded | None
    streams: tuple[int, ...]
    content: Content


class Shard:
    """Does one thing after another with its replay, in the order in which it is asked.

    Args:
        paths: Where modules are found, as in the process of the learner.
        folder: Working folder of that, entered if it is here too.
        make: Makes the replay, by cloudpickle.
    """

    def __init__(self, paths: Sequence[str], folder: str, make: bytes):
        enter(paths, folder)
        self._make = make
        self._epoch = -1
        self._plans: collections.OrderedDict[int, Plan] = collections.OrderedDict()

    def open(self, epoch: int, witness: str, folder: str, mark: str) -> Opened:
        """Begins with what a folder holds, if it is there.

        Args:
            epoch: What is asked in another one is not done.
            witness: A file that is in the run folder.
            folder: Where this shard saves.
            mark: Of the save to go on from exactly, as for `Replay.load`.

        Raises:
            FileNotFoundError: If the run folder is not here.
        """
        if not Path(witness).exists():
            raise FileNotFoundError(
                f"A replay shard runs on node {os.uname().nodename}, where the run folder "
                f"{Path(witness).parent} is not: put --logdir where all nodes see it, or set "
                "--ray.replay_shards 0."
            )
        if self._epoch >= 0:
            self._replay.close()
        self._plans.clear()
        self._saving: Saving | None = None
        self._replay: Replay = cloudpickle.loads(self._make)()
        loaded = self._replay.load(folder, mark) if Path(folder).is_dir() else None
        self._inserts = int(self._replay.stats()["inserts"])
        self._epoch = epoch
        return Opened(loaded, self._replay.open_streams(), self._content)

    def do(self, epoch: int, what: str, *args: Any) -> Any:
        """Does what one of the methods below says; returns None if it was asked of another epoch.

        Arguments that are references to objects arrive as these.
        """
        return getattr(self, f"_{what}")(*args) if epoch == self._epoch else None

    @property
    def _content(self) -> Content:
        return Content(len(self._replay), self._inserts)

    def _add(self, steps: Mapping[str, np.ndarray], streams: Sequence[int], priority: Any):
        self._replay.add(steps, streams, priority)
        self._inserts += steps["is_first"].size
        return self._content

    def _end(self, stream: int) -> Content:
        self._replay.end(stream)
        return self._content

    def _gather(
        self, number: int, count: int, probe: int | None, start: int, stop: int | None
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Steps of a plan, which is made if there is none of this number."""
        plan = self._plans.get(number)
        if plan is None or len(plan) != count:
            rng = None if probe is None else np.random.default_rng(probe)
            plan = self._plans[number] = self._replay.plan(count, probe=rng)
            if len(self._plans) > PLANS:
                self._plans.popitem(last=False)
        return self._replay.gather(plan, start, stop)

    def _write(self, ids: np.ndarray, latents: Mapping[str, np.ndarray]) -> Content:
        self._replay.write(self._replay.locate(ids), latents)
        return self._content

    def _prioritize(self, ids: np.ndarray, priority: np.ndarray) -> Content:
        self._replay.prioritize(self._replay.locate(ids), priority)
        return self._content

    def _stats(self) -> dict[str, float]:
        return self._replay.stats()

    def _save(self, folder: str, mark: str) -> bool:
        self._saving = self._replay.save(folder, mark)
        return True

    def _saved(self) -> bool:
        """Whether the save is durable; raises what it has raised."""
        if self._saving and self._saving.done:
            self._saving.wait()
            return True
        return False

"""Replay over several shards, with the face of one `Replay`."""

import collections
import concurrent.futures
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray

from reverie.replay.chunk import Layout
from reverie.replay.figures import of_all
from reverie.replay.files.restore import Loaded
from reverie.replay.shards.apart import Apart, parted
from reverie.replay.shards.remote import LOCAL_BITS, Gone, RemoteShard
from reverie.replay.shards.shard import Opened

AHEAD = 32
"""Calls of a shard that may be unanswered before more steps wait for it."""

KEPT_BYTES = 256 << 20
"""Most bytes of steps, of all shards, that are kept for those that die before they have saved them:
at most a fifth of the object store, where the steps stay."""


@dataclasses.dataclass(frozen=True)
class Draw:
    """What a batch consists of, as a `Plan`: how many sequences of each shard.

    Which ones is known to the shards alone, so that nobody can plan them again.
    """

    number: int
    counts: tuple[int, ...]
    probe: int | None
    abandoned: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, bool))
    starts: tuple[int, ...] = ()

    def __len__(self) -> int:
        return sum(self.counts)


class ShardedReplay:
    """A replay whose streams are spread over shards, which are Ray actors of their own.

    Every batch has sequences of all shards, as many of each as chance has it by what they hold, so
    that a sequence is as likely as in one replay; priorities decide within a shard. New steps pass
    from whoever made them to a shard without this process. Which steps a batch has depends on
    timing. `RemoteShard` tells what becomes of a shard that dies.

    Args:
        layout, length, context: As of the shards' replays.
        makes: For every shard a pickled function that makes its replay.
        folders: Where each shard saves.
        witness: A file that is in the run folder.
        place, options, timeout: As of `RemoteShard`; a timeout of 0 is none.
        seed: Of the draws.

    Attributes:
        worker: The threads that wait for batches and write back.

    Raises:
        FileNotFoundError: If a shard does not find the run folder.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        length: int,
        context: int,
        makes: Sequence[bytes],
        place: tuple[Sequence[str], str],
        folders: Sequence[Path],
        witness: Path,
        options: Mapping[str, Any],
        seed: int = 0,
        timeout: float = 0.0,
    ):
        self.layout, self.length, self.context = layout, length, context
        store = ray.cluster_resources().get("object_store_memory", math.inf)
        kept = min(KEPT_BYTES, store / 5) / len(makes)
        self._shards = [
            RemoteShard(
                index,
                make,
                place=place,
                home=(str(witness), str(folders[index])),
                options=options,
                timeout=timeout or None,
                kept=int(kept / layout.nbytes()),
            )
            for index, make in enumerate(makes)
        ]
        self._rng = np.random.default_rng(seed)
        self._number = 0
        self._streams: dict[int, int] = {}
        self._saving: _Saving | None = None
        self.worker = concurrent.futures.ThreadPoolExecutor(4, "replay-shards")
        try:
            self._open("")
        except BaseException:
            self.close()
            raise

    def supervise(
        self, allow: Callable[[int, Exception], float], note: Callable[[str], object]
    ) -> None:
        """Tells what to do about shards that die, see `RemoteShard`."""
        for shard in self._shards:
            shard.allow, shard.note = allow, note

    def __len__(self) -> int:
        """Number of sequences that can be drawn, as far as is known."""
        return sum(shard.content.items for shard in self._shards)

    def add(
        self, steps: Mapping[str, np.ndarray], streams: Sequence[int], priority: Any = None
    ) -> None:
        """As `Replay.add`; what is wrong with them is raised by a later call."""
        stored = steps.stored if isinstance(steps, Apart) else ray.put(parted(steps)[1])
        counts = collections.Counter(self._streams.values())
        emptiest = min(range(len(self._shards)), key=lambda index: counts[index])
        index = self._streams.get(streams[0], emptiest)
        self._streams.update(dict.fromkeys(streams, index))
        self._shards[index].log(steps["is_first"].size, "add", stored, tuple(streams), priority)
        self._shards[index].look(AHEAD)

    def end(self, stream: int) -> None:
        """As `Replay.end`."""
        index = self._streams.pop(stream, None)
        if index is not None:
            self._shards[index].log(0, "end", stream)

    def open_streams(self) -> tuple[int, ...]:
        """Ids of those that have begun and not ended."""
        return tuple(self._streams)

    def ready(self, batch_size: int) -> bool:
        """As `Replay.ready`."""
        for most in (AHEAD, 0):  # It waits for the shards only while the answer is no.
            for shard in self._shards:
                shard.look(most)
            inserts = sum(shard.content.inserts for shard in self._shards)
            if inserts >= batch_size * self.length and len(self) >= batch_size:
                return True
        return False

    def plan(self, batch_size: int, *, probe: np.random.Generator | None = None) -> Draw:
        """As `Replay.plan`; every shard has an online queue of its own."""
        for shard in self._shards:
            shard.look(AHEAD)
        items = np.array([shard.content.items for shard in self._shards], float)
        if not items.sum():
            raise IndexError("No sequence can be drawn yet.")
        rng = self._rng if probe is None else probe
        counts = rng.multinomial(batch_size, items / items.sum())
        seed = None if probe is None else int(probe.integers(1 << 62))
        self._number += 1
        return Draw(self._number, tuple(counts.tolist()), seed)

    def plan_again(self, starts: Iterable[int]) -> None:
        """As `Replay.plan_again`: there is none."""

    def gather(
        self, plan: Draw, start: int = 0, stop: int | None = None
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """As `Replay.gather`; sequences of a shard that has died are drawn anew."""
        what = "gather", plan.number
        asked = [
            (shard, count, shard.ask(*what, count, plan.probe, start, stop))
            for shard, count in zip(self._shards, plan.counts, strict=True)
            if count
        ]
        parts, ids = [], []
        for shard, count, (epoch, call) in asked:
            while True:
                try:
                    part, local = shard.get(call)
                    break
                except Gone as error:
                    shard.recover(epoch, error)
                    if not shard.content.items:
                        shard = max(self._shards, key=lambda each: each.content.items)
                    epoch, call = shard.ask(*what, count, plan.probe, start, stop)
            parts.append(part)
            ids.append(local | shard.tag(epoch) << LOCAL_BITS)
        batch = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        return batch, np.concatenate(ids)

    def locate(self, ids: np.ndarray) -> np.ndarray:
        """What `write` and `prioritize` take; the shards find the steps."""
        return np.asarray(ids, np.int64)

    def write(self, target: np.ndarray, latents: Mapping[str, Any]) -> None:
        """As `Replay.write`, without waiting for the shards."""
        arrays = {key: np.asarray(value) for key, value in latents.items()}
        for shard, rows, ids in self._by_shard(target):
            shard.send("write", ids, {key: array[rows] for key, array in arrays.items()})

    def prioritize(self, target: np.ndarray, priority: Any) -> None:
        """As `Replay.prioritize`, without waiting for the shards."""
        values = np.asarray(priority, np.float32)
        for shard, rows, ids in self._by_shard(target):
            shard.send("prioritize", ids, values[rows])

    def stats(self) -> dict[str, float]:
        """As `Replay.stats`, of all shards together."""
        found = []
        for shard, (epoch, call) in [(shard, shard.ask("stats")) for shard in self._shards]:
            while True:
                try:
                    found.append(shard.get(call))
                    break
                except Gone as error:
                    shard.recover(epoch, error)
                    epoch, call = shard.ask("stats")
        return of_all(found)

    def save(self, folder: Path | str, mark: str = "") -> "_Saving":
        """As `Replay.save`; each shard saves in a folder of its own."""
        self._saving = _Saving([shard.begin_save(mark) for shard in self._shards])
        return self._saving

    def load(self, folder: Path | str, mark: str = "") -> Loaded:
        """As `Replay.load`, of as many shards as have saved there."""
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"There is no replay to load in {folder}.")
        found = [each.loaded for each in self._open(mark) if each.loaded]
        return Loaded(
            sum(each.steps for each in found),
            sum(each.chunks for each in found),
            tuple(text for each in found for text in each.damaged),
            sum(each.lost for each in found),
            len(found) == len(self._shards) and all(each.exact for each in found),
        )

    def close(self) -> None:
        """Wait for the save in progress and end the shards."""
        self.worker.shutdown(wait=True)
        try:
            if self._saving:
                self._saving.wait()
        finally:
            for shard in self._shards:
                shard.kill()

    def _open(self, mark: str) -> list[Opened]:
        """Lets all shards begin with what they have saved."""
        waits = [shard.open(mark) for shard in self._shards]
        found = [wait() for wait in waits]
        self._streams.clear()
        for index, opened in enumerate(found):
            self._streams.update(dict.fromkeys(opened.streams, index))
        return found

    def _by_shard(self, target: np.ndarray) -> list[tuple[RemoteShard, np.ndarray, np.ndarray]]:
        """Shards, and their rows of a batch with the ids; those of dead ones are left out."""
        tags, ids = target >> LOCAL_BITS, target & ((1 << LOCAL_BITS) - 1)
        mine = [tags[:, 0] == shard.tag(shard.epoch) for shard in self._shards]
        found = zip(self._shards, map(np.flatnonzero, mine), strict=True)
        return [(shard, rows, ids[rows]) for shard, rows in found if len(rows)]


class _Saving:
    """A save in progress, as `archive.Saving`."""

    def __init__(self, waits: list[Callable[[], None]]):
        self._waits = waits

    def wait(self) -> None:
        """Return when everything is durable."""
        while self._waits:
            self._waits[0]()
            self._waits.pop(0)

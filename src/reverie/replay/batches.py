"""Prefetched training batches out of replay."""

import collections
import concurrent.futures
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from reverie.replay.plan import Plan
from reverie.replay.replay import Replay
from reverie.replay.writeback import Target

if TYPE_CHECKING:
    from reverie.replay.shards.sharded import ShardedReplay

AnyReplay = Union[Replay, "ShardedReplay"]
"""What a run may have as its replay."""

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One training batch.

    Attributes:
        batch: `[B, K+T, *shape]` per key, `[B, K, *shape]` per latent, and `consec`, int32 `[B]`:
            the number of the chunk within its stored sequence. Only chunk 0 starts from its
            latents; later ones continue the chunk before.
        ids: int64 `[B, K+T]`, the ids of the steps; those of the trained ones are `ids[:, K:]`.
    """

    batch: dict[str, np.ndarray]
    ids: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Priorities:
    ids: np.ndarray
    target: Target
    future: concurrent.futures.Future[np.ndarray | None]


class Batches:
    """Draws batches ahead of their use, and takes the fresh latents back.

    Draws and priority updates happen in the calling thread at fixed points of the call sequence;
    copying and latents go through replay's one worker thread in the order of the calls. So batches
    depend on the calls alone, not on timing.

    Args:
        replay: Where from. Its sequences must be long enough.
        batch_size: Sequences per batch B.
        batch_length: Trained steps T of each.
        context: Steps K before them, at least as many as replay's latents cover.
        consec: Consecutive batches per drawn sequence; number c has the steps `c*T .. c*T+K+T-1`.
        prefetch: Batches under way besides the one handed out. 0 copies when `next` is called.
        probe: Seed of batches that leave no trace in replay's online queue, random state and
            counters; for reports. None for training.

    Raises:
        ValueError: If replay's sequences are too short or a number is out of range.
    """

    def __init__(
        self,
        replay: AnyReplay,
        *,
        batch_size: int,
        batch_length: int,
        context: int = 1,
        consec: int = 1,
        prefetch: int = 2,
        probe: int | None = None,
    ):
        length = consec * batch_length + context
        if length > replay.length:
            raise ValueError(
                f"Batches of consec * batch_length + context = {consec} * {batch_length} + "
                f"{context} = {length} steps need longer sequences than replay's {replay.length}."
            )
        if min(batch_size, batch_length, consec) < 1 or prefetch < 0:
            raise ValueError("batch_size, batch_length and consec are at least 1, prefetch 0.")
        if context != replay.context:
            raise ValueError(f"context is {context}, replay hands out latents of {replay.context}.")
        # Plans and targets are what the one replay or the other takes them for.
        self._replay: Any = replay
        self._batch_size = batch_size
        self._batch_length = batch_length
        self._context = context
        self._consec = consec
        self._prefetch = prefetch
        self._probe = None if probe is None else np.random.default_rng(probe)
        self._plan: Plan | None = None
        self._chunk = 0
        # Batches and write-backs in the order in which the worker gets to them.
        self._queue: collections.deque[concurrent.futures.Future[Sample] | _Priorities] = (
            collections.deque()
        )
        self._postponed: tuple[np.ndarray, Mapping[str, Any], Any] | None = None
        self._closed = False

    def next(self) -> Sample:
        """The next batch; starts to prepare the one that will be needed `prefetch` calls later.

        Raises:
            IndexError: If replay has nothing to draw yet; ask `replay.ready` first.
            RuntimeError: If it is closed.
            Exception: Whatever the copying or a write-back before this batch has raised.
        """
        if self._closed:
            raise RuntimeError("The batches are closed.")
        self._fill(max(1, self._prefetch))
        while isinstance(entry := self._queue.popleft(), _Priorities):
            self._finish(entry)
        sample = entry.result()
        self._fill(self._prefetch)
        return sample

    def example(self) -> dict[str, np.ndarray]:
        """A batch of zeros, of the shapes and types that `next` delivers."""
        layout, size = self._replay.layout, self._batch_size
        lengths = dict.fromkeys(layout.data, self._context + self._batch_length)
        lengths |= dict.fromkeys(layout.latents if self._context else (), self._context)
        batch: dict[str, np.ndarray] = {"consec": np.zeros(size, np.int32)}
        for key, length in lengths.items():
            dtype, shape = layout.specs[key]
            batch[key] = np.zeros((size, length, *shape), dtype)
        return batch

    def write_back(self, ids: np.ndarray, latents: Mapping[str, Any], priority: Any = None) -> None:
        """Put fresh latents and priorities of trained steps into replay, without waiting.

        A batch whose copying was already under way keeps the latents it has. An error is raised by
        a later `next`, or by `close`.

        Args:
            ids: int64 `[B, T]`, the ids of the steps that `latents` belong to.
            latents: `[B, T, *shape]` per latent; anything that `np.asarray` takes, for example
                device arrays that are still being computed.
            priority: `[B, T]` likewise, or None.

        Raises:
            RuntimeError: If it is closed.
        """
        if self._closed:
            raise RuntimeError("The batches are closed.")
        # Located now, in the thread that evicts: later it would depend on timing what is found.
        target = self._replay.locate(ids)

        def write() -> np.ndarray | None:
            self._replay.write(target, latents)
            return None if priority is None else np.asarray(priority, np.float32)

        self._queue.append(_Priorities(ids, target, self._replay.worker.submit(write)))

    def postpone(self, ids: np.ndarray, latents: Mapping[str, Any], priority: Any = None) -> None:
        """As `write_back`, but at the next call, when more has been given to the device to do.

        What an update with a NaN gave never arrives: the next one has raised before.
        """
        if self._postponed is not None:
            self.write_back(*self._postponed)
        self._postponed = (ids, latents, priority)

    def held(self) -> tuple[dict[str, Any], Arrays]:
        """What decides the next batches besides replay, for a checkpoint.

        It waits until batches that were drawn are copied and priorities computed.

        Returns:
            Values that JSON can hold, and arrays by name.
        """
        postponed = [] if self._postponed is None else [self._postponed]
        entries = [self._taken_apart(entry) for entry in [*self._queue, *postponed]]
        meta: dict[str, Any] = {"shape": self._shape, "entries": [kind for kind, _ in entries]}
        if self._plan is not None:
            meta |= {"chunk": self._chunk, "starts": self._plan.starts}
            meta["abandoned"] = self._plan.abandoned.tolist()
        return meta, {
            f"{number}/{part}": np.asarray(array)
            for number, (_, arrays) in enumerate(entries)
            for part, array in arrays.items()
            if array is not None
        }

    def take_back(self, meta: Mapping[str, Any], arrays: Arrays) -> None:
        """Go on with what `held` gave, unless batches have another shape."""
        if meta.get("shape") != self._shape:
            return
        latents, example = self._replay.layout.latents, self.example()
        for number, kind in enumerate(meta["entries"]):
            head = f"{number}/"
            found = {k.removeprefix(head): x for k, x in arrays.items() if k.startswith(head)}
            if kind == "batch":
                batch = {key: found[f"{i}"] for i, key in enumerate(sorted(example))}
                kinds = [(x.shape, x.dtype) for x in batch.values()]
                if kinds == [(example[k].shape, example[k].dtype) for k in batch]:
                    self._queue.append(_done(Sample(batch, found["ids"])))
            elif kind == "priority" and "priority" in found:
                target = self._replay.locate(found["ids"])
                self._queue.append(_Priorities(found["ids"], target, _done(found["priority"])))
            elif kind == "postponed":
                fresh = {key: found[f"{i}"] for i, key in enumerate(latents) if f"{i}" in found}
                self._postponed = (found["ids"], fresh, found.get("priority"))
        if "starts" in meta and (plan := self._replay.plan_again(meta["starts"])):
            abandoned = np.array(meta["abandoned"], bool)
            self._plan = dataclasses.replace(plan, abandoned=abandoned)
            self._chunk = meta["chunk"]

    def close(self) -> None:
        """Drop prepared batches and finish the write-backs.

        Raises:
            Exception: Whatever a write-back has raised.
        """
        self._closed = True
        entries = list(self._queue)
        self._queue.clear()
        for entry in entries:
            if not isinstance(entry, _Priorities):
                entry.cancel()
        for entry in entries:
            if isinstance(entry, _Priorities):
                self._finish(entry)

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fill(self, count: int) -> None:
        drawn = sum(not isinstance(entry, _Priorities) for entry in self._queue)
        for _ in range(drawn, count):
            if self._plan is None:
                self._plan = self._replay.plan(self._batch_size, probe=self._probe)
            self._queue.append(self._replay.worker.submit(self._gather, self._plan, self._chunk))
            self._chunk = (self._chunk + 1) % self._consec
            self._plan = self._plan if self._chunk else None

    def _taken_apart(self, entry: Any) -> tuple[str, dict[str, Any]]:
        """Kind and arrays of an entry of the queue, or of what was postponed."""
        # Numbers, because names of keys may hold anything.
        if isinstance(entry, _Priorities):
            return "priority", {"ids": entry.ids, "priority": entry.future.result()}
        if isinstance(entry, tuple):
            ids, fresh, priority = entry
            latents = enumerate(self._replay.layout.latents)
            numbered = {f"{i}": fresh[key] for i, key in latents if key in fresh}
            return "postponed", {"ids": ids, "priority": priority, **numbered}
        sample = entry.result()
        arrays = {f"{i}": sample.batch[key] for i, key in enumerate(sorted(sample.batch))}
        return "batch", {"ids": sample.ids, **arrays}

    @property
    def _shape(self) -> list[int]:
        return [self._batch_size, self._batch_length, self._context, self._consec]

    def _gather(self, plan: Plan, chunk: int) -> Sample:
        start = chunk * self._batch_length
        stop = start + self._context + self._batch_length
        batch, ids = self._replay.gather(plan, start, stop)
        batch["consec"] = np.full(len(plan), chunk, np.int32)
        return Sample(batch, ids)

    def _finish(self, entry: _Priorities) -> None:
        priority = entry.future.result()
        if priority is not None:
            self._replay.prioritize(entry.target, priority)


def _done(result: Any) -> concurrent.futures.Future:
    future = concurrent.futures.Future()
    future.set_result(result)
    return future

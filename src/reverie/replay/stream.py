"""Prefetched training batches out of replay."""

import collections
import concurrent.futures
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from reverie.replay.buffer import Replay
from reverie.replay.plan import Plan
from reverie.replay.writeback import Target


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
    target: Target
    future: concurrent.futures.Future[np.ndarray | None]


class Stream:
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
        probe: Seed of a stream that leaves no trace in replay's online queue, random state and
            counters; for reports. None for training.

    Raises:
        ValueError: If replay's sequences are too short or a number is out of range.
    """

    def __init__(
        self,
        replay: Replay,
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
        self._replay = replay
        self._batch_size = batch_size
        self._batch_length = batch_length
        self._context = context
        self._consec = consec
        self._prefetch = prefetch
        self._probe = None if probe is None else np.random.default_rng(probe)
        self._plan: Plan | None = None
        self._chunk = 0
        # Plan and chunk of the batches in the queue.
        self._planned: collections.deque[tuple[Plan, int]] = collections.deque()
        # Batches and write-backs in the order in which the worker gets to them.
        self._queue: collections.deque[concurrent.futures.Future[Sample] | _Priorities] = (
            collections.deque()
        )
        self._batches = 0
        self._closed = False

    def next(self) -> Sample:
        """The next batch; starts to prepare the one that will be needed `prefetch` calls later.

        Raises:
            IndexError: If replay has nothing to draw yet; ask `replay.ready` first.
            RuntimeError: If the stream is closed.
            Exception: Whatever the copying or a write-back before this batch has raised.
        """
        if self._closed:
            raise RuntimeError("The stream is closed.")
        self._fill(max(1, self._prefetch))
        while isinstance(entry := self._queue.popleft(), _Priorities):
            self._finish(entry)
        self._batches -= 1
        self._planned.popleft()
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
            RuntimeError: If the stream is closed.
        """
        if self._closed:
            raise RuntimeError("The stream is closed.")
        # Located now, in the thread that evicts: later it would depend on timing what is found.
        target = self._replay.locate(ids)
        future = self._replay.worker.submit(_write, self._replay, target, latents, priority)
        self._queue.append(_Priorities(target, future))

    def planned(self) -> dict[str, Any]:
        """The batches that were drawn and not handed out, as values that JSON can hold."""
        following = [(self._plan, self._chunk)] if self._plan else []
        return {
            "shape": self._shape,
            "batches": [[chunk, plan.starts] for plan, chunk in self._planned],
            "next": [[chunk, plan.starts] for plan, chunk in following],
        }

    def take_back(self, planned: Mapping[str, Any]) -> None:
        """Begin with the batches that `planned` gave, in place of drawing others.

        Those of another shape, and those whose steps are not there any more, are left out.
        """
        if planned.get("shape") != self._shape:
            return
        plans: dict[tuple[int, ...], Plan | None] = {}
        entries = [*planned["batches"], *planned["next"]]
        for _, starts in entries:
            key = tuple(starts)
            if key not in plans:
                plans[key] = self._replay.plan_again(starts)
        for chunk, starts in planned["batches"]:
            if plan := plans[tuple(starts)]:
                self._submit(plan, chunk)
        for chunk, starts in planned["next"]:
            self._plan, self._chunk = plans[tuple(starts)], chunk
        if self._plan is None:
            self._chunk = 0

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

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fill(self, count: int) -> None:
        while self._batches < count:
            if self._plan is None:
                self._plan = self._replay.plan(self._batch_size, probe=self._probe)
            self._submit(self._plan, self._chunk)
            self._chunk = (self._chunk + 1) % self._consec
            self._plan = self._plan if self._chunk else None

    @property
    def _shape(self) -> list[int]:
        return [self._batch_size, self._batch_length, self._context, self._consec]

    def _submit(self, plan: Plan, chunk: int) -> None:
        self._queue.append(self._replay.worker.submit(self._gather, plan, chunk))
        self._planned.append((plan, chunk))
        self._batches += 1

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


def _write(
    replay: Replay, target: Target, latents: Mapping[str, Any], priority: Any
) -> np.ndarray | None:
    replay.write(target, latents)
    return None if priority is None else np.asarray(priority, np.float32)

"""Which sequences exist and can be drawn: the live chunks, the selector and the online queue."""

import collections
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from reverie.replay.chunk import Chunk
from reverie.replay.rows import Table
from reverie.replay.selectors.base import Selector, TakesPriorities

Start = tuple[Chunk, int]
"""Chunk and offset of the first step of a sequence."""


class Index:
    """Keeps the selector and the online queue in step with the chunks.

    Args:
        selector: Draws among the sequences.
        length: Steps of a sequence.
        capacity: Most steps of all chunks together.
        stride: Most rows of a chunk.
        online: Whether fresh sequences are drawn once before any other.
    """

    def __init__(self, selector: Selector, length: int, capacity: int, stride: int, online: bool):
        self.table = Table(stride)
        self.selector = selector
        self.online: collections.deque[int] = collections.deque()
        self.capacity = capacity
        self._use_online = online
        self._length = length
        self.taking = selector if isinstance(selector, TakesPriorities) else None
        if self.taking is not None:
            self.taking.connect(self.table, length)
        elif hasattr(selector, "prioritize"):
            name = type(selector).__name__
            raise TypeError(f"{name} has the method prioritize, so it needs connect and stats too.")
        self.settings = [length, capacity, stride, online, type(selector).__name__]

    def state(self) -> dict[str, Any]:
        """What row numbers stand for, as values that JSON can hold."""
        return {
            "settings": self.settings,
            "stride": self.table.stride,
            "slots": self.table.slots,
            "filled": [[chunk.serial, chunk.filled] for chunk in self.table],
        }

    def complete(self, found: list[tuple[Start, bool]]) -> None:
        """Make sequences drawable that have got their last step.

        Args:
            found: In the order of their last steps: where each one starts, and whether it shares no
                step with the fresh one before it.
        """
        rows = [self.table.row(chunk, offset) for (chunk, offset), _ in found]
        if rows:
            self.selector.insert(np.array(rows))
        if self._use_online:
            self.online.extend(chunk.id + offset for (chunk, offset), fresh in found if fresh)

    def prioritize(self, runs: Iterable[tuple[Chunk, int, np.ndarray]]) -> None:
        """Give steps priorities: those of a chunk from an offset on, unless it is gone."""
        if self.taking is not None:
            table = self.table
            alive = [run for run in runs if table.get(run[0].serial) is run[0]]
            self.taking.prioritize([(table.row(chunk, at), values) for chunk, at, values in alive])

    def evict(self) -> Iterator[Chunk]:
        """Remove the oldest chunks until the capacity is kept.

        A sequence that touches an evicted chunk starts in it, because the chunks before it in its
        stream are older and were evicted earlier. The chunk may be an open one of a slow stream.
        """
        while self.table.steps > self.capacity:
            chunk = self.table.pop_oldest()
            self.selector.remove(self._rows(chunk))
            while self.online and not self.start(self.online[0]):
                self.online.popleft()
            yield chunk

    def draw(self, count: int, rng: np.random.Generator, probe: bool) -> tuple[list[Start], int]:
        """Where `count` sequences start, and how many of them, in front, were online ones.

        For a probe see `Replay.plan`.
        """
        starts: list[Start] = []
        while not probe and self.online and len(starts) < count:
            start = self.start(self.online.popleft())
            if start is not None:
                starts.append(start)
        online = len(starts)
        if online < count:
            rows = self.selector.sample(count - online, rng, probe=probe)
            starts.extend(self.table.at(row) for row in rows.tolist())
        return starts, online

    def adopt(self, chunk: Chunk) -> None:
        """Take in a loaded chunk, newer than all others; `connect` makes it drawable."""
        serial, filled = chunk.origin
        previous = self.table.get(serial)
        # A predecessor that was saved before it was full does not lead up to this chunk.
        if previous is not None and previous.filled == filled:
            previous.next = chunk
        self.table.insert(chunk)

    def connect(self, online: Iterable[int]) -> None:
        """Make all sequences of the adopted chunks drawable.

        Args:
            online: Ids of the first steps of the sequences that wait in the online queue.
        """
        reach: dict[int, int] = {}
        for chunk in reversed(list(self.table)):
            steps = chunk.filled + (reach[chunk.next.serial] if chunk.next else 0)
            reach[chunk.serial] = steps
            chunk.starts = min(chunk.filled, max(0, steps - self._length + 1))
        for chunks in _together(self.table):
            rows = [self._rows(chunk) for chunk in chunks]
            # As at first: one of every stream, then the next one of every stream.
            offsets = np.concatenate([np.arange(len(line)) for line in rows])
            self.selector.insert(np.concatenate(rows)[np.argsort(offsets, kind="stable")])
        if self._use_online:
            self.online.extend(step for step in online if self.start(step))

    def _rows(self, chunk: Chunk) -> np.ndarray:
        first = self.table.row(chunk)
        return np.arange(first, first + chunk.starts)

    def start(self, step: int) -> Start | None:
        """The sequence that starts at a step, if it can be drawn."""
        start = self.table.find(step)
        return start if start is not None and start[1] < start[0].starts else None


def _together(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    """Groups of neighbouring chunks that were opened together, one per stream."""
    group: list[Chunk] = []
    for chunk in chunks:
        if group and chunk.stream <= group[-1].stream:
            yield group
            group = []
        group.append(chunk)
    if group:
        yield group

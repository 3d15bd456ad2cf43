"""Where new steps go: an open chunk per stream, and the sequences that get complete."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reverie.replay.chunk import Chunk, Layout
from reverie.replay.files.archive import Archive
from reverie.replay.files.storage import Storage
from reverie.replay.index import Index, Start
from reverie.spaces import LOG_PREFIX


def at_least(name: str, value: int, least: int) -> None:
    """Raises ValueError if a number is too small."""
    if value < least:
        raise ValueError(f"{name} is {value}, it must be at least {least}.")


def check(
    steps: Mapping[str, np.ndarray], streams: Sequence[int], layout: Layout
) -> dict[str, np.ndarray]:
    """The stored keys of some steps in the order of the layout; see `Replay.add`."""
    extra = [k for k in steps if k not in layout.specs and not k.startswith(LOG_PREFIX)]
    missing = [k for k in layout.specs if k not in steps]
    if extra or missing:
        raise KeyError(
            f"A transition must have the keys {sorted(layout.specs)}: "
            f"{missing} missing, {sorted(extra)} unknown."
        )
    columns = {key: np.asarray(steps[key]) for key in layout.specs}
    size = (*columns["is_first"].shape[:1], len(streams))
    for key, (dtype, shape) in layout.specs.items():
        if columns[key].dtype != dtype:
            raise TypeError(
                f"Transition key '{key}' has dtype {columns[key].dtype}, replay stores {dtype}: "
                f"convert it before adding."
            )
        if columns[key].shape != size + shape:
            raise ValueError(
                f"Transition key '{key}' has shape {columns[key].shape}, expected {size + shape}: "
                "the number of steps, of streams, then the shape of the space."
            )
    if len(set(streams)) < len(streams):
        raise ValueError(f"Steps of {list(streams)} were added: each stream goes once.")
    return columns


def check_new(priority: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The priorities of new steps as float32 of a shape `(T, N)`; see `Replay.add`."""
    values = np.asarray(priority, np.float32)
    if values.shape != shape:
        raise ValueError(
            f"The priorities of {shape} new steps have the shape {values.shape}: what "
            "replay.priosignal names must be one number per step."
        )
    if (values < 0).any():
        raise ValueError(
            f"The priority of a new step is {np.nanmin(values)}, it must be at least 0, or NaN "
            "for none: look at what replay.priosignal names."
        )
    return values


@dataclasses.dataclass(slots=True)
class Cursor:
    """Where one stream has got to.

    Attributes:
        chunk: The open one, which takes the next step while it has room.
        tail: The chunk in which the next sequence that gets complete will start, after those that
            start in it already.
        written: Steps of the stream.
        start: Number of the step with which that sequence will start.
    """

    chunk: Chunk
    tail: Chunk
    written: int = 0
    start: int = 0


class Streams:
    """Appends steps to streams of any speed, which may begin and end at any time.

    Several steps at once are the same as one after the other.

    Args:
        index: Takes the chunks and the sequences.
        storage: Where chunks live.
        archive: Is told about those that are full or gone.
        length: Steps of a sequence.
        chunksize: Most rows of a chunk.
        serial: Number of the first chunk.

    Attributes:
        serial: Number of the next chunk.
    """

    def __init__(
        self,
        index: Index,
        storage: Storage,
        archive: Archive,
        length: int,
        chunksize: int,
        serial: int = 0,
    ):
        self.serial = serial
        self._cursors: dict[int, Cursor] = {}
        self._index = index
        self._storage = storage
        self._archive = archive
        self._length = length
        self._chunksize = chunksize

    def append(
        self,
        columns: dict[str, np.ndarray],
        streams: Sequence[int],
        priority: np.ndarray | None = None,
    ) -> None:
        """Write consecutive steps of some streams, and evict chunks that are too old for them.

        The columns are what `check` returned, and the priorities what `check_new` did.

        Raises:
            FileExistsError: If the storage's folder holds the replay of another run.
            ValueError: If the capacity is too small for so many streams.
        """
        index, num = self._index, len(streams)
        if index.capacity < num * (self._length + 1):
            raise ValueError(
                f"A replay capacity of {index.capacity} steps is too small for {num} environments: "
                f"each needs room for a sequence of {self._length} steps, so at least "
                f"{num * (self._length + 1)} in all. Raise replay.size, or lower run.envs or "
                "batch_length."
            )
        begin, total = 0, len(columns["is_first"]) if num else 0
        while begin < total:
            cursors = [self._ready(stream, streams) for stream in streams]
            # Up to the end of a chunk, or until one has to go: it may be among these.
            room = min(cursor.chunk.rows - cursor.chunk.filled for cursor in cursors)
            left = (index.capacity - index.table.steps) // num + 1
            count = max(1, min(room, left, total - begin))
            part = slice(begin, begin + count)
            self._write(cursors, count, {key: column[part] for key, column in columns.items()})
            if priority is not None:
                given = np.argwhere(~np.isnan(priority[part])).tolist()
                index.prioritize(
                    (chunk, chunk.filled - count + time, priority[begin + time, i : i + 1])
                    for time, i in given
                    for chunk in [cursors[i].chunk]
                )
            index.complete(self._complete(cursors, count))
            for chunk in index.evict():
                self._forget(chunk)
                self._archive.drop(chunk)
            begin += count

    def end(self, stream: int) -> None:
        """Close a stream, if there is one of this id."""
        cursor = self._cursors.pop(stream, None)
        if cursor is not None:
            cursor.chunk.rows = cursor.chunk.filled
            self._archive.finish(cursor.chunk)

    @property
    def open(self) -> tuple[int, ...]:
        """Ids of those that have begun and not ended."""
        return tuple(self._cursors)

    def state(self) -> list[list[int]]:
        """Id, open chunk, its rows and number of steps of each stream, for `restore`."""
        return [
            [stream, cursor.chunk.serial, cursor.chunk.rows, cursor.written]
            for stream, cursor in self._cursors.items()
        ]

    def restore(self, state: Sequence[Sequence[int]]) -> None:
        """Go on from a `state`, with the chunks in the index.

        Raises:
            KeyError: If one of the open ones is not there.
        """
        table = self._index.table
        for stream, serial, _, written in state:
            chunk = table.get(serial)
            if chunk is None:
                raise KeyError(f"Chunk {serial} of stream {stream} is not there.")
            tail, waiting = chunk, chunk.filled - chunk.starts
            while not tail.starts and (previous := table.before(tail)) is not None:
                tail, waiting = previous, waiting + previous.filled - previous.starts
            self._cursors[stream] = Cursor(chunk, tail, written, written - waiting)

    def _ready(self, stream: int, streams: Sequence[int]) -> Cursor:
        """The cursor of a stream, with room for a step."""
        cursor = self._cursors.get(stream)
        if cursor is None:
            self._archive.begin()
            chunk = self._open(stream, None, streams)
            cursor = self._cursors[stream] = Cursor(chunk, chunk)
        elif cursor.chunk.filled == cursor.chunk.rows:
            self._archive.finish(cursor.chunk)
            cursor.chunk = self._open(stream, cursor.chunk, streams)
        return cursor

    def _open(self, stream: int, previous: Chunk | None, streams: Sequence[int]) -> Chunk:
        num = len(self._cursors.keys() | streams)
        # A quarter of what a stream can hold beyond one sequence keeps every stream drawable, where
        # all are equally fast, and evicts in pieces that are not too coarse.
        rows = (self._index.capacity // num - self._length) // 4
        layout = self._storage.layout
        fitting = self._storage.growing // (num * layout.nbytes())
        rows = max(1, min(self._chunksize, rows, fitting))
        chunk = Chunk(self.serial, stream, layout.empty(rows), previous)
        self.serial += 1
        self._index.table.insert(chunk)
        return chunk

    def _write(self, cursors: list[Cursor], count: int, columns: dict[str, np.ndarray]) -> None:
        chunks = [cursor.chunk for cursor in cursors]
        arrays = [chunk.arrays for chunk in chunks]
        rows = [slice(chunk.filled, chunk.filled + count) for chunk in chunks]
        for key, column in columns.items():
            for array, row, value in zip(arrays, rows, column.swapaxes(0, 1), strict=True):
                array[key][row] = value
        # Only now do the rows count: a reader never sees a half-written step.
        for cursor in cursors:
            cursor.chunk.filled += count
            cursor.written += count
        self._index.table.steps += count * len(cursors)

    def _complete(self, cursors: list[Cursor], count: int) -> list[tuple[Start, bool]]:
        """Where the sequences start that the last `count` steps of each stream complete.

        Returns:
            In the order of their last steps: where each one starts, and whether it is fresh: it
            shares no step with the fresh one of its stream before it.
        """
        found = []
        for cursor in cursors:
            more = cursor.written - cursor.start - self._length + 1
            for time in range(count - more, count):
                tail = cursor.tail
                if tail.starts == tail.filled and tail.next is not None:
                    tail = cursor.tail = tail.next
                found.append((time, (tail, tail.starts), cursor.start % self._length == 0))
                tail.starts += 1
                cursor.start += 1
        found.sort(key=lambda entry: entry[0])
        return [(start, fresh) for _, start, fresh in found]

    def _forget(self, chunk: Chunk) -> None:
        """Leave a chunk that was evicted; if it is an open one, its stream ends."""
        cursor = self._cursors.get(chunk.stream)
        if cursor is not None and cursor.tail is chunk:
            if chunk.next is None:
                del self._cursors[chunk.stream]
            else:
                cursor.start += chunk.filled - chunk.starts
                cursor.tail = chunk.next

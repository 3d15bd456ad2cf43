"""Where new steps go: the writer of a run, and the chunks that it opens."""

from collections.abc import Mapping
from typing import Any

from reverie.replay.chunk import Chunk, Storage
from reverie.replay.files.archive import Archive
from reverie.replay.index import Index
from reverie.replay.writer import Writer, chunk_rows


class Streams:
    """Makes the writer when the number of environments is known, or goes on with an earlier one.

    Args:
        index: Takes the chunks.
        storage: Where they live.
        archive: Is told about those that are full.
        length: Steps of a sequence.
        chunksize: Most rows of a chunk.

    Attributes:
        serial: Number of the next chunk.
        writer: Takes the steps; None before the first one.
    """

    def __init__(
        self, index: Index, storage: Storage, archive: Archive, length: int, chunksize: int
    ):
        self.serial = 0
        self.writer: Writer | None = None
        self._resumed: Writer | None = None
        self._index = index
        self._storage = storage
        self._archive = archive
        self._length = length
        self._chunksize = chunksize

    def begin(self, count: int) -> Writer:
        """Called before the first step of as many environments.

        Streams of an earlier run end if there were others.

        Raises:
            FileExistsError: If the storage's folder holds the replay of another run.
            ValueError: If the capacity is too small.
        """
        self._archive.begin()
        resumed, self._resumed = self._resumed, None
        if resumed is None or resumed.streams != count:
            resumed = self._make(count)
        self.writer = resumed
        return resumed

    def state(self) -> dict[str, Any] | None:
        """Where the writer has got to, as values that JSON can hold."""
        writer = self.writer or self._resumed
        return writer.state() if writer else None

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a `state`, with the chunks in the index.

        Raises:
            KeyError: If one of its chunks is not there.
        """
        if state is not None:
            self._resumed = self._make(state["streams"])
            self._resumed.restore(state, self._index.table)

    def _make(self, count: int) -> Writer:
        rows = chunk_rows(self._chunksize, self._index.capacity, self._length, count)
        rows = min(rows, self._storage.most_rows(count))
        return Writer(count, self._length, lambda *args: self._open(rows, *args))

    def _open(self, rows: int, stream: int, previous: Chunk | None) -> Chunk:
        if previous is not None:
            self._archive.finish(previous)
        arrays = self._storage.allocate(rows)
        chunk = Chunk(self.serial, stream, arrays, previous)
        self.serial += 1
        self._index.table.insert(chunk)
        return chunk

"""The chunks that replay holds, and a dense numbering of their rows."""

import collections
from collections.abc import Iterator

from reverie.replay.chunk import OFFSET_BITS, Chunk

_OFFSET_MASK = (1 << OFFSET_BITS) - 1


class Table:
    """The live chunks, oldest first, and a dense number for each of their rows.

    Chunks get slots, and the row at an offset has the number `slot * stride + offset`. Selectors
    work on these numbers: they are small, so that plain arrays can be indexed with them, but they
    are used again once their chunk is gone.

    Args:
        stride: Most rows of a chunk.
    """

    def __init__(self, stride: int):
        self.stride = stride
        self.steps = 0
        self._chunks: collections.OrderedDict[int, Chunk] = collections.OrderedDict()
        self._slots: list[Chunk | None] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self._chunks.values())

    def get(self, serial: int) -> Chunk | None:
        """The live chunk of this serial, or None if it was evicted."""
        return self._chunks.get(serial)

    def before(self, chunk: Chunk) -> Chunk | None:
        """The live chunk that this one continues, if there is one."""
        previous = self._chunks.get(chunk.origin[0])
        return previous if previous is not None and previous.next is chunk else None

    def insert(self, chunk: Chunk) -> None:
        """Add the newest chunk; its rows count when they are written (`steps`)."""
        if self._free:
            chunk.slot = self._free.pop()
            self._slots[chunk.slot] = chunk
        else:
            chunk.slot = len(self._slots)
            self._slots.append(chunk)
        self._chunks[chunk.serial] = chunk
        self.steps += chunk.filled

    @property
    def slots(self) -> list[list[int]]:
        """The serial in each slot, -1 in free ones, and the order in which these are used."""
        return [[c.serial if c else -1 for c in self._slots], list(self._free)]

    def place(self, slots: list[list[int]]) -> None:
        """Move the chunks to the slots that `slots` gave, before any row number is in use.

        Raises:
            ValueError: If these are slots of other chunks.
        """
        serials, free = slots
        live = [serial for serial in serials if serial >= 0]
        if sorted(live) != list(self._chunks) or len(free) + len(live) != len(serials):
            raise ValueError("the saved slots are those of other chunks")
        self._slots = [self._chunks.get(serial) for serial in serials]
        self._free = list(free)
        for slot, chunk in enumerate(self._slots):
            if chunk is not None:
                chunk.slot = slot

    def pop_oldest(self) -> Chunk:
        """Remove the oldest chunk; it keeps its slot number, so that its rows can be removed."""
        _, chunk = self._chunks.popitem(last=False)
        self._slots[chunk.slot] = None
        self._free.append(chunk.slot)
        self.steps -= chunk.filled
        return chunk

    def find(self, step: int) -> tuple[Chunk, int] | None:
        """Chunk and offset of the step with this id, or None if it was evicted."""
        chunk = self.get(step >> OFFSET_BITS)
        return None if chunk is None else (chunk, step & _OFFSET_MASK)

    def row(self, chunk: Chunk, offset: int = 0) -> int:
        """Number of the row at this offset."""
        return chunk.slot * self.stride + offset

    def at(self, row: int) -> tuple[Chunk, int]:
        """Chunk and offset of a row number.

        Raises:
            KeyError: If no live chunk has this row.
        """
        slot, offset = divmod(row, self.stride)
        chunk = self._slots[slot]
        if chunk is None:
            raise KeyError(f"Row {row} belongs to no live chunk.")
        return chunk, offset

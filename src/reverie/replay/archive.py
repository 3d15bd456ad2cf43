"""Replay on disk: a folder of chunk files that describes itself.

Files of a folder:

- `<serial>.chunk`: the steps of a chunk without latents. A finished chunk is written once; an open
  one is replaced by a longer version at each save.
- `<serial>.latents`: its latents, which change with every update. They are written anew when they
  changed, at most `LATENT_BUDGET` bytes per save for finished chunks and those of the longest ago
  first. Latents on disk may therefore be older than those in memory. That is the same kind of
  staleness that latents in replay always have, and drawing the sequence refreshes them.
- `selector`: what the selector keeps, such as priorities; absent if that is nothing.
- `state`: random state, online queue and counters.

There is no list of files that could be out of step with them: loading reads whatever chunks are
there. A save that is killed leaves some files newer than others, each of them whole.
"""

import concurrent.futures
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reverie.replay import record
from reverie.replay.storage import Chunk, Layout

LATENT_BUDGET = 1 << 30
"""Bytes of latents of finished chunks that one save writes anew."""


class Saving:
    """A save in progress."""

    def __init__(self, future: concurrent.futures.Future[None]):
        self._future = future
        self._reported = False

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._future.done()

    def wait(self, timeout: float | None = None) -> None:
        """Return when everything is durable.

        Args:
            timeout: Seconds to wait; None waits for as long as it takes.

        Raises:
            OSError: If the disk refused.
            TimeoutError: If it takes longer.
        """
        concurrent.futures.wait([self._future], timeout)
        if not self._future.done():
            raise TimeoutError(f"The save was not finished after {timeout} seconds.")
        self._reported = True
        self._future.result()

    def report(self) -> None:
        """Raise the failure of a save that has ended and that nobody waited for."""
        if self.done and not self._reported:
            self.wait()


class Archive:
    """Writes one replay into one folder.

    Args:
        folder: Created if it does not exist.
        latent_lock: Held by whoever writes latents or copies them.
    """

    def __init__(self, folder: Path, latent_lock: contextlib.AbstractContextManager):
        self.folder = folder
        # Per serial: rows in the chunk file, version of the latents, number of the save.
        self._written: dict[int, tuple[int, int, int]] = {}
        self._lock = latent_lock
        self._saves = 0
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "replay-save")
        self._previous: Saving | None = None

    def know(self, chunks: Iterable[Chunk]) -> None:
        """Note chunks that were loaded from this folder, so that they are not written again."""
        self._written |= {chunk.serial: (chunk.filled, chunk.version, 0) for chunk in chunks}

    def save(
        self,
        chunks: Sequence[Chunk],
        layout: Layout,
        state: dict[str, Any],
        selector: Mapping[str, np.ndarray],
    ) -> Saving:
        """Write in the background what is not on the disk yet.

        Rows already written never change, so remembering how many there are is all that the caller
        waits for; nothing is copied.

        Args:
            chunks: Live chunks, oldest first.
            layout: Their keys.
            state: JSON-serialisable values to keep with them.
            selector: What the selector keeps.

        Raises:
            OSError: If the previous save has failed.
        """
        if self._previous is not None:
            self._previous.report()
        rows = [chunk.filled for chunk in chunks]
        self._previous = Saving(
            self._executor.submit(self._write, list(chunks), rows, layout, state, selector)
        )
        return self._previous

    def close(self) -> None:
        """Wait for the save in progress and report its failure."""
        self._executor.shutdown(wait=True)
        if self._previous is not None:
            self._previous.report()

    def _write(
        self,
        chunks: list[Chunk],
        rows: list[int],
        layout: Layout,
        state: dict[str, Any],
        selector: Mapping[str, np.ndarray],
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._saves += 1
        for chunk, count in zip(chunks, rows, strict=True):
            if count > self._written.get(chunk.serial, (0, 0, 0))[0]:
                self._write_chunk(chunk, count, layout)
        self._refresh_latents(chunks, layout)
        if selector:
            record.write(self.folder / "selector", {}, selector)
        else:
            (self.folder / "selector").unlink(missing_ok=True)
        record.write(self.folder / "state", state, {})
        record.sync(self.folder)
        self._delete_others({chunk.serial for chunk in chunks})

    def _write_chunk(self, chunk: Chunk, rows: int, layout: Layout) -> None:
        # Latents first: a chunk file that exists always finds latents for all its rows.
        version = self._write_latents(chunk, rows, layout)
        fields = {
            "serial": chunk.serial,
            "stream": chunk.stream,
            "rows": rows,
            "origin": list(chunk.origin),
        }
        arrays = {key: chunk.arrays[key][:rows] for key in layout.data}
        record.write(path_of(self.folder, chunk.serial, "chunk"), fields, arrays)
        self._written[chunk.serial] = (rows, version, self._saves)

    def _write_latents(self, chunk: Chunk, rows: int, layout: Layout) -> int:
        with self._lock:
            version = chunk.version
            arrays = {key: chunk.arrays[key][:rows].copy() for key in layout.latents}
        record.write(path_of(self.folder, chunk.serial, "latents"), {"rows": rows}, arrays)
        return version

    def _refresh_latents(self, chunks: list[Chunk], layout: Layout) -> None:
        stale = [c for c in chunks if self._written[c.serial][1] != c.version]
        stale.sort(key=lambda chunk: self._written[chunk.serial][2])
        budget = LATENT_BUDGET
        for chunk in stale:
            rows = self._written[chunk.serial][0]
            budget -= sum(chunk.arrays[key][:rows].nbytes for key in layout.latents)
            if budget < 0:
                break
            version = self._write_latents(chunk, rows, layout)
            self._written[chunk.serial] = (rows, version, self._saves)

    def _delete_others(self, live: set[int]) -> None:
        # In the order of names a chunk goes before its latents, so that a kill between the two
        # leaves no chunk without latents.
        for path in sorted(self.folder.iterdir()):
            temporary = path.name.endswith(record.TEMPORARY)
            serial = _serial(path)
            if temporary or (serial is not None and serial not in live):
                path.unlink()
        self._written = {serial: self._written[serial] for serial in live}


def serials(folder: Path) -> list[int]:
    """Serials of all chunk files in a folder, damaged ones included, in ascending order."""
    if not folder.is_dir():
        return []
    found = {_serial(path) for path in folder.iterdir()}
    return sorted(serial for serial in found if serial is not None)


def path_of(folder: Path, serial: int, kind: str) -> Path:
    """File of a chunk; the kind is `chunk` or `latents`."""
    return folder / f"{serial:010d}.{kind}"


def _serial(path: Path) -> int | None:
    known = path.suffix in (".chunk", ".latents") and path.stem.isdecimal()
    return int(path.stem) if known else None

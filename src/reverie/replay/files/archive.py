"""Replay on disk: a folder of chunk files that describes itself.

Files of a folder:

- `<serial>.chunk`: the steps of a chunk without latents, with images compressed or not: the header
  says so. A finished chunk is written once, as soon as it is finished; an open one is replaced by a
  longer version at each save.
- `<serial>.latents`: its latents, which change with every update. They are written anew when they
  changed, at most `LATENT_BUDGET` bytes per save for finished chunks and those of the longest ago
  first. Latents on disk may therefore be older than those in memory, where there are more. That is
  the same kind of staleness that latents in replay always have, and drawing the sequence refreshes
  them. They are copied by the thread that writes latents, after all that it was to write before.
- `selector`: what the selector keeps, such as priorities; absent if that is nothing.
- `state`: random state, online queue, counters, and where streams and row numbers are.

`selector` and `state` bear the mark of the save. Where it is that of the checkpoint that a run goes
on from, it goes on with the very same draws, and rows that were written later are cut off.

There is no list of files that could be out of step with them: loading reads whatever chunks are
there. A save that is killed leaves some files newer than others, each of them whole.
"""

import collections
import concurrent.futures
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reverie.disk import explain_full_disk, sync
from reverie.replay.chunk import Chunk
from reverie.replay.files import format
from reverie.replay.files.storage import Storage

LATENT_BUDGET = 1 << 30
"""Bytes of latents of finished chunks that one save copies and writes anew."""

Copy = tuple[int, dict[str, np.ndarray]]
"""Version and latents of a chunk."""


class Saving:
    """A save in progress."""

    def __init__(self, future: concurrent.futures.Future[None]):
        self._future = future
        self._reported = False

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._future.done()

    def wait(self) -> None:
        """Return when everything is durable.

        Raises:
            OSError: If the disk refused.
        """
        concurrent.futures.wait([self._future])
        self._reported = True
        self._future.result()

    def report(self) -> None:
        """Raise the failure of a save that has ended and that nobody waited for."""
        if self.done and not self._reported:
            self.wait()


class Archive:
    """Writes a replay into a folder, in a thread of its own.

    The folder is that of the storage, or the one last saved to or loaded from. A replay in RAM has
    none before that, and then nothing is written.

    Args:
        storage: Where the chunks live.
        latent_lock: Held by whoever writes latents or copies them.
    """

    def __init__(self, storage: Storage, latent_lock: contextlib.AbstractContextManager):
        self._folder: Path | None = None
        # Per serial: rows in the chunk file, version of the latents, number of the save.
        self._written: dict[int, tuple[int, int, int]] = {}
        self._storage = storage
        self._layout = storage.layout
        self._lock = latent_lock
        self._saves = 0
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "replay-save")
        self._previous: Saving | None = None
        self._jobs: collections.deque[tuple[concurrent.futures.Future[None], int]] = (
            collections.deque()
        )

    def begin(self) -> None:
        """Called before the first step is added.

        Raises:
            FileExistsError: If the storage's folder holds the replay of another run.
        """
        if self._storage.folder is not None:
            self._claim(self._storage.folder)

    def check(self, folder: Path) -> None:
        """Check that the storage can work with a folder.

        Raises:
            ValueError: If it lives in another one.
        """
        home = self._storage.folder
        if home is not None and folder != home:
            raise ValueError(f"A replay that lives on disk in {home} cannot use {folder}.")

    def use(self, folder: Path, chunks: Iterable[Chunk] = ()) -> None:
        """Write to a folder from now on, which holds these chunks already.

        Raises:
            OSError: If something could not be written to the one before.
        """
        self.close()
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "replay-save")
        self._folder = folder
        self._written = {chunk.serial: (chunk.filled, chunk.version, 0) for chunk in chunks}

    def finish(self, chunk: Chunk) -> None:
        """Start to write a chunk that is full; waits if too much waits to be written."""
        if self._folder is None:
            return
        self._jobs.append(
            (self._submit(self._folder, self._finish, chunk), self._layout.nbytes(chunk.rows))
        )
        waiting = [(job, size) for job, size in self._jobs if not job.done()]
        while sum(size for _, size in waiting) > self._storage.waiting:
            concurrent.futures.wait([waiting.pop(0)[0]])

    def drop(self, chunk: Chunk) -> None:
        """Start to delete the files of a chunk that was evicted; plans can still read it."""
        if self._folder is not None:
            self._jobs.append((self._submit(self._folder, self._drop, chunk), 0))

    def report(self) -> None:
        """Raise the failure of a `finish` or `drop` that has ended.

        Raises:
            OSError: If a chunk could not be written or deleted.
        """
        while self._jobs and self._jobs[0][0].done():
            self._jobs.popleft()[0].result()

    def save(
        self,
        folder: Path,
        chunks: Sequence[Chunk],
        state: dict[str, Any],
        selector: Mapping[str, np.ndarray],
        worker: concurrent.futures.Executor,
    ) -> Saving:
        """Write in the background what is not on the disk yet.

        Rows already written never change, so remembering how many there are is all that the caller
        waits for; the worker copies latents.

        Args:
            folder: Created if it does not exist.
            chunks: Live ones, oldest first.
            state: Values that JSON can hold.
            selector: What the selector keeps.
            worker: Writes latents, one thread.

        Raises:
            FileExistsError: If the folder holds chunks that are not ours.
            OSError: If the previous save has failed.
            ValueError: If the storage lives in another folder.
        """
        self._claim(folder)
        if self._previous is not None:
            self._previous.report()
        # Whatever could not be written when it was finished is tried again by this save.
        self._jobs.clear()
        rows = {chunk: chunk.filled for chunk in chunks}
        copies = worker.submit(self._copy, rows)
        job = self._submit(folder, self._write, rows, state, selector, copies)
        self._previous = Saving(job)
        return self._previous

    def close(self) -> None:
        """Wait for what is in progress and report its failure."""
        self._executor.shutdown(wait=True)
        if self._previous is not None:
            self._previous.report()
        self.report()

    def _claim(self, folder: Path) -> None:
        """Write to a folder that holds no chunks but ours."""
        self.check(folder)
        if folder == self._folder:
            return
        if serials(folder):
            raise FileExistsError(
                f"{folder} holds the replay of another run: load it first, or save elsewhere."
            )
        self.use(folder)

    def _submit(
        self, folder: Path, job: Callable[..., None], *args: Any
    ) -> concurrent.futures.Future[None]:
        """Have something done with a folder, after all before it."""
        return self._executor.submit(explain_full_disk(folder)(job), folder, *args)

    def _finish(self, folder: Path, chunk: Chunk) -> None:
        if chunk.rows > self._rows_of(chunk):
            self._write_chunk(folder, chunk, chunk.rows)
        elif chunk.file is None:  # It was saved before its stream ended.
            self._land(folder, chunk)

    def _drop(self, folder: Path, chunk: Chunk) -> None:
        if chunk.file is not None:
            with contextlib.suppress(FileNotFoundError):
                chunk.file.detach()
        # A chunk goes before its latents, so that a kill between the two leaves none without.
        for kind in ("chunk", "latents"):
            path_of(folder, chunk.serial, kind).unlink(missing_ok=True)
        self._written.pop(chunk.serial, None)
        self._storage.release(chunk)

    def _write(
        self,
        folder: Path,
        rows: dict[Chunk, int],
        state: dict[str, Any],
        selector: Mapping[str, np.ndarray],
        copying: concurrent.futures.Future[dict[Chunk, Copy]],
    ) -> None:
        copies = copying.result()
        self._saves += 1
        for chunk, count in rows.items():
            copy = copies.pop(chunk, None)
            if copy is not None or count > self._rows_of(chunk):
                self._write_chunk(folder, chunk, count, copy)
        if selector:
            format.write(folder / "selector", {"mark": state["mark"]}, selector)
        else:
            (folder / "selector").unlink(missing_ok=True)
        format.write(folder / "state", state, {})
        sync(folder)
        self._delete_others(folder, {chunk.serial for chunk in rows})

    def _write_chunk(self, folder: Path, chunk: Chunk, rows: int, copy: Copy | None = None) -> None:
        """Write the latents, and the chunk unless it is there with all its rows."""
        version, latents = copy or self._latents(chunk, rows)
        # Latents first: a chunk file that exists always finds latents for all its rows.
        format.write(path_of(folder, chunk.serial, "latents"), {"rows": rows}, latents)
        new = rows > self._rows_of(chunk)
        if new:
            fields = {
                "serial": chunk.serial,
                "stream": chunk.stream,
                "rows": rows,
                "origin": list(chunk.origin),
            }
            data = {key: chunk.arrays[key][:rows] for key in self._layout.data}
            path = path_of(folder, chunk.serial, "chunk")
            format.write(path, fields, data, compress=self._storage.compressed)
        self._written[chunk.serial] = (rows, version, self._saves)
        if new and rows == chunk.rows:
            self._land(folder, chunk)

    def _rows_of(self, chunk: Chunk) -> int:
        """Rows in its file."""
        return self._written.get(chunk.serial, (0, 0, 0))[0]

    def _land(self, folder: Path, chunk: Chunk) -> None:
        with self._lock:
            self._storage.land(chunk, format.File(path_of(folder, chunk.serial, "chunk")))

    def _latents(self, chunk: Chunk, rows: int) -> Copy:
        """Version and copies of the latents of the first rows."""
        arrays = self._layout.empty(rows, self._layout.latents)
        with self._lock:
            version = chunk.version
            chunk.read(0, rows, arrays)
        return version, arrays

    def _copy(self, rows: dict[Chunk, int]) -> dict[Chunk, Copy]:
        """The latents that a save has to write: those of new rows, and as many more as it may."""
        stale: list[tuple[int, Chunk]] = []
        for chunk, count in rows.items():
            known, version, save = self._written.get(chunk.serial, (0, -1, 0))
            if count > known or version != chunk.version:
                stale.append((-1 if count > known else save, chunk))
        copies: dict[Chunk, Copy] = {}
        budget = LATENT_BUDGET
        for _, chunk in sorted(stale, key=lambda entry: entry[0]):
            budget -= self._layout.nbytes(rows[chunk], self._layout.latents)
            if budget < 0:
                break
            copies[chunk] = self._latents(chunk, rows[chunk])
        return copies

    def _delete_others(self, folder: Path, live: set[int]) -> None:
        # In the order of names a chunk goes before its latents, so that a kill between the two
        # leaves no chunk without latents.
        for path in sorted(folder.iterdir()):
            # What a kill has left of a file, as it is called now or was in earlier versions.
            torn = ".partial" in path.name or path.suffix == ".tmp"
            serial = _serial(path)
            if torn or (serial is not None and serial not in live):
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

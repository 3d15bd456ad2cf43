"""Reading back what `archive` wrote, whatever state a killed run has left it in."""

import concurrent.futures
import dataclasses
import logging
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reverie.replay.chunk import Chunk, Layout
from reverie.replay.files import record
from reverie.replay.files.archive import path_of, serials
from reverie.replay.files.storage import Storage
from reverie.replay.index import Index
from reverie.replay.selectors.base import KeepsState
from reverie.spaces import LATENT_PREFIX

THREADS = 4
"""That read chunks at once; each has memory for one."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What was found in a folder.

    Attributes:
        steps: Steps restored.
        chunks: Chunks restored.
        damaged: Reasons for the files that were skipped, each with the file's name.
        lost: How many of these are chunks.
        exact: Whether all is as it was at the save.
    """

    steps: int
    chunks: int
    damaged: tuple[str, ...]
    lost: int
    exact: bool = False


def restore(
    folder: Path, index: Index, storage: Storage, mark: str
) -> tuple[Loaded, list[Chunk], dict[str, Any], list[list[int]]]:
    """Take all chunks of a folder into an empty index.

    Args:
        folder: Where they are.
        index: Where they go; chunks that do not fit its capacity are dropped, oldest first.
        storage: Where their arrays go.
        mark: Of the save that is to be restored exactly; empty for none.

    Returns:
        What was found, the live chunks, the saved state, empty if it was lost, and where the
        streams go on if that is exact.

    Raises:
        ValueError: If keys, dtypes or shapes are not those of the storage's layout.
    """
    damaged: list[str] = []
    state, _ = _read(folder / "state", damaged)
    fields, selector = _read(folder / "selector", damaged)
    others = len(damaged)
    headers, wanted, streams = None, {}, []
    if (
        mark
        and mark == fields.get("mark") == state.get("mark")
        and state["filled"]
        and state["settings"] == index.settings
    ):
        wanted, streams = dict(state["filled"]), _streams(state)
        headers = _headers(folder, storage.layout, [], wanted)
        headers = _exactly(headers, wanted, {serial for _, serial, _, _ in streams})
    if headers is None:
        wanted, streams = {}, []
        headers = _newest(_headers(folder, storage.layout, damaged, wanted), index.capacity)
    table = index.table
    table.stride = max([table.stride, *(header.fields["rows"] for header in headers)])
    room = {serial: min(rows, table.stride) for _, serial, rows, _ in streams}
    for chunk in _chunks(folder, headers, storage, damaged, wanted, room):
        index.adopt(chunk)
    exact = bool(wanted) and len(table) == len(wanted)
    if exact:
        table.stride = max(table.stride, state["stride"])
        table.place(state["slots"])
    index.connect(state.get("online", ()))
    if isinstance(index.selector, KeepsState):
        index.selector.restore(selector, exact)
    chunks = list(table)
    loaded = Loaded(table.steps, len(chunks), tuple(damaged), len(damaged) - others, exact)
    return loaded, chunks, state, streams


def _streams(state: Mapping[str, Any]) -> list[list[int]]:
    """Where streams were, as `Streams.state` gives it."""
    if "streams" in state:
        return state["streams"]
    # Earlier versions had streams of equal speed.
    old = state["writer"]
    opened = enumerate(old["open"]) if old else ()
    return [[stream, serial, old["rows"], old["written"]] for stream, serial in opened]


def _exactly(
    headers: list[record.Header], wanted: Mapping[int, int], growing: set[int]
) -> list[record.Header] | None:
    """The headers, if they are those of all wanted chunks as they were; open ones may be longer."""
    for header in headers:
        serial, rows = header.fields["serial"], header.fields["rows"]
        if rows != wanted[serial] and serial not in growing:
            return None
    return headers if len(headers) == len(wanted) else None


def _read(path: Path, damaged: list[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Fields and arrays of a file; empty if it is torn, with the reason in `damaged`, or not there.

    Finished chunks are written before the first save.
    """
    if path.exists():
        try:
            header, arrays = record.read(path)
            return header.fields, arrays
        except record.DamagedFile as error:
            _skip(error, damaged)
    return {}, {}


def _headers(
    folder: Path, layout: Layout, damaged: list[str], wanted: Mapping[int, int]
) -> list[record.Header]:
    """Headers of the usable chunk files, oldest first.

    Args:
        folder: Where they are.
        layout: What they must hold.
        damaged: Takes the reasons for those that cannot be used.
        wanted: Rows that are needed of each chunk by serial, the only ones to be looked at; if it
            is empty all rows of all.

    Raises:
        ValueError: If a file holds other keys, dtypes or shapes than the layout.
    """
    headers = []
    for serial in serials(folder):
        if (wanted and serial not in wanted) or not path_of(folder, serial, "chunk").exists():
            continue  # The save was killed between the latents and the chunk.
        try:
            data = record.read_header(path_of(folder, serial, "chunk"))
            latents = record.read_header(path_of(folder, serial, "latents"))
            rows = wanted.get(serial, data.fields["rows"])
            if data.fields["serial"] != serial or rows > min(
                data.fields["rows"], latents.fields["rows"]
            ):
                raise record.DamagedFile(
                    f"{path_of(folder, serial, 'latents')} does not belong to its chunk."
                )
        except (record.DamagedFile, FileNotFoundError) as error:
            _skip(error, damaged)
            continue
        _check_arrays(folder, data.arrays | latents.arrays, layout)
        headers.append(data)
    return headers


def _newest(headers: list[record.Header], capacity: int) -> list[record.Header]:
    """Those of the newest chunks that fit the capacity."""
    ends = np.cumsum([header.fields["rows"] for header in reversed(headers)])
    return headers[len(headers) - int(np.searchsorted(ends, capacity, side="right")) :]


def _chunks(
    folder: Path,
    headers: list[record.Header],
    storage: Storage,
    damaged: list[str],
    wanted: Mapping[int, int],
    room: Mapping[int, int],
) -> Iterator[Chunk]:
    """The chunks that agree with their checksums, in order; the reasons for others in `damaged`.

    They are closed and have all their rows, but for those that streams go on in: these have the
    wanted rows, and room for others.
    """
    lock = threading.Lock()

    def load(header: record.Header) -> Chunk | Exception:
        try:
            return _chunk(folder, header, storage, wanted, room, lock)
        except (record.DamagedFile, FileNotFoundError) as error:
            return error

    # Reading and computing checksums leave the interpreter to other threads.
    with concurrent.futures.ThreadPoolExecutor(THREADS, "replay-load") as pool:
        for chunk in pool.map(load, headers):
            if isinstance(chunk, Exception):
                _skip(chunk, damaged)
            else:
                yield chunk


def _chunk(
    folder: Path,
    header: record.Header,
    storage: Storage,
    wanted: Mapping[int, int],
    room: Mapping[int, int],
    lock: threading.Lock,
) -> Chunk:
    """One chunk, read as a whole.

    Raises:
        DamagedFile, FileNotFoundError: If it is torn or gone.
    """
    serial, rows = header.fields["serial"], header.fields["rows"]
    filled = wanted.get(serial, rows)
    arrays = storage.allocate(max(filled, room.get(serial, rows)))
    path = path_of(folder, serial, "chunk")
    latents = path_of(folder, serial, "latents")
    for file, keys in ((path, storage.layout.data), (latents, storage.layout.latents)):
        record.read_into(file, {key: arrays[key][:filled] for key in keys})
    chunk = Chunk(serial, header.fields["stream"], arrays)
    chunk.filled = filled
    chunk.origin = tuple(header.fields["origin"])
    if filled == chunk.rows:
        with lock:
            storage.land(chunk, path)
    return chunk


def _check_arrays(folder: Path, found: dict[str, dict[str, Any]], layout: Layout) -> None:
    if set(found) != set(layout.specs):
        raise ValueError(
            f"Replay in {folder} has the keys {sorted(found)}, this run has "
            f"{sorted(layout.specs)}: the environment or the agent has changed. Use a new logdir."
        )
    for key, (dtype, shape) in layout.specs.items():
        stored = np.dtype(found[key]["dtype"]), tuple(found[key]["shape"][1:])
        if stored != (dtype, shape):
            raise ValueError(
                f"Replay in {folder} holds '{key}' as {stored[0]} {stored[1]}, this run has "
                f"{dtype} {shape}: the environment, the model size or the compute dtype has "
                f"changed{_advice(key, *stored, dtype, shape)}. Use a new logdir."
            )


def _advice(key: str, stored: np.dtype, old: tuple, dtype: np.dtype, shape: tuple) -> str:
    """What to do about latents of another type: older runs have not saved what `auto` was."""
    same = key.startswith(LATENT_PREFIX) and old == shape and stored != dtype
    return f". Resume with --jax.compute_dtype {stored.name}" if same else ""


def _skip(error: Exception, damaged: list[str]) -> None:
    _log.warning("Replay skips a damaged file: %s", error)
    damaged.append(str(error))

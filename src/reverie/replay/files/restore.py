"""Reading back what `archive` wrote, whatever state a killed run has left it in."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reverie.replay.chunk import Chunk, Layout
from reverie.replay.files import format
from reverie.replay.files.archive import path_of, serials
from reverie.replay.files.format import DamagedFile, File
from reverie.replay.files.storage import Storage
from reverie.replay.index import Index
from reverie.replay.selectors.base import KeepsState
from reverie.spaces import LATENT_PREFIX

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


class _Files(NamedTuple):
    """The files of one chunk; `rows` of it are wanted, and it has room for `room`."""

    steps: File
    latents: File
    rows: int
    room: int

    @property
    def serial(self) -> int:
        return self.steps.fields["serial"]


def restore(
    folder: Path, index: Index, storage: Storage, mark: str
) -> tuple[Loaded, dict[str, Any], list[list[int]]]:
    """Take all chunks of a folder into an empty index.

    Args:
        folder: Where they are.
        index: Where they go; chunks that do not fit its capacity are dropped, oldest first.
        storage: Where their arrays go.
        mark: Of the save that is to be restored exactly; empty for none.

    Returns:
        What was found, the saved state, empty if it was lost, and where the streams go on if that
        is exact.

    Raises:
        ValueError: If keys, dtypes or shapes are not those of the storage's layout.
    """
    damaged: list[str] = []
    state, _ = _read(folder / "state", damaged)
    fields, selector = _read(folder / "selector", damaged)
    others = len(damaged)
    found, streams, saved = _find(folder, storage.layout, damaged), [], None
    marked = mark and mark == fields.get("mark") == state.get("mark")
    if marked and state["settings"] == index.settings:
        streams = _streams(state)
        saved = _as_saved(found, dict(state["filled"]), streams)
    if saved:
        del damaged[others:]  # Those are chunks of later times.
    found, table = saved or _newest(found, index.capacity), index.table
    table.stride = max([table.stride, *(files.steps.fields["rows"] for files in found)])
    for files in found:
        try:
            chunk = _load(files, storage, table.stride)
        except (DamagedFile, FileNotFoundError) as error:
            _skip(error, damaged)
        else:
            index.adopt(chunk)
    exact = bool(saved) and len(table) == len(found)
    if exact:
        table.stride = max(table.stride, state["stride"])
        table.place(state["slots"])
    index.connect(state.get("online", ()))
    if isinstance(index.selector, KeepsState):
        index.selector.restore(selector, exact)
    loaded = Loaded(table.steps, len(table), tuple(damaged), len(damaged) - others, exact)
    return loaded, state, streams


def _streams(state: Mapping[str, Any]) -> list[list[int]]:
    """Where streams were, as `Streams.state` gives it."""
    if "streams" in state:
        return state["streams"]
    # Earlier versions had streams of equal speed.
    old = state["writer"]
    opened = enumerate(old["open"]) if old else ()
    return [[stream, serial, old["rows"], old["written"]] for stream, serial in opened]


def _read(path: Path, damaged: list[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Fields and arrays of a file; empty if it is torn, with the reason in `damaged`, or not there.

    Finished chunks are written before the first save.
    """
    if path.exists():
        try:
            return format.read(path)
        except DamagedFile as error:
            _skip(error, damaged)
    return {}, {}


def _find(folder: Path, layout: Layout, damaged: list[str]) -> list[_Files]:
    """The usable chunks by their headers, oldest first; the reasons for others in `damaged`.

    Raises:
        ValueError: If a file holds other keys, dtypes or shapes than the layout.
    """
    found = []
    for serial in serials(folder):
        if not path_of(folder, serial, "chunk").exists():
            continue  # The save was killed between the latents and the chunk.
        try:
            steps = File(path_of(folder, serial, "chunk"))
            latents = File(path_of(folder, serial, "latents"))
            rows = steps.fields["rows"]
            if steps.fields["serial"] != serial or rows > latents.fields["rows"]:
                path = path_of(folder, serial, "latents")
                raise DamagedFile(f"{path} does not belong to its chunk.")
        except (DamagedFile, FileNotFoundError) as error:
            _skip(error, damaged)
            continue
        _check_arrays(folder, steps.arrays | latents.arrays, layout)
        found.append(_Files(steps, latents, rows, rows))
    return found


def _as_saved(
    found: list[_Files], rows: Mapping[int, int], streams: list[list[int]]
) -> list[_Files] | None:
    """The chunks as they were at a save, if all of them are there; open ones may be longer now."""
    room = {serial: room for _, serial, room, _ in streams}
    chosen = []
    for files in found:
        if files.serial in rows:
            wanted = rows[files.serial]
            if wanted > files.rows or (wanted < files.rows and files.serial not in room):
                return None
            chosen.append(files._replace(rows=wanted, room=room.get(files.serial, wanted)))
    return chosen if len(chosen) == len(rows) else None


def _newest(found: list[_Files], capacity: int) -> list[_Files]:
    """Those of the newest chunks that fit the capacity."""
    ends = np.cumsum([files.rows for files in reversed(found)])
    return found[len(found) - int(np.searchsorted(ends, capacity, side="right")) :]


def _load(files: _Files, storage: Storage, stride: int) -> Chunk:
    """One chunk, read as a whole; it is closed, unless a stream goes on in it.

    Raises:
        DamagedFile, FileNotFoundError: If it is torn or gone.
    """
    layout, fields = storage.layout, files.steps.fields
    arrays = layout.empty(max(files.rows, min(files.room, stride)))
    for file, keys in ((files.steps, layout.data), (files.latents, layout.latents)):
        file.load({key: arrays[key][: files.rows] for key in keys})
    chunk = Chunk(files.serial, fields["stream"], arrays)
    chunk.filled = files.rows
    chunk.origin = tuple(fields["origin"])
    if chunk.filled == chunk.rows:
        storage.land(chunk, files.steps)
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

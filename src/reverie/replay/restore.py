"""Reading back what `archive` wrote, whatever state a killed run has left it in."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np

from reverie.replay import record
from reverie.replay.archive import path_of, serials
from reverie.replay.index import Index
from reverie.replay.storage import Chunk, Layout, Storage
from reverie.spaces import LATENT_PREFIX

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What was found in a folder.

    Attributes:
        steps: Steps restored.
        chunks: Chunks restored.
        damaged: Reasons for the files that were skipped, each with the file's name.
    """

    steps: int
    chunks: int
    damaged: tuple[str, ...]


def restore(
    folder: Path, index: Index, storage: Storage
) -> tuple[Loaded, list[Chunk], dict[str, Any] | None]:
    """Take all chunks of a folder into an empty index.

    Args:
        folder: Where they are.
        index: Where they go; chunks that do not fit its capacity are dropped, oldest first.
        storage: Where their arrays go.

    Returns:
        What was found, the live chunks, and the saved state or None if it was lost.

    Raises:
        ValueError: If keys, dtypes or shapes are not those of the storage's layout.
    """
    damaged: list[str] = []
    state = _state(folder, damaged)
    headers = _headers(folder, storage.layout, damaged)
    table = index.table
    table.stride = max([table.stride, *(header.fields["rows"] for header in headers)])
    for header in headers:
        chunk = _chunk(folder, header, storage, damaged)
        if chunk is not None:
            index.adopt(chunk)
            for old in index.evict():
                storage.release(old)
    index.connect(state["online"] if state else ())
    index.selector.restore(_selector(folder, damaged))
    chunks = list(table)
    return Loaded(table.steps, len(chunks), tuple(damaged)), chunks, state


def _state(folder: Path, damaged: list[str]) -> dict[str, Any] | None:
    """The saved state, or None if it is torn (then with the reason in `damaged`) or was not saved.

    Finished chunks are written before the first save.
    """
    if not (folder / "state").exists():
        return None
    try:
        return record.read_header(folder / "state").fields
    except record.DamagedFile as error:
        _skip(error, damaged)
        return None


def _selector(folder: Path, damaged: list[str]) -> dict[str, np.ndarray]:
    """What the selector has kept; empty (with the reason in `damaged`) if it is torn."""
    if not (folder / "selector").exists():
        return {}
    try:
        return record.read(folder / "selector")[1]
    except record.DamagedFile as error:
        _skip(error, damaged)
        return {}


def _headers(folder: Path, layout: Layout, damaged: list[str]) -> list[record.Header]:
    """Headers of the usable chunk files, oldest first.

    Raises:
        ValueError: If a file holds other keys, dtypes or shapes than the layout.
    """
    headers = []
    for serial in serials(folder):
        if not path_of(folder, serial, "chunk").exists():
            continue  # The save was killed between the latents and the chunk.
        try:
            data = record.read_header(path_of(folder, serial, "chunk"))
            latents = record.read_header(path_of(folder, serial, "latents"))
            if data.fields["serial"] != serial or latents.fields["rows"] < data.fields["rows"]:
                raise record.DamagedFile(
                    f"{path_of(folder, serial, 'latents')} does not belong to its chunk."
                )
        except (record.DamagedFile, FileNotFoundError) as error:
            _skip(error, damaged)
            continue
        _check_arrays(folder, data.arrays | latents.arrays, layout)
        headers.append(data)
    return headers


def _chunk(
    folder: Path, header: record.Header, storage: Storage, damaged: list[str]
) -> Chunk | None:
    """One chunk with all its rows, closed; None (with the reason in `damaged`) if it is torn."""
    serial = header.fields["serial"]
    try:
        arrays, backing = storage.load(
            path_of(folder, serial, "chunk"), path_of(folder, serial, "latents")
        )
    except (record.DamagedFile, FileNotFoundError) as error:
        _skip(error, damaged)
        return None
    chunk = Chunk(serial, header.fields["stream"], arrays)
    chunk.backing = backing
    chunk.filled = header.fields["rows"]
    chunk.origin = tuple(header.fields["origin"])
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

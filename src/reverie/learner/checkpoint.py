"""Checkpoints that survive a kill at any moment.

A checkpoint is a folder named after its step:

    checkpoints/000000012000/
      arrays/         the agent's arrays, written by orbax; missing if it has none
      meta.json       counters and other plain values
      manifest.json   size and checksum of every other file

It is written under a temporary name and renamed when complete, so that a folder with a step's name
is whole. The manifest finds files that were damaged afterwards.
"""

import dataclasses
import json
import logging
import math
import os
import pathlib
import re
import shutil
import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

HELD = "held/"
"""Names of arrays that only a resume needs begin so."""

_TEMPORARY = ".writing-"
_MANIFEST = "manifest.json"

_LARGEST = 1000
"""Bytes of arrays per byte on the disk; of an agent at most ten, as random numbers stay large."""


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or does not fit the agent."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What one checkpoint holds.

    Args:
        step: Environment steps at which it was saved.
        arrays: The agent's arrays by name; arrays of size zero are left out.
        meta: Counters and other JSON values.
        folder: Where it lies.
        held: Arrays that decide how a resumed run goes on and that no other use of it needs.
    """

    step: int
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    folder: pathlib.Path
    held: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


class Checkpointer:
    """Writes and reads the checkpoints of one run.

    Args:
        folder: Holds one folder per checkpoint; created by the first `save`.
        keep: Number of newest checkpoints that are kept.
    """

    def __init__(self, folder: pathlib.Path, keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep is {keep}, but at least one checkpoint has to be kept.")
        self._folder = pathlib.Path(folder)
        self._keep = keep

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        if not self._folder.is_dir():
            return []
        names = [path.name for path in self._folder.iterdir() if path.is_dir()]
        return sorted(int(name) for name in names if re.fullmatch("[0-9]{12,18}", name))

    def save(self, step: int, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Writes a checkpoint and removes those that are too old.

        Args:
            step: Environment steps so far; a checkpoint of the same step is replaced.
            arrays: Host arrays by name.
            meta: Values that JSON can hold.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._remove_unfinished()
        target = self._folder / f"{step:012d}"
        temporary = self._folder / f"{_TEMPORARY}{target.name}"
        temporary.mkdir()
        _write_arrays(temporary / "arrays", arrays)
        (temporary / "meta.json").write_text(json.dumps(meta, indent=2))
        (temporary / _MANIFEST).write_text(json.dumps(_fingerprints(temporary), indent=2))
        _flush(temporary)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
        _sync(self._folder)
        for old in self.steps()[: -self._keep]:
            shutil.rmtree(self._folder / f"{old:012d}")

    def restore(self) -> Checkpoint | None:
        """Reads the newest valid checkpoint; None if there is none at all.

        A damaged one is skipped with a logged warning that says what is wrong with it.

        Raises:
            CheckpointError: If there are checkpoints and every one is damaged.
        """
        reasons = []
        for step in reversed(self.steps()):
            folder = self._folder / f"{step:012d}"
            if reason := damage(folder):
                reasons.append(f"{folder}: {reason}")
                log.warning("Skipping the damaged checkpoint %s", reasons[-1])
                continue
            return read(folder)
        if reasons:
            raise CheckpointError(
                f"All checkpoints are damaged ({'; '.join(reasons)}). Restore them from a backup. "
                f"To start again, rename {self._folder}, or choose another logdir."
            )
        return None

    def _remove_unfinished(self) -> None:
        for path in self._folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(path)


def read(folder: pathlib.Path) -> Checkpoint:
    """Reads one undamaged checkpoint folder.

    Raises:
        CheckpointError: If it holds something else than a checkpoint, although its checksums say
            that this is what was written.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text())
        if not isinstance(meta, dict):
            raise TypeError("meta.json holds no names")
        found = _read_arrays(folder / "arrays")
        held = {name: x for name, x in found.items() if name.startswith(HELD)}
        arrays = {name: x for name, x in found.items() if name not in held}
        held = {name.removeprefix(HELD): x for name, x in held.items()}
        return Checkpoint(int(folder.name), arrays, meta, folder, held)
    except (OSError, CheckpointError):
        raise
    except Exception as error:  # What orbax raises is not known.
        reason = f"{type(error).__name__}: {str(error)[:300]}"
        raise CheckpointError(f"{folder} is no checkpoint that can be read ({reason}).") from error


def newest(path: str | os.PathLike) -> Checkpoint:
    """Reads what `locate` finds, also while a run saves there and removes its older checkpoints.

    Raises:
        CheckpointError: If there is no valid checkpoint.
    """
    while True:
        before = _names(path)
        try:
            return read(locate(path))
        except (OSError, ValueError, CheckpointError):
            if _names(path) == before:
                raise


def locate(path: str | os.PathLike) -> pathlib.Path:
    """Finds the newest valid checkpoint in a run folder, a checkpoints folder or a checkpoint.

    Raises:
        CheckpointError: If there is none or it is damaged.
    """
    root = pathlib.Path(path).expanduser()
    if (root / _MANIFEST).exists():
        if reason := damage(root):
            raise CheckpointError(f"The checkpoint {root} is damaged: {reason}.")
        return root
    for folder in (root / "checkpoints", root):
        steps = reversed(Checkpointer(folder).steps())
        for candidate in (folder / f"{step:012d}" for step in steps):
            if not damage(candidate):
                return candidate
    raise CheckpointError(
        f"There is no valid checkpoint in {root}. Name a run folder, its checkpoints folder or one "
        "checkpoint in it."
    )


def damage(folder: pathlib.Path) -> str:
    """What is wrong with the files of a checkpoint; empty if nothing is."""
    manifest = folder / _MANIFEST
    if not manifest.exists():
        return f"{_MANIFEST} is missing"
    try:
        expected = json.loads(manifest.read_text())
    except (ValueError, RecursionError) as error:
        return f"{_MANIFEST} is not readable ({error})"
    if not isinstance(expected, dict):
        return f"{_MANIFEST} is not readable (it lists no files)"
    found = _fingerprints(folder)
    if missing := sorted(set(expected) - set(found)):
        return f"missing files {missing}"
    changed = sorted(name for name in expected if expected[name] != found[name])
    return f"changed files {changed}" if changed else ""


def _names(path: str | os.PathLike) -> set[str]:
    """Everything that lies in a run folder and in its checkpoints folder."""
    root = pathlib.Path(path).expanduser()
    return {str(file) for pattern in ("*", "checkpoints/*") for file in root.glob(pattern)}


def _write_arrays(folder: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    # orbax refuses arrays without entries; the agent that reads the checkpoint has them anyway.
    arrays = {name: value for name, value in arrays.items() if value.size}
    if arrays:
        checkpointer = _orbax().PyTreeCheckpointer()
        checkpointer.save(folder.absolute(), arrays)
        checkpointer.close()


def _read_arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
    if not folder.exists():
        return {}
    orbax = _orbax()
    checkpointer = orbax.PyTreeCheckpointer()
    saved = checkpointer.metadata(folder.absolute()).item_metadata
    if saved is None:
        raise CheckpointError(f"orbax finds no arrays in {folder}.")
    tree = saved.tree
    claimed = sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in tree.values())
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if claimed > _LARGEST * stored:
        raise CheckpointError(f"{folder} claims {claimed:,} bytes of arrays, and has {stored:,}.")
    as_numpy = dict.fromkeys(tree, orbax.RestoreArgs(restore_type=np.ndarray))
    arrays = checkpointer.restore(folder.absolute(), restore_args=as_numpy)
    checkpointer.close()
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise CheckpointError(f"{folder} holds something else than arrays.")
    return arrays


def _orbax():
    """orbax takes a while to import and warns about its own internals while it does."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import orbax.checkpoint
    return orbax.checkpoint


def _fingerprints(folder: pathlib.Path) -> dict[str, list[int]]:
    """Size in bytes and CRC-32 of every file but the manifest, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)
    return {path.relative_to(folder).as_posix(): _fingerprint(path) for path in files}


def _fingerprint(path: pathlib.Path) -> list[int]:
    size, checksum = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return [size, checksum]


def _flush(folder: pathlib.Path) -> None:
    """Makes the files durable before the rename makes them visible."""
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path: pathlib.Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Checkpoints that survive a kill at any moment.

A checkpoint is a folder named after its step:

    checkpoints/000000012000/
      agent.safetensors   the agent's arrays by name
      held.safetensors    what only a resume of the very same run needs
      meta.json           the format, counters and other plain values
      manifest.json       size in bytes and CRC-32 of every other file

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
import types
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ml_dtypes  # noqa: F401  With it numpy knows bfloat16 by name.
import numpy as np
import safetensors
import safetensors.numpy

from reverie.disk import sync

log = logging.getLogger(__name__)

FORMAT = 2
"""Written into `meta.json`. Checkpoints without it are of the first format, written by orbax."""

Place = Callable[[str, np.ndarray], Any]
"""Takes an array by its name; gives what is kept of it."""

_TEMPORARY = ".writing-"
_AGENT, _HELD = "agent.safetensors", "held.safetensors"
_META, _MANIFEST = "meta.json", "manifest.json"

# Names that earlier versions gave to the arrays -> those of today.
_RENAMED = [
    (r"(params|acting)/world/(enc|dyn)/", r"\1/\2/"),
    (r"(params|acting)/(?:world/)?(dec|rew|con|pol|val)/", r"\1/heads/\2/"),
    (r"(slow|norms)/", r"states/actor_critic/\1/"),
]


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or does not fit the agent."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What one checkpoint holds.

    Args:
        step: Environment steps at which it was saved.
        arrays: The agent's arrays by name, all or those that were asked for.
        meta: Counters and other JSON values.
        folder: Where it lies.
        held: Arrays that decide how a resumed run goes on and that no other use of it needs.
    """

    step: int
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    folder: pathlib.Path
    held: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def counters(self) -> dict[str, int]:
        """Counts that determine random keys.

        Raises:
            CheckpointError: If they are no whole numbers.
        """
        counts = self.meta.get("counters") or {}
        if isinstance(counts, dict) and all(type(x) is int and x >= 0 for x in counts.values()):
            return counts
        raise CheckpointError(
            f"The checkpoint {self.folder} does not fit: its counters are no whole numbers."
        )

    def need(self, names: Iterable[str]) -> None:
        """Raises CheckpointError unless there are arrays of all of these names."""
        if missing := sorted(set(names) - set(self.arrays)):
            raise CheckpointError(
                f"The checkpoint {self.folder} has no array {missing[:8]}, which the agent of this "
                "configuration needs. Use the model settings that the run was started with."
            )


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

    def save(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        held: Mapping[str, np.ndarray] = types.MappingProxyType({}),
    ) -> None:
        """Writes a checkpoint and removes those that are too old, or later.

        Args:
            step: Environment steps so far; a checkpoint of the same step is replaced.
            arrays: Host arrays by name.
            meta: Values that JSON can hold.
            held: More arrays, as of `Checkpoint`.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(path)
        target = self._folder / f"{step:012d}"
        temporary = self._folder / f"{_TEMPORARY}{target.name}"
        temporary.mkdir()
        (temporary / _META).write_text(json.dumps({"format": FORMAT, **meta}, indent=2))
        for name, content in ((_AGENT, arrays), (_HELD, held)):
            # It writes memory as it lies there.
            content = {key: np.asarray(value, order="C") for key, value in content.items()}
            safetensors.numpy.save_file(content, temporary / name)
            # Its files are readable for the owner alone.
            shutil.copymode(temporary / _META, temporary / name)
        (temporary / _MANIFEST).write_text(json.dumps(_checksums(temporary), indent=2))
        # Durable before the rename makes them visible.
        for path in [*temporary.iterdir(), temporary]:
            sync(path)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
        sync(self._folder)
        # Later ones are damaged, else the run would have gone on from them.
        kept = [each for each in self.steps() if each <= step][-self._keep :]
        for other in set(self.steps()).difference(kept):
            shutil.rmtree(self._folder / f"{other:012d}")

    def restore(self) -> Checkpoint | None:
        """Reads the newest valid checkpoint; None if there is none at all.

        A damaged one is skipped with a logged warning that says what is wrong with it.

        Raises:
            CheckpointError: If there are checkpoints and every one is damaged, or the newest that
                is not has another format.
        """
        found, damaged = _choose(self._folder)
        if found is None and damaged:
            raise CheckpointError(
                f"All checkpoints are damaged ({'; '.join(damaged)}). Restore them from a backup. "
                f"To start again, rename {self._folder}, or choose another logdir."
            )
        for reason in damaged:
            log.warning("Skipping the damaged checkpoint %s", reason)
        return found and read(found)


def read(
    folder: pathlib.Path,
    prefixes: tuple[str, ...] | None = None,
    place: Place = lambda name, array: array,
) -> Checkpoint:
    """Reads one undamaged checkpoint folder.

    Args:
        folder: Of the checkpoint.
        prefixes: What the names of the arrays to read begin with; None reads all, and `held`.
        place: Gives what is kept of each array as soon as it was read, such as a copy of it on a
            device, so that no more than one is on the host.

    Raises:
        CheckpointError: If it has another format, or holds something else than a checkpoint,
            although its checksums say that this is what was written.
    """
    try:
        meta = _read_json(folder / _META)
        if (version := meta.pop("format", 1)) != FORMAT:
            raise CheckpointError(
                f"The checkpoint {folder} has format {version!r:.20}, that of another version of "
                f"Reverie; this one reads format {FORMAT}. Go on with that version, or begin a new "
                "run in another logdir."
            )
        arrays = _read_arrays(folder / _AGENT, prefixes or ("",), place)
        held = {} if prefixes else _read_arrays(folder / _HELD)
        return Checkpoint(int(folder.name), arrays, meta, folder, held)
    except CheckpointError:
        raise
    except Exception as error:  # What safetensors raises has no class in common.
        reason = f"{type(error).__name__}: {str(error)[:300]}"
        raise CheckpointError(f"{folder} is no checkpoint that can be read ({reason}).") from error


def newest(
    path: str | os.PathLike,
    prefixes: tuple[str, ...] | None = None,
    place: Place = lambda name, array: array,
) -> Checkpoint:
    """As `read` of what `locate` finds, also while a run saves there and removes older checkpoints.

    Raises:
        CheckpointError: If there is no valid checkpoint.
    """
    while True:
        before = _names(path)
        try:
            return read(locate(path), prefixes, place)
        except (OSError, CheckpointError):
            if _names(path) == before:
                raise


def locate(path: str | os.PathLike) -> pathlib.Path:
    """Finds the newest valid checkpoint in a run folder, a checkpoints folder or a checkpoint.

    Raises:
        CheckpointError: If there is none or it is damaged.
    """
    root = pathlib.Path(path).expanduser()
    if (root / _MANIFEST).exists():
        if reason := _damage(root):
            raise CheckpointError(f"The checkpoint {root} is damaged: {reason}.")
        return root
    for folder in (root / "checkpoints", root):
        if found := _choose(folder)[0]:
            return found
    raise CheckpointError(
        f"There is no valid checkpoint in {root}. Name a run folder, its checkpoints folder or one "
        "checkpoint in it."
    )


def _choose(folder: pathlib.Path) -> tuple[pathlib.Path | None, list[str]]:
    """The newest checkpoint in a folder that is whole, and what is wrong with newer ones."""
    damaged = []
    for step in reversed(Checkpointer(folder).steps()):
        candidate = folder / f"{step:012d}"
        if not (reason := _damage(candidate)):
            return candidate, damaged
        damaged.append(f"{candidate}: {reason}")
    return None, damaged


def _damage(folder: pathlib.Path) -> str:
    """What is wrong with the files of a checkpoint; empty if nothing is."""
    try:
        expected = _read_json(folder / _MANIFEST)
    except ValueError as error:
        return str(error)
    found = _checksums(folder)
    if missing := sorted(set(expected) - set(found)):
        return f"missing files {missing}"
    changed = sorted(name for name in expected if expected[name] != found[name])
    return f"changed files {changed}" if changed else ""


def _names(path: str | os.PathLike) -> set[str]:
    """Everything that lies in a run folder and in its checkpoints folder."""
    root = pathlib.Path(path).expanduser()
    return {str(file) for pattern in ("*", "checkpoints/*") for file in root.glob(pattern)}


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    """Values by name; raises ValueError where the file holds none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ValueError(f"{path.name} is missing") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not readable ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is not readable (it holds no names)")
    return content


def _read_arrays(
    path: pathlib.Path, prefixes: tuple[str, ...] = ("",), place: Place = lambda name, array: array
) -> dict[str, Any]:
    # A file that is mapped counts as memory of this process while it is read.
    with safetensors.safe_open(path, framework="np", backend="pread") as file:
        names = {_present(name): name for name in file.keys()}  # noqa: SIM118
        names = {k: name for k, name in names.items() if k.startswith(prefixes)}
        # Large ones first: each needs its memory twice for a moment, while little else is there.
        order = sorted(names, key=lambda k: -math.prod(file.get_slice(names[k]).get_shape()))
        arrays = {k: place(k, file.get_tensor(names[k])) for k in order}
        return {k: arrays[k] for k in names}


def _present(name: str) -> str:
    """What an array is called today."""
    for pattern, replacement in _RENAMED:
        if found := re.match(pattern, name):
            return found.expand(replacement) + name[found.end() :]
    return name


def _checksums(folder: pathlib.Path) -> dict[str, list[int]]:
    """Size in bytes and CRC-32 of every file but the manifest, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)
    return {path.relative_to(folder).as_posix(): _checksum(path) for path in files}


def _checksum(path: pathlib.Path) -> list[int]:
    size, checksum = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return [size, checksum]

"""Reads checkpoints of the original implementation of DreamerV3.

Its run folders hold `ckpt/latest`, which names the newest folder beside it. A folder is complete
when it has a file `done`; `agent.pkl`, or the shards `agent-0.pkl`, `agent-1.pkl`, ..., hold a
dictionary with `params`, flat arrays by name.
"""

import math
import os
import pathlib
import pickle
from collections.abc import Callable
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from reverie.learner.checkpoints.checkpoint import CheckpointError

_CODES = "b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8"
_DTYPES = {code: np.dtype(code) for code in _CODES.split()} | {
    "bfloat16": np.dtype(ml_dtypes.bfloat16)
}
"""Numbers by their codes; nothing that holds objects or has fields."""


def locate(path: str | os.PathLike[str]) -> pathlib.Path | None:
    """The newest complete checkpoint of the original in a run folder, its `ckpt` or one of those.

    Returns:
        None if there is nothing of the original in the folder.

    Raises:
        CheckpointError: If there is, and no checkpoint is complete.
    """
    root = pathlib.Path(path).expanduser()
    for folder in (root / "ckpt", root):
        if not (folder / "latest").is_file():
            continue
        named = (folder / "latest").read_bytes().decode("utf-8", "replace").strip()
        # Names begin with a time stamp, so that the last one is the newest.
        others = sorted((x.name for x in folder.iterdir() if x.is_dir()), reverse=True)
        for name in dict.fromkeys([named, *others] if named in others else others):
            if (folder / name / "done").exists() and _files(folder / name):
                return folder / name
        raise CheckpointError(
            f"There is no complete checkpoint in {folder}: one is a folder with the files done and "
            "agent.pkl."
        )
    return root if _files(root) else None


def read(folder: pathlib.Path) -> tuple[int, dict[str, np.ndarray]]:
    """The environment steps of a checkpoint, and its arrays by the names of the original.

    Raises:
        CheckpointError: If a file is damaged or holds anything but arrays and plain values.
    """
    arrays: dict[str, np.ndarray] = {}
    for path in _files(folder):
        arrays |= _load(path, _params)
    steps = folder / "step.pkl"
    return _load(steps, int) if steps.is_file() else 0, arrays


def _load(path: pathlib.Path, form: Callable[[Any], Any]) -> Any:
    try:
        with path.open("rb") as file:
            return form(_Unpickler(_Bounded(file, path.stat().st_size)).load())
    except Exception as error:  # Bytes that are no pickle raise whatever they like.
        raise CheckpointError(
            f"{path} is damaged, or it holds something else than arrays and plain values "
            f"({type(error).__name__}: {error})."
        ) from error


def _params(content: Any) -> dict[str, np.ndarray]:
    return {str(name): _value(entry) for name, entry in content["params"].items()}


def _value(entry: Any) -> np.ndarray:
    if not isinstance(entry, _Array) or entry.value is None:
        raise TypeError("params holds something else than arrays")
    return entry.value


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    if (folder / "agent.pkl").is_file():
        return [folder / "agent.pkl"]
    shards = [p for p in folder.glob("agent-*.pkl") if p.stem.removeprefix("agent-").isdecimal()]
    return sorted(shards, key=lambda p: int(p.stem.removeprefix("agent-")))


class _Bounded:
    """A file that is never asked for more bytes than it has, whatever its content claims."""

    def __init__(self, file: BinaryIO, size: int):
        self._file = file
        self._size = size

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._size - self._file.tell():
            raise EOFError("the file is cut off")
        return self._file.read(count)

    def readline(self) -> bytes:
        return self._file.readline()


# The form of pickle that is written in Python, because the other one takes as much memory as the
# file asks for. Of what a file names it gets functions of ours, which make nothing but arrays.
class _Unpickler(pickle._Unpickler):  # type: ignore[attr-defined]
    """Builds arrays and plain containers, without a call of anything that the file names."""

    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module.replace("numpy.core", "numpy._core"), name))
        if found is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not loaded")
        return found


class _Function:
    """A function that a file may call and cannot change."""

    __slots__ = ("__call",)

    def __init__(self, call: Callable[..., Any]):
        self.__call = call

    def __call__(self, *args: Any) -> Any:
        return self.__call(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function")


class _DType:
    """A dtype whose byte order comes later."""

    __slots__ = ("value",)

    def __init__(self, code: str, *_: Any):
        self.value = _DTYPES[code]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] == ">":
            self.value = self.value.newbyteorder(">")


class _Array:
    """An array whose content comes later."""

    __slots__ = ("value",)

    def __init__(self, *_: Any, value: np.ndarray | None = None):
        self.value = value

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        self.value = _array(content, dtype, shape, "F" if fortran else "C").value


def _array(content: Any, dtype: _DType, shape: Any = (), order: str = "C") -> _Array:
    sizes = [int(size) for size in ([shape] if isinstance(shape, int) else shape)]
    kind = dtype.value
    if any(size < 0 for size in sizes) or math.prod(sizes) * kind.itemsize != len(content):
        raise pickle.UnpicklingError(f"an array of the shape {sizes} has {len(content)} bytes")
    flat = np.frombuffer(content, kind) if content else np.empty(0, kind)
    ours = flat.astype(kind.newbyteorder("="))
    return _Array(value=ours.reshape(sizes, order="F" if order == "F" else "C"))


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Bytes, as older protocols write them."""
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy._core.multiarray", "_reconstruct"): _Function(_Array),
    ("numpy._core.multiarray", "scalar"): _Function(lambda dtype, content: _array(content, dtype)),
    ("numpy._core.numeric", "_frombuffer"): _Function(_array),
    ("numpy", "ndarray"): _Function(_Array),
    ("numpy", "dtype"): _Function(_DType),
    ("ml_dtypes", "bfloat16"): "bfloat16",
    ("_codecs", "encode"): _Function(_encode),
}

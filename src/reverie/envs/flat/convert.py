"""Conversion of single entries: a native value to a flat array and back.

A conversion never loses information silently: values of another shape, dtype or range raise.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces as gs

from reverie.envs.errors import ValueMismatchError
from reverie.envs.flat.leaves import Leaf, used_range
from reverie.envs.images import Picture, resize


def encoder(leaf: Leaf) -> Callable[[Any], Any]:
    """The function that turns a native entry into a flat array or numpy scalar, or raises."""
    encode, shape = _encoder(leaf), (leaf.picture or leaf.native).shape
    if leaf.flat.dtype != np.uint8 or leaf.flat.shape == shape:
        return encode
    height, width, _ = leaf.flat.shape or (0, 0, 0)
    return lambda value: resize(encode(value), (height, width))


def _encoder(leaf: Leaf) -> Callable[[Any], Any]:
    if leaf.picture is not None:
        return _encode_picture(leaf, leaf.picture)
    if isinstance(leaf.flat, gs.Box):
        return _encode_box(leaf, np.dtype(leaf.flat.dtype))
    if isinstance(leaf.flat, gs.Discrete | gs.MultiDiscrete):
        return _encode_indices(leaf)
    return _encode_bits(leaf)


def decoder(leaf: Leaf) -> Callable[[Any], Any]:
    """The function that turns a flat array into the native entry."""
    native = leaf.native
    if isinstance(native, gs.Discrete | gs.MultiDiscrete):
        start, dtype = native.start, native.dtype
        # Environments index lists and compare with a choice, so it is a numpy scalar, no array.
        return lambda value: np.add(value, start).astype(dtype)
    if isinstance(native, gs.Box) and native.dtype != bool:
        return _box_decoder(native)
    return lambda value: np.asarray(value, native.dtype)


def _box_decoder(native: gs.Box) -> Callable[[Any], np.ndarray]:
    """Clips to [-1, 1] and maps that to the bounds."""
    least, most, _ = used_range(native)
    scale, middle = (most - least) / 2, (most + least) / 2
    fit = _fitted(native)
    return lambda value: fit(np.minimum(np.maximum(value, -1), 1) * scale + middle)


def _fitted(native: gs.Box) -> Callable[[Any], np.ndarray]:
    """Rounds what should be inside a space to what is inside."""
    low, high, dtype = native.low, native.high, np.dtype(native.dtype)
    # Arithmetic turns arrays without axes into scalars, which are not in the space: hence asarray.
    if dtype.kind in "iu":
        # The largest integers of 64 bits are no float64; the one that they round to is beyond them.
        last = np.float64(np.iinfo(dtype.name).max)
        last = last if int(last) <= np.iinfo(dtype.name).max else np.nextafter(last, 0)
        top = np.minimum(high.astype(np.float64), last)
        return lambda value: np.asarray(np.rint(value, dtype=np.float64).clip(low, top), dtype)
    # The mapping in float32 can miss a bound by one rounding step. Where there is
    # none, the numbers of the dtype end somewhere too.
    ends = np.finfo(dtype.name)
    low, high = (bound.clip(ends.min, ends.max) for bound in (low, high))
    return lambda value: np.asarray(np.minimum(np.maximum(value, low), high), dtype)


def short(value: Any) -> str:
    """A value in at most 120 characters."""
    if isinstance(value, np.ndarray):
        text = np.array2string(value, threshold=8, edgeitems=2, separator=", ")
    else:
        text = repr(value)
    text = " ".join(text.split())
    return text if len(text) <= 120 else text[:117] + "..."


def _encode_box(leaf: Leaf, dtype: np.dtype) -> Callable[[Any], np.ndarray]:
    shape, ndarray = tuple(leaf.native.shape or ()), np.ndarray

    def encode(value: Any) -> np.ndarray:
        # The common case first: it runs for every key of every step.
        if type(value) is ndarray and value.dtype == dtype and value.shape == shape:
            return value
        array = _array(value, leaf)
        if dtype == np.uint8:
            raise _wrong_dtype(array, leaf)
        # Too large for float32 becomes infinity, which the check that follows reports.
        with np.errstate(over="ignore", under="ignore"):
            return array.astype(dtype)

    return encode


def _encode_picture(leaf: Leaf, picture: Picture) -> Callable[[Any], np.ndarray]:
    kinds = "fiu" if np.dtype(leaf.native.dtype).kind == "f" else "iu"

    def encode(value: Any) -> np.ndarray:
        array = _array(value, leaf)
        if array.dtype.kind not in kinds:
            raise _wrong_dtype(array, leaf)
        if array.dtype != np.uint8 or picture.scale != 1:
            scaled = np.nan_to_num(array.astype(np.float32) * np.float32(picture.scale))
            array = np.rint(scaled.clip(0, 255)).astype(np.uint8)
        return np.ascontiguousarray(array.transpose(picture.axes)).reshape(picture.shape)

    return encode


def _encode_indices(leaf: Leaf) -> Callable[[Any], Any]:
    native = leaf.native
    assert isinstance(native, gs.Discrete | gs.MultiDiscrete)
    start = np.asarray(native.start, np.int64)
    classes = np.asarray(native.nvec if isinstance(native, gs.MultiDiscrete) else native.n)

    def encode(value: Any) -> Any:
        index = _array(value, leaf).astype(np.int64) - start
        # -1 marks an integer observation as missing.
        if ((index < -1) | (index >= classes)).any():
            raise _out_of_range(value, leaf)
        return index.astype(np.int32)

    return encode


def _encode_bits(leaf: Leaf) -> Callable[[Any], np.ndarray]:
    def encode(value: Any) -> np.ndarray:
        array = _array(value, leaf)
        if array.dtype.kind == "b":
            return array
        if ((array != 0) & (array != 1)).any():
            raise _out_of_range(value, leaf)
        return array.astype(bool)

    return encode


def _array(value: Any, leaf: Leaf) -> np.ndarray:
    """The value as an array of the right shape and a dtype that converts without loss of kind."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueMismatchError(
            f"{leaf.key!r} is not one array: {short(value)}. Return numbers of one shape."
        ) from error
    shape = tuple(leaf.native.shape or ())
    if array.shape != shape:
        raise ValueMismatchError(
            f"{leaf.key!r} has shape {array.shape}, but its space says {shape}. "
            f"{_hint(array.shape, shape)}The value is {short(array)}."
        )
    # Masks may be declared as float and are bits nevertheless.
    numbers = isinstance(leaf.flat, gs.Box) or np.dtype(leaf.native.dtype).kind == "f"
    if array.dtype.kind not in ("fiub" if numbers else "iub"):
        raise _wrong_dtype(array, leaf)
    return array


def _wrong_dtype(array: np.ndarray, leaf: Leaf) -> ValueMismatchError:
    return ValueMismatchError(
        f"{leaf.key!r} has dtype {array.dtype}, which does not fit its space {leaf.native}. "
        f"Return it as {leaf.native.dtype}. The value is {short(array)}."
    )


def _out_of_range(value: Any, leaf: Leaf) -> ValueMismatchError:
    return ValueMismatchError(
        f"{leaf.key!r} is {short(value)}, outside its space {leaf.native}. Return a value inside, "
        "or declare the space that holds it."
    )


def _hint(have: tuple[int, ...], want: tuple[int, ...]) -> str:
    if len(have) == len(want) == 3 and have == (want[2], *want[:2]):
        return "Images are height x width x channels: move the channels to the end. "
    return "Return that shape, or change the space. "

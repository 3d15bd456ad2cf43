"""Gymnasium spaces as JSON, so that a saved agent can be used without its environment."""

import json
import math
import pathlib
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.envs.flat.leaves import is_text
from reverie.errors import ConfigError
from reverie.run.saved.result import write_json

_MOST = 1 << 28
"""Numbers in one observation; an image of 4096x4096 pixels has a fifth of that."""

_DTYPES = {f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)} | {
    "bool"
}


def write_spaces(path: pathlib.Path, observation: gymnasium.Space, action: gymnasium.Space) -> None:
    """Writes the spaces of an environment, as it is before Reverie wraps it."""
    write_json(path, {"observation": encode(observation), "action": encode(action)})


def read_spaces(path: pathlib.Path) -> tuple[gymnasium.Space, gymnasium.Space]:
    """Observation and action space that `write_spaces` wrote.

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text())
        return decode(content["observation"]), decode(content["action"])
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing, without which nobody knows the spaces.") from None
    except Exception as error:  # The spaces of gymnasium check what they get in many ways.
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise ConfigError(f"{path} is damaged, or no file of spaces ({reason}).") from error


def encode(space: gymnasium.Space) -> dict[str, Any]:
    """The space as JSON values.

    Raises:
        TypeError: If it is of a kind that Reverie cannot use.
    """
    kind = type(space).__name__
    if isinstance(space, gs.Dict) and all(isinstance(key, str) for key in space):
        return {"kind": "Dict", "spaces": {key: encode(part) for key, part in space.items()}}
    if isinstance(space, gs.Dict) and all(isinstance(key, str | int) for key in space):
        # JSON would make text of whole numbers.
        return {"kind": "Dict", "entries": [[key, encode(part)] for key, part in space.items()]}
    if isinstance(space, gs.Tuple):
        return {"kind": "Tuple", "spaces": [encode(part) for part in space]}
    if isinstance(space, gs.Discrete):
        counts = {"n": int(space.n), "start": int(space.start)}
        # Not all releases of gymnasium have a choice.
        dtype = {} if space.dtype == np.int64 else {"dtype": str(space.dtype)}
        return {"kind": "Discrete", **counts, **dtype}
    if isinstance(space, gs.MultiDiscrete):
        counts = {"nvec": space.nvec.tolist(), "start": space.start.tolist()}
        return {"kind": "MultiDiscrete", **counts, "dtype": str(space.dtype)}
    if isinstance(space, gs.MultiBinary):
        return {"kind": "MultiBinary", "shape": list(space.shape)}
    if isinstance(space, gs.Box):
        bounds = {"low": _bound(space.low), "high": _bound(space.high)}
        return {"kind": "Box", **bounds, "shape": list(space.shape), "dtype": str(space.dtype)}
    if is_text(space):
        # What it may hold does not matter, because texts are left out.
        return {"kind": "Text"}
    raise TypeError(f"A space of kind {kind} cannot be saved: {space}.")


def decode(content: dict[str, Any]) -> gymnasium.Space:
    """The space that `encode` described."""
    kind = content["kind"]
    if kind == "Dict":
        entries = content["entries"] if "entries" in content else content["spaces"].items()
        return gs.Dict({key: decode(part) for key, part in entries})
    if kind == "Tuple":
        return gs.Tuple([decode(part) for part in content["spaces"]])
    if kind == "Discrete":
        given: Any = {"dtype": _dtype(content["dtype"])} if "dtype" in content else {}
        return gs.Discrete(content["n"], start=content["start"], **given)
    if kind == "MultiDiscrete":
        dtype = _dtype(content["dtype"])
        return gs.MultiDiscrete(content["nvec"], dtype=dtype, start=content["start"])
    if kind == "MultiBinary":
        return gs.MultiBinary(_shape(content["shape"]))
    if kind == "Text":
        return gs.Text(1)
    shape, dtype = _shape(content["shape"]), _dtype(content["dtype"])
    low, high = (_array(content[name], shape, dtype) for name in ("low", "high"))
    return gs.Box(low, high, shape, dtype)


def _shape(content: list[int]) -> tuple[int, ...]:
    if math.prod(content) > _MOST:
        raise ValueError(f"an observation of the shape {content} is too large")
    return tuple(content)


def _dtype(name: str) -> np.dtype:
    if name not in _DTYPES:
        raise ValueError(f"{name!r} is no type of numbers")
    return np.dtype(name)


def _bound(values: np.ndarray) -> Any:
    """One number where all are equal. JSON has no infinity, so that it becomes text."""
    flat = values.ravel()
    if len(flat) and (flat == flat[0]).all():
        return _number(flat[0].item())
    return [_number(value) for value in flat.tolist()]


def _number(value: float) -> float | str:
    return value if np.isfinite(value) else str(value)


def _array(content: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if isinstance(content, list):
        return np.array([dtype.type(value) for value in content], dtype).reshape(shape)
    return np.full(shape, dtype.type(content), dtype)

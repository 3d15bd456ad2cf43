"""What tells one environment of the user from another: its settings, or the code that makes it."""

import copy
import dis
import functools
import hashlib
import inspect
import pickle
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np

_DEPTH = 4
"""How far `same` looks into objects inside objects."""

_OURS = ("env", "spec", "_cached_spec", "_np_random", "_np_random_seed")
"""Attributes that `gymnasium` keeps for itself."""


def tag(factory: Callable[..., Any]) -> str:
    """A short name of a class or function; where that says too little, with a hash behind it.

    Lambdas, partials, functions with a closure, objects that are called and methods of objects have
    one of their code and the values that they bring, so that two of them have different names, in
    every process that runs the same script.
    """
    name = _inner(factory).strip("<>")
    bare = isinstance(factory, type) or (
        isinstance(factory, types.FunctionType)
        and factory.__name__ != "<lambda>"
        and not factory.__closure__
    )
    if bare:
        return name
    owner = factory.__self__ if isinstance(factory, types.MethodType) else factory
    code = isinstance(owner, type | types.FunctionType)
    settings = {} if code else getattr(owner, "__dict__", {})
    told = _told(factory) + (_told(settings) if settings else "")
    return f"{name}_{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def lost(env: gymnasium.Env, other: gymnasium.Env) -> list[str]:
    """Names of what was set on an environment and is not so in another one that was made anew.

    What a reset or a step of the other one changes is state and does not count; if in doubt both
    are made.
    """
    layers = list(_layers(env)), list(_layers(other))
    if [type(layer) for layer in layers[0]] != [type(layer) for layer in layers[1]]:
        return ["its wrappers"]
    different = [
        (theirs, key)
        for ours, theirs in zip(*layers, strict=True)
        for key in {**vars(ours), **vars(theirs)}
        if key not in _OURS and not same(vars(ours).get(key), vars(theirs).get(key))
    ]
    if not different:
        return []
    before = [_frozen(vars(layer).get(key)) for layer, key in different]
    other.reset(seed=0)
    other.step(other.action_space.sample())
    now = [vars(layer).get(key) for layer, key in different]
    kept = [same(*pair) for pair in zip(before, now, strict=True)]
    return [key for (_, key), same_ in zip(different, kept, strict=True) if same_]


def same(one: Any, two: Any, depth: int = _DEPTH) -> bool:
    """Whether two values are alike as far as can be seen."""
    if one is two:
        return True
    if type(one) is not type(two):
        return False
    if isinstance(one, np.ndarray) and one.dtype != object:
        return np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    if isinstance(one, int | float | complex | str | bytes | np.generic | gymnasium.Space):
        return bool(one == two) or one != one
    if isinstance(one, Mapping):
        return one.keys() == two.keys() and (
            not depth or all(same(one[key], two[key], depth - 1) for key in one)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(two) and (
            not depth or all(same(*pair, depth - 1) for pair in zip(one, two, strict=True))
        )
    if callable(one) or isinstance(one, np.random.Generator):
        return True
    if hasattr(one, "__dict__"):
        return not depth or same(vars(one), vars(two), depth - 1)
    try:
        return pickle.dumps(one) == pickle.dumps(two)
    except Exception:  # Nothing can be said about it.
        return True


def _layers(env: gymnasium.Env) -> Iterator[gymnasium.Env]:
    """The environment from the outermost wrapper inwards."""
    yield env
    while isinstance(env, gymnasium.Wrapper):
        env = env.env
        yield env


def _frozen(value: Any) -> Any:
    """A copy, where one can be made."""
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def _inner(factory: Any) -> str:
    while isinstance(factory, functools.partial):
        factory = factory.func
    return getattr(factory, "__name__", type(factory).__name__)


def _told(value: Any) -> str:
    """A text that is the same for equal values and code, in every process: no addresses."""
    if isinstance(value, functools.partial):
        return f"partial({_told(value.func)}, {_told(value.args)}, {_told(value.keywords)})"
    if isinstance(value, types.CodeType):
        return _told_code(value)
    if isinstance(value, types.FunctionType):
        outer = inspect.getclosurevars(value).nonlocals
        cells = {k: x for k, x in outer.items() if x is not value}  # It may call itself.
        brought = cells, value.__defaults__, value.__kwdefaults__
        return f"{value.__name__}({_told_code(value.__code__)}, {_told(brought)})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_told(k)}: {_told(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_told, value))}]"
    if isinstance(value, str | bytes | int | float | complex | None):
        return repr(value)
    if isinstance(value, set | frozenset):
        return _told(sorted(map(_told, value)))
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    return f"{type(value).__name__} {getattr(value, '__qualname__', '')}"


def _told_code(code: types.CodeType) -> str:
    """What the instructions of a function do, without the places that they are at."""
    steps = [
        (each.opname, each.argval)
        for each in dis.get_instructions(code)
        if each.opname.startswith(("LOAD", "STORE", "BINARY", "COMPARE"))
    ]
    return _told([(name if "LOAD" not in name else "", arg) for name, arg in steps])

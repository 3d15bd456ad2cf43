"""Encoders, objectives, selectors and wrappers by name: ours, or code of the user's own."""

import contextlib
import importlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from reverie.errors import ConfigError

_LIBRARIES = frozenset(["reverie", "jax", "jaxlib", "equinox", "jaxtyping"])


def by_name(option: str, name: str, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """What an option names: one of those that are known, or `module:name` of the user's own.

    Raises:
        ConfigError: If there is no such thing.
    """
    if name in known:
        return known[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ConfigError(
            f"{option}: there is no {name!r}. Use one of {', '.join(sorted(known))}, or your own "
            "as module:Class or module:function."
        )
    cannot = f"{option}: cannot load {name!r}"
    try:
        loaded = importlib.import_module(module)
        found = getattr(loaded, attribute, None)  # Some modules import it only now.
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(f"{cannot}: {_raised(error)}") from error
        raise ConfigError(
            f"{cannot}: there is no module {error.name!r} in the current folder or on PYTHONPATH. "
            f"Correct its name, or set PYTHONPATH to the folder that holds it."
        ) from error
    except Exception as error:
        raise ConfigError(f"{cannot}: {_raised(error)}") from error
    if not callable(found):
        raise ConfigError(
            f"{cannot}: {module} has no function or class {attribute!r}. "
            f"It has {', '.join(_callables(loaded)) or 'none'}."
        )
    return found


@contextlib.contextmanager
def attributed(what: str) -> Iterator[None]:
    """Turns an exception of the user's code into a ConfigError with the frames of that code."""
    try:
        yield
    except Exception as error:
        frames = [
            (frame, line)
            for frame, line in traceback.walk_tb(error.__traceback__)
            if str(frame.f_globals.get("__name__")).partition(".")[0] not in _LIBRARIES
            and frame.f_code.co_filename != contextlib.__file__
        ]
        lines = traceback.StackSummary.extract(iter(frames)).format()
        raised = f"{what} raised {type(error).__name__}: {error}\n{''.join(lines)}"
        raise ConfigError(raised.rstrip()) from error


def _callables(module: ModuleType) -> list[str]:
    """Public functions and classes that a module defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", "") == getattr(module, "__name__", "")
    ]


def _raised(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = "" if isinstance(error, SyntaxError) else f" ({last.filename}, line {last.lineno})"
    return f"its import raised {type(error).__name__}: {error}{where}"

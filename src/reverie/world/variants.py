"""Parts of the agent by name: ours, or code of the user's own."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def by_name(option: str, name: str, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """What a name stands for.

    Args:
        option: The option that holds the name, for messages.
        name: One of the known ones, or `module:name`.
        known: What is built in.

    Raises:
        ValueError: If there is no such thing.
    """
    if name in known:
        return known[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(
            f"{option}: there is no {name!r}. Use one of {', '.join(sorted(known))}, or your own "
            "as module:Class or module:function."
        )
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{option}: cannot load {name!r} ({error}). Its module has to be on the PYTHONPATH."
        ) from error

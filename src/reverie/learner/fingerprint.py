"""Tells whether two programs are the same, without tracing them.

To trace a program takes seconds; to compare what it is made of takes milliseconds.
"""

import functools
import hashlib
import importlib.metadata
import io
import os
import pathlib
import sys
import types
from typing import Any

import cloudpickle
import jax
import pydantic

import reverie

LIBRARIES = ("cloudpickle", "equinox", "jax", "jaxlib", "ml_dtypes", "numpy", "optax", "pydantic")
"""Whose code a program is made of, beside that of Reverie; their versions stand for it."""

PACKAGES = ("config", "nn", "world", "agent", "learner", "spaces.py")
"""What of Reverie agents and learners are made of; its text is compared."""


def fingerprint(description: Any) -> str | None:
    """The same for all processes in which a description leads to the same program.

    Args:
        description: An agent and whatever else the program depends on.

    Returns:
        None where that cannot be told, because code of somebody else takes part.
    """
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    try:
        pickler.dump((description, settings()))
    except Exception:  # Pickling runs the user's code, which may raise anything.
        return None
    known = {"reverie", *LIBRARIES, *sys.stdlib_module_names} - {"__main__"}
    if not pickler.packages <= known:
        return None
    parts = (stream.getvalue(), _code(), os.environ.get("XLA_FLAGS", "").encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def settings() -> dict[str, Any]:
    """Settings of JAX, without those of its cache."""
    values = sorted(jax.config.values.items())
    return {name: value for name, value in values if "cache" not in name}


class _Pickler(cloudpickle.Pickler):
    """Notes the packages of all that it pickles; the text does not depend on the order of sets."""

    def __init__(self, stream: io.BytesIO):
        super().__init__(stream)
        self.packages: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.ModuleType):
            module = obj.__name__
        else:
            module = getattr(obj, "__module__", None) or type(obj).__module__
        self.packages.add(module.partition(".")[0])
        if isinstance(obj, pydantic.BaseModel):
            # As configurations name code of users.
            named = [v for _, v in obj if isinstance(v, str) and ":" in v]
            self.packages.update(value.partition(":")[0] for value in named)
            # Without the set of the fields that were given, whose order is that of their hashes.
            return tuple, ((type(obj), *obj),)
        return super().reducer_override(obj)


@functools.cache
def _code() -> bytes:
    """Versions of the libraries, and the text of what Reverie adds."""
    digest = hashlib.sha256(sys.version.encode())
    for name in LIBRARIES:
        digest.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    root = pathlib.Path(reverie.__file__).parent
    for package in PACKAGES:
        place = root / package
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.read_bytes())
    return digest.digest()

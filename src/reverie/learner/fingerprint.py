"""Tells whether two programs are the same: for certain from their text, or without tracing them.

To trace a program takes seconds; to compare what it is made of takes milliseconds.
"""

import hashlib
import importlib.metadata
import io
import os
import pathlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import cloudpickle
import jax
import pydantic

import reverie
from reverie.learner.programs import Kind, Programs

LIBRARIES = ("cloudpickle", "equinox", "jax", "jaxlib", "ml_dtypes", "numpy", "optax",
             "opt_einsum", "pydantic")  # fmt: skip
"""Whose code a program is made of, beside that of Reverie; their versions stand for it."""

PACKAGES = ("config", "nn", "world", "agent", "learner", "spaces")
"""What of Reverie agents and learners are made of; its text is compared."""

_KNOWN = {"reverie", "jaxtyping", "pydantic_core", *LIBRARIES, *sys.stdlib_module_names} - {
    "__main__"
}


def name_of(programs: Programs, kind: Kind, lowered: jax.stages.Lowered) -> str:
    """The same for all traced programs that are compiled to the same one.

    Args:
        programs: Where it comes from.
        kind: Which one.
        lowered: The traced program.
    """
    details = {
        "options": programs.options(kind),
        "devices": [device.id for device in programs.devices(kind)],
        # What the result consists of, such as the names of metrics, is not in the text.
        "trees": (str(lowered.in_tree), str(lowered.out_tree)),
        "settings": settings(),
        "flags": os.environ.get("XLA_FLAGS", ""),
        "compiler": importlib.metadata.version("jaxlib"),
    }
    return _short(repr(details).encode(), lowered.as_text().encode())


def fingerprint(description: Any) -> str | None:
    """Equal only where a description leads to the same program, in whichever process.

    Constants of Reverie that are changed while it runs are not noticed, other changes are.

    Args:
        description: An agent and whatever else the program depends on.

    Returns:
        None where nothing can be told: code of somebody else takes part, or Reverie's own code
        was replaced, edited since it was imported, or has no text.
    """
    if _CODE is None or _read_code() != _CODE or _patched():
        return None
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    try:
        pickler.dump((description, settings()))
    except Exception:  # Pickling runs the user's code, which may raise anything.
        return None
    if not pickler.packages <= _KNOWN:
        return None
    return _short(stream.getvalue(), _CODE, os.environ.get("XLA_FLAGS", "").encode())


def settings() -> dict[str, Any]:
    """Settings of JAX, without its cache and the choice of platforms."""
    values = sorted(jax.config.values.items())
    return {name: x for name, x in values if "cache" not in name and name != "jax_platforms"}


class _Pickler(cloudpickle.Pickler):
    """Notes the packages of all that it pickles."""

    def __init__(self, stream: io.BytesIO):
        super().__init__(stream)
        self.packages: set[str] = set()
        # Without references to what was pickled before: they tell which objects are the same one.
        self.fast = True

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.ModuleType):
            self.packages.add(_top(obj.__name__))
        else:
            self.packages.add(_top(getattr(obj, "__module__", None) or type(obj).__module__))
        if isinstance(obj, pydantic.BaseModel):
            # As configurations name code, `module:Class`.
            if any(isinstance(value, str) and ":" in value for _, value in obj):
                self.packages.add("?")
            # Without the set of the fields that were given, whose order is that of their hashes.
            return tuple, ((type(obj), *obj),)
        return super().reducer_override(obj)


def _read_code() -> bytes | None:
    """Versions of the libraries and the text of Reverie; None where there is none."""
    digest = hashlib.sha256(sys.version.encode())
    root = pathlib.Path(reverie.__file__).parent
    try:
        for name in LIBRARIES:
            digest.update(f"{name} {importlib.metadata.version(name)}\n".encode())
        for package in PACKAGES:
            paths = sorted((root / package).rglob("*.py")) or [root / f"{package}.py"]
            for path in paths:
                digest.update(path.read_bytes())
    except (OSError, importlib.metadata.PackageNotFoundError):
        return None
    return digest.digest()


def _patched() -> bool:
    """Whether code of somebody else was put into the place of Reverie's."""
    names = tuple(f"reverie.{package}" for package in PACKAGES)
    for name, module in list(sys.modules.items()):
        if name.startswith(names) and not {_origin(x) for x in _contents(module)} <= _KNOWN:
            return True
    return False


def _contents(module: types.ModuleType) -> Iterator[Any]:
    """What a module, its classes and its tables hold."""
    for name, value in vars(module).items():
        if name == "__builtins__":  # Of Python; some libraries put their exceptions there.
            continue
        yield value
        if isinstance(value, type) and _top(value.__module__) == "reverie":
            yield from vars(value).values()
        elif isinstance(value, dict):
            yield from value.values()


def _origin(value: Any) -> str:
    """The package that a value comes from; plain values come from none, as if from Python."""
    module = getattr(value, "__module__", None)
    return _top(module) if isinstance(module, str) else "builtins"


def _top(module: str) -> str:
    return module.partition(".")[0]


def _short(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


_CODE = _read_code()

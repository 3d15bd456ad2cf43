"""Imports a part of a package without the package's own `__init__`."""

import importlib
import importlib.util
import sys
from types import ModuleType


def import_submodule(package: str, name: str) -> ModuleType:
    """Imports `package.name` and leaves the `__init__` of the package aside.

    Some packages register their environments with the old `gym` as soon as they are imported. It
    does not run with numpy 2, and the parts that hold the environments do not need it. A later
    `import package` runs its `__init__` as ever.

    Raises:
        ImportError: The package or something that the module imports is missing.
    """
    full = f"{package}.{name}"
    if package in sys.modules or full in sys.modules:
        return importlib.import_module(full)
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    sys.modules[package] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(full)
    finally:
        del sys.modules[package]

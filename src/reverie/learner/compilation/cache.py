"""The folder in which JAX keeps compiled programs, by their traced text."""

import contextlib
import hashlib
import logging
import math
import os
import pathlib
import platform as host
import re
import tempfile
import warnings

import jax
from jax.experimental.compilation_cache import compilation_cache

log = logging.getLogger("reverie.learner")

LIMIT = 2**30
"""Bytes that the folder keeps; a program has 0.1 to 3 megabytes."""

PREFIX = "reverie_"
"""Names of the agent's programs begin with it."""

_LEAST_SECONDS = 0.1
"""What compiles faster is not worth a file."""

_UNREADABLE = "Error reading persistent compilation cache entry for "
_DAMAGED = f"{_UNREADABLE}'(jit_{PREFIX}[a-z_]+)'"


def configure_cache(cache_dir: str) -> str:
    """Sets up JAX's persistent compilation cache for this process.

    Args:
        cache_dir: As in `devices.configure`.

    Returns:
        A message for the user if programs cannot be kept, else an empty string.
    """
    note, seconds = "", _LEAST_SECONDS
    folder = None
    try:
        folder = cache_folder(cache_dir)
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):  # Another process may do the same.
                _make_room(folder)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder.
        place = f"in {folder}" if folder else "anywhere"
        note = (
            f"Compiled programs cannot be kept {place}, so every start compiles them anew "
            f"({error}). --jax.cache_dir names another folder, off is without."
        )
        # What somebody else has put there can still be read.
        folder = folder if folder and os.access(folder, os.R_OK | os.X_OK) else None
        seconds = math.inf
    _set("jax_enable_compilation_cache", folder is not None)
    _set("jax_compilation_cache_dir", str(folder) if folder else None)
    _set("jax_persistent_cache_min_compile_time_secs", seconds)
    _set("jax_persistent_cache_min_entry_size_bytes", -1)
    # What XLA keeps of its own for GPUs it reads without looking whether it is whole.
    _set("jax_persistent_cache_enable_xla_caches", "none")
    # JAX warns of a file that it cannot read, compiles, and leaves the file there for ever. The
    # agent's are replaced; the others end no process in which warnings are errors.
    warnings.filterwarnings("default", message=_UNREADABLE, category=UserWarning)
    warnings.filterwarnings("error", message=_DAMAGED, category=UserWarning)
    return note


def cache_folder(cache_dir: str) -> pathlib.Path | None:
    """Folder of compiled programs for this machine, or None when the cache is off.

    Programs for a CPU use the instructions of the CPU that compiled them, so that each kind of CPU
    has its own folder even where the home folder is shared between machines.
    """
    if cache_dir == "off":
        return None
    if cache_dir := cache_dir or os.environ.get("JAX_COMPILATION_CACHE_DIR", ""):
        root = pathlib.Path(cache_dir).expanduser()
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        root = pathlib.Path(base).expanduser() / "reverie" / "compiled"
    return root / f"jax-{jax.__version__}-{_cpu_kind()}"


def forget_damaged(warning: str) -> None:
    """Deletes the programs of the name that JAX warns of, so that it can be written again.

    Raises:
        RuntimeError: If it is another warning.
    """
    found = re.match(_DAMAGED, warning)
    if not found:
        raise RuntimeError(warning)
    folder = pathlib.Path(jax.config.values["jax_compilation_cache_dir"])
    log.warning("A compiled program in %s is damaged; it is compiled anew.", folder)
    for path in folder.glob(f"{found[1]}-*"):
        path.unlink(missing_ok=True)


def _set(name: str, value: object) -> None:
    if jax.config.values[name] != value:
        jax.config.update(name, value)
        # JAX looks at its settings once, when it first compiles.
        compilation_cache.reset_cache()


def _make_room(folder: pathlib.Path) -> None:
    """Deletes the programs that were not used for longest, where there are too many."""
    files = [(path, path.stat()) for path in folder.iterdir() if path.is_file()]
    size = sum(stat.st_size for _, stat in files)
    for path, stat in sorted(files, key=lambda x: max(x[1].st_atime, x[1].st_mtime)):
        if size <= LIMIT:
            break
        path.unlink(missing_ok=True)
        size -= stat.st_size


def _cpu_kind() -> str:
    description = host.machine() + host.processor()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        names = ("flags", "Features")  # As x86 and ARM call them.
        description += next((line for line in lines if line.startswith(names)), "")
    return hashlib.sha256(description.encode()).hexdigest()[:8]

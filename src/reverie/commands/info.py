"""What `reverie info` and `reverie runs` print."""

import contextlib
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text
from safetensors import SafetensorError, safe_open

import reverie
from reverie.config.syntax import yaml_text
from reverie.errors import ConfigError
from reverie.track.runs.status import (
    UNREADABLE,
    RunStatus,
    find_runs,
    is_run,
    read_options,
    read_status,
)
from reverie.track.sinks.format import format_duration, format_number

VARIABLES = re.compile(r"JAX_|XLA_|REVERIE_|CUDA_VISIBLE|MUJOCO_GL|WANDB_(MODE|PROJECT)|OMP_NUM")
MACHINE_OPTIONS = ("logdir", "jax.", "logger.")
"""Options that two runs of one experiment may have otherwise: their hash leaves them out."""

STYLES = {"running": "green", "finished": "", "stopped": "yellow", "stale": "red"}


def print_info(folder: str, as_json: bool) -> None:
    """Prints lines or JSON about this machine, and about a run if a folder is given."""
    parts = {"run": of_run(pathlib.Path(folder).expanduser())} if folder else {}
    parts["machine"] = machine()
    print(json.dumps(parts) if as_json else "\n\n".join(map(as_text, parts.values())))


def print_runs(folder: str, as_json: bool) -> None:
    """Prints a table of the runs below a folder, or JSON; what is damaged goes to the errors.

    Raises:
        ConfigError: There is no such folder.
    """
    root = pathlib.Path(folder).expanduser()
    if not root.is_dir():
        raise ConfigError(f"There is no folder {root}.")
    runs, damaged = [], []
    for path in find_runs(root, note=damaged.append):
        try:
            runs.append(read_status(path))
        except UNREADABLE as error:
            damaged.append(f"Left out {path}: {error}")
    if as_json:
        print(json.dumps([run.to_json() for run in runs]))
    elif runs:
        print_table(runs, root)
    else:
        print(f"There are no runs in {root}.")
    for line in damaged:
        print(line, file=sys.stderr)


def machine() -> dict[str, str]:
    """Versions, devices and paths, which a bug report needs; starts JAX, and takes no memory."""
    variables = " ".join(f"{k}={x}" for k, x in os.environ.items() if VARIABLES.match(k))
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    from reverie.learner.compilation.cache import cache_folder

    source = pathlib.Path(reverie.__file__).parent
    memory, cores = psutil.virtual_memory(), os.cpu_count()
    try:
        devices = ", ".join(f"{x} ({x.device_kind})" for x in jax.devices())
    except RuntimeError as error:
        devices = f"none: {error}"
    return {
        "reverie": f"{reverie.__version__}{_commit(source)} in {source}",
        "python": f"{platform.python_version()} on {platform.platform()}",
        "packages": ", ".join(_packages(extra=False)),
        "extras": ", ".join(_packages(extra=True)),
        "processors": f"{cores}, with {memory.total / 2**30:.1f} GB of RAM",
        "devices": devices,
        "programs": f"{cache_folder('')}, compiled for later runs",
        "variables": variables,
    }


def of_run(folder: pathlib.Path) -> dict[str, str]:
    """What is known of a run, without loading it.

    Raises:
        ConfigError: There is no run of Reverie in the folder, or its configuration is damaged.
    """
    if not is_run(folder):
        raise ConfigError(f"There is no run in {folder}.")
    status, options = read_status(folder), read_options(folder)
    parameters = _parameters(folder)
    total = f"{status.steps:,} of {status.total_steps:,} steps"
    if status.duration:
        total += f", {format_duration(status.duration)} at most"
    return {
        "folder": str(folder),
        "task": status.task,
        "state": f"{status.state}, {total}. {status.why}".strip(),
        "model": status.model + (f", {parameters:,} parameters" if parameters else ""),
        "updates": f"{status.updates:,}",
        "training": f"{format_duration(status.seconds)}, {status.episodes:,} episodes",
        "score": "none yet" if math.isnan(status.score) else f"{status.score:.4g}, latest mean",
        "checkpoint": f"at step {status.saved:,}" if status.saved else "none",
        "written": f"{format_duration(time.time() - status.updated)} ago by {status.process}",
        "size": ", ".join(_sizes(folder)),
        "seed": str(options["seed"]),
        "options": f"hash {_hash(options)}; `reverie config --from {folder}` prints them",
    }


def as_text(values: Mapping[str, str]) -> str:
    """One line per value."""
    width = max(map(len, values)) + 2
    return "\n".join(f"{key:{width}}{value}".rstrip() for key, value in values.items())


def print_table(runs: list[RunStatus], folder: pathlib.Path) -> None:
    """Prints the runs in a folder, one a row."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "state", "task", "model"):
        made.add_column(name, overflow="fold")
    for name in ("steps", "score", "left", "written"):
        made.add_column(name, justify="right")
    for run in runs:
        share = run.steps / max(run.total_steps, 1)
        # As text: brackets in names would be read as markup.
        made.add_row(
            Text(str(run.folder.relative_to(folder))),
            Text(run.state, STYLES[run.state]),
            Text(run.task.removeprefix("gym_")),
            Text(run.model),
            f"{run.steps:,} ({share:.0%})",
            "" if math.isnan(run.score) else format_number(run.score),
            "" if run.left is None else format_duration(run.left),
            f"{format_duration(time.time() - run.updated)} ago",
        )
    # As wide as the terminal, or 120 characters where there is none.
    Console(width=None if sys.stdout.isatty() else 120).print(made)


def _commit(source: pathlib.Path) -> str:
    """The commit of a clone."""
    words = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=9"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True)
        return f" ({found.stdout.strip()})"
    return ""


def _packages(extra: bool) -> Iterator[str]:
    """What Reverie, or its extras, need and is installed, with versions."""
    needed = importlib.metadata.requires("reverie") or []
    names = {re.split(r"[^\w.-]", x)[0] for x in needed if ("extra ==" in x) == extra}
    names |= set() if extra else {"jaxlib"}
    tools = {re.split(r"[^\w.-]", x)[0] for x in needed if re.search("extra == .dev", x)}
    for name in sorted(names - tools):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield f"{name} {importlib.metadata.version(name)}"


def _parameters(folder: pathlib.Path) -> int:
    """Numbers that the agent of the newest checkpoint learns; 0 where none can be read."""
    for path in sorted(folder.glob("checkpoints/*/agent.safetensors"), reverse=True):
        with contextlib.suppress(OSError, SafetensorError), safe_open(path, "np") as file:
            names = [name for name in file.keys() if name.startswith("params/")]  # noqa: SIM118
            return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    return 0


def _sizes(folder: pathlib.Path) -> Iterator[str]:
    """What the folder takes on the disk, the largest parts first."""
    sizes: dict[str, int] = {}
    for path in folder.rglob("*"):
        part = path.relative_to(folder).parts[0]
        with contextlib.suppress(OSError):
            sizes[part] = sizes.get(part, 0) + path.lstat().st_size
    for part, size in sorted(sizes.items(), key=lambda pair: -pair[1])[:4]:
        yield f"{part} {size / 1e6:,.1f} MB"


def _hash(options: Mapping[str, Any]) -> str:
    """Equal for runs with equal options and seeds, wherever they lie."""
    kept = {k: options[k] for k in sorted(options) if not k.startswith(MACHINE_OPTIONS)}
    return hashlib.sha256(yaml_text.dump(kept).encode()).hexdigest()[:8]

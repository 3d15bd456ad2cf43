"""What the folder of a run tells about it, finished or not, without opening the run."""

import dataclasses
import fcntl
import functools
import json
import math
import os
import pathlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from reverie.config.presets import options_of, sizes
from reverie.config.saved_runs.original import is_original
from reverie.config.schema import Config
from reverie.config.syntax import yaml_text
from reverie.config.syntax.keys import flatten, groups, leaves
from reverie.errors import ConfigError
from reverie.track.sinks.jsonl import METRICS, SCORES, last_records

LOCK = ".lock"
"""The file that a process which trains holds the lock of; it names the process."""

QUIET = 900.0
"""Seconds, besides those of a few logs, after which a run that writes nothing is stale: compiling
a large model, or an evaluation, takes minutes."""

UNREADABLE = (ValueError, TypeError, LookupError, OSError)
"""What reading a run raises that is damaged, of another version, or deleted meanwhile."""

EPISODES = 20
"""The score is the mean over this many latest episodes."""

State = Literal["running", "finished", "stopped", "stale"]


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """What is known of a run.

    Attributes:
        folder: Run folder.
        state: `running`; `finished`, with the steps or the time it was given used up; `stopped`
            after a save, with steps left; or `stale`: it was killed without a save, or a process
            holds it and writes nothing.
        why: What a stale or stopped run needs, in a sentence; else empty.
        task: Task.
        model: The preset block that the model is of, or the width of its recurrent state.
        steps: Environment steps, as far as anything tells.
        total_steps: Steps that it was given.
        saved: Steps at the newest checkpoint; 0 without one.
        updates: Updates at the newest checkpoint or log.
        episodes: Finished episodes at the newest checkpoint.
        seconds: Seconds of training at the newest checkpoint.
        since: When that was, or when training went on from there, in seconds since 1970.
        duration: Seconds that it was given; 0 if any.
        speed: Environment steps per second at the newest log; 0 if unknown.
        score: Mean score of the latest 20 training episodes; NaN without any.
        updated: When anything was written last, in seconds since 1970.
        process: Which process works on it or did so last, such as `process 12 on host`.
    """

    folder: pathlib.Path
    state: State
    why: str
    task: str
    model: str
    steps: int
    total_steps: int
    saved: int
    updates: int
    episodes: int
    seconds: float
    since: float
    duration: float
    speed: float
    score: float
    updated: float
    process: str

    @property
    def left(self) -> float | None:
        """Seconds that a running run will take, at its present speed; None if nobody knows."""
        if self.state != "running" or not self.speed > 0:  # It may be NaN.
            return None
        times = [max(0, self.total_steps - self.steps) / self.speed]
        if self.duration:
            times.append(max(0.0, self.duration - self.seconds - (time.time() - self.since)))
        return min(times)

    def to_json(self) -> dict[str, Any]:
        """All of it, with what is not known as None."""
        values = {**dataclasses.asdict(self), "folder": str(self.folder), "left": self.left}
        return {k: None if x != x else x for k, x in values.items()}


def is_run(folder: pathlib.Path) -> bool:
    """Whether a folder is that of a run."""
    parts = ("spaces.json", "checkpoints", METRICS)
    # Those of pathlib raise errors for folders that nobody may look into.
    config = os.path.isfile(folder / "config.yaml")
    return config and any(os.path.exists(folder / name) for name in parts)


def find_runs(
    folder: pathlib.Path, links: bool = True, note: Callable[[str], object] = lambda text: None
) -> Iterator[pathlib.Path]:
    """All run folders in a folder, which may be one itself, in the order of their paths.

    Args:
        folder: Where to look; hidden folders are left out.
        links: Whether to follow links to folders; each is looked into once.
        note: Is told of folders that cannot be looked into.
    """
    seen = set()
    refused = lambda error: note(f"Left out {error.filename}: {error.strerror}")  # noqa: E731
    for place, names, _ in os.walk(folder, onerror=refused, followlinks=links):
        here = pathlib.Path(place)
        names[:] = sorted(name for name in names if not name.startswith("."))
        real = here.resolve()
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        if is_run(here):
            names.clear()
            yield here


def read_status(folder: pathlib.Path) -> RunStatus:
    """Looks at a run folder, which is not changed; takes some milliseconds.

    Raises:
        ConfigError: There is no run of Reverie in it, or its configuration is damaged.
        RecordsError: One of the files of its records is damaged.
    """
    options = read_options(folder)
    saved, meta, written = _checkpoint(folder)
    metrics = last_records(folder / METRICS, 1, "fps/policy")
    episodes = last_records(folder / SCORES, EPISODES, "episode/score")
    scores = [x["episode/score"] for x in episodes]
    newest = metrics[-1] if metrics else {}
    logged = max((int(x.get("step", 0)) for x in (*metrics, *episodes)), default=0)
    files = ("", METRICS, SCORES, "checkpoints", "replay", LOCK)
    status = RunStatus(
        folder=folder,
        state="stopped",
        why="",
        task=str(options["task"]),
        model=model_name(options),
        steps=max(saved, logged),
        total_steps=int(options["run.steps"]),
        saved=saved,
        updates=max(int(meta.get("updates", 0)), int(newest.get("train/opt/updates", 0))),
        episodes=int(meta.get("episodes", 0)),
        seconds=float(meta.get("seconds", 0.0)),
        since=max(written, changed(folder / LOCK)),  # A process writes its lock as it starts.
        duration=float(options["run.duration"]),
        speed=float(newest.get("fps/policy", 0.0)),
        score=sum(scores) / len(scores) if scores else math.nan,
        updated=max(changed(folder / name) for name in files),
        process=_text(folder / LOCK),
    )
    state, why = _state(status, logged > saved, float(options["run.log_every"]))
    return dataclasses.replace(status, state=state, why=why)


def read_options(folder: pathlib.Path) -> dict[str, Any]:
    """The options of the run in a folder by dotted key, unchecked, over the defaults of today.

    Raises:
        ConfigError: There is no run of Reverie in it, or its configuration is damaged.
    """
    path = folder / "config.yaml"
    try:
        made = path.stat()
        version = (made.st_ino, made.st_mtime_ns, made.st_size)
    except OSError:  # Reading it says what is wrong.
        version = ()
    return dict(_read_options(folder, version))


@functools.lru_cache(256)
def _read_options(folder: pathlib.Path, version: tuple[int, ...]) -> Mapping[str, Any]:
    """Who watches runs reads them every few seconds; their YAML takes nearly all of the time."""
    content = yaml_text.read(folder / "config.yaml", saved=True)
    if is_original(content):
        raise ConfigError(f"The run in {folder} is one of the original implementation.")
    saved = dict(flatten(content, groups(Config)))
    # As a file has them, so that both are equal.
    options = leaves(Config).values()
    defaults = {x.key: list(x.default) if x.kind is tuple else x.default for x in options}
    return defaults | saved


def _state(status: RunStatus, unsaved: bool, log_every: float) -> tuple[State, str]:
    """The state, and why it is that."""
    silent = time.time() - status.updated
    recent = silent < QUIET + 5 * log_every
    held = _held(status.folder / LOCK)
    if held is None or (not held and _elsewhere(status.process)):
        held = unsaved and recent  # Locks of other machines may not be seen here.
    if held and recent:
        return "running", ""
    if held:
        return "stale", f"{status.process} holds it and has written nothing for {silent:.0f} s."
    over = 0 < status.duration <= status.seconds
    if status.saved and (status.saved >= status.total_steps or over):
        return "finished", ""
    if unsaved:
        return "stale", f"It ended without a save: a resume goes on from step {status.saved:,}."
    return "stopped", ""


def _held(path: pathlib.Path) -> bool | None:
    """Whether a process holds the lock of a file; None where there are no locks."""
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # Given back at once.
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return False


def _elsewhere(process: str) -> bool:
    return " on " in process and process.rpartition(" on ")[2] != socket.gethostname()


def _checkpoint(folder: pathlib.Path) -> tuple[int, Mapping[str, Any], float]:
    """Steps and counters of the newest checkpoint and when it was written; zeros without one."""
    for path in sorted((folder / "checkpoints").glob("[0-9]*"), reverse=True):
        try:
            meta = json.loads((path / "meta.json").read_text())
            meta = meta if isinstance(meta, dict) else {}
            return int(path.name), meta, changed(path / "meta.json")
        except (OSError, ValueError):
            continue  # Deleted in the meantime, or damaged.
    return 0, {}, 0.0


def changed(path: pathlib.Path) -> float:
    """When a file was written, in seconds since 1970; 0 without it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(errors="replace")[:1000].strip()
    except OSError:
        return ""


def model_name(options: Mapping[str, Any]) -> str:
    """The block all of whose options of the agent the run has; the one with the most of them."""
    if options["random_agent"]:
        return "random"
    fitting = {
        name: len(block)
        for name, block in _blocks().items()
        if all(options.get(key) == value for key, value in block.items())
    }
    return max(fitting, key=fitting.__getitem__, default=f"deter {options['agent.dyn.deter']}")


@functools.cache
def _blocks() -> dict[str, dict[str, Any]]:
    """Blocks that make a model: name -> options of the agent."""
    return {
        name: {key: x for key, x in options_of(name).items() if key.startswith("agent.")}
        for name in (*sizes(), "debug", "quickstart", "small")
    }

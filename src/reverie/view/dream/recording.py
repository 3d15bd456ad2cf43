"""Recorded steps as something to start a dream from, and to compare it with."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from reverie.agent.agent import Agent
from reverie.replay.files.archive import path_of, serials
from reverie.replay.files.format import DamagedFile, File
from reverie.run.saved.folder import RunFolder
from reverie.spaces import FLAGS, LATENT_PREFIX
from reverie.view.dream.truth import DreamError, Step
from reverie.world.rssm import State

MOST_EPISODES = 200
"""Episodes of each source that are offered, the newest ones."""


@dataclasses.dataclass(frozen=True)
class Episode:
    """Rows of one file of replay that belong to one episode.

    Args:
        source: `evaluation`, or `replay` for one that was played in training.
        serial: Number of the file.
        begin: First row.
        end: Row after the last one.
        score: Sum of the rewards of these rows.
        whole: Whether these are all steps of the episode; others lie in other files.
        terminal: Whether it ends by termination.
    """

    source: str
    serial: int
    begin: int
    end: int
    score: float
    whole: bool
    terminal: bool


def episodes(run: RunFolder) -> list[Episode]:
    """Those of the last evaluation, then the newest ones of the saved replay.

    Files that a running training replaces or deletes meanwhile are left out.
    """
    return [each for source, folder in _sources(run).items() for each in _newest(source, folder)]


def _sources(run: RunFolder) -> dict[str, pathlib.Path]:
    return {"evaluation": run.evaluated, "replay": run.replay}


def _newest(source: str, folder: pathlib.Path) -> list[Episode]:
    """The newest episodes of a saved replay, newest file first."""
    found: list[Episode] = []
    for serial in reversed(serials(folder)):
        try:
            file = File(path_of(folder, serial, "chunk"), kept=True)
            rows = _rows(file, 0, file.fields["rows"], ("reward", *FLAGS))
        except (DamagedFile, FileNotFoundError):
            continue
        found += reversed(list(_split(source, serial, rows)))
        if len(found) >= MOST_EPISODES:
            break
    return found[:MOST_EPISODES]


class Recording:
    """Steps of replay from some row on.

    Args:
        run, source, serial: Where it lies: a run, and as of `Episode`.
        agent: Whose observations and actions they are.
        row: The step at which the dream begins.
        observed: Steps that are observed up to this one, with it; fewer where there are no more.

    Attributes:
        first: The row that is observed first.
        observed: Number of rows that are observed.

    Raises:
        DreamError: If there is no such source or step, or its file is gone or damaged.
    """

    name, note = "recording", ""

    def __init__(
        self, run: RunFolder, source: str, agent: Agent, serial: int, row: int, observed: int
    ):
        if (folder := _sources(run).get(source)) is None:
            raise DreamError(f"source is {source!r}: expected one of {sorted(_sources(run))}.")
        try:
            # The training may delete or replace them.
            self._file = File(path_of(folder, serial, "chunk"), kept=True)
            self._latents = File(path_of(folder, serial, "latents"), kept=True)
        except (DamagedFile, FileNotFoundError) as error:
            raise DreamError(
                f"Chunk {serial} of replay is no longer there ({error}). Reload the page and "
                "choose another step."
            ) from None
        self._agent = agent
        self._keys = (*agent.obs_space, *agent.act_space, "reward", *FLAGS)
        if missing := sorted(set(self._keys) - set(self._file.arrays)):
            raise DreamError(
                f"Replay in {folder} has no {missing}, which the agent of this run observes or "
                "does: it belongs to another run."
            )
        self._end = int(self._file.fields["rows"])
        if not 0 <= row < self._end:
            raise DreamError(
                f"Step {row} is not in chunk {serial} of replay, which has {self._end} steps."
            )
        self.first = self._first(row, observed)
        self.observed = row - self.first + 1

    def before(self, initial: State) -> tuple[State, dict[str, np.ndarray]]:
        """State and action before the first step that is observed."""
        if self.first == 0:
            return initial, {key: space.zeros() for key, space in self._agent.act_space.items()}
        stored = self.state(-1, initial) if self._agent.context else None
        return stored or initial, self._row(-1, self._agent.act_space)

    def state(self, index: int, initial: State) -> State | None:
        """The state stored with a `step`, in sizes and types of the initial one; None without."""
        names = [f"{LATENT_PREFIX}{key}" for key in State._fields]
        if not set(names) <= set(self._latents.arrays):
            return None
        stored = _rows(self._latents, self.first + index, 1, names).values()
        if any(x.shape != like.shape for x, like in zip(stored, initial, strict=True)):
            raise DreamError(
                "The latents in replay have other sizes than the agent: replay and checkpoints of "
                "this folder belong to different runs."
            )
        return State(*(x.astype(like.dtype) for x, like in zip(stored, initial, strict=True)))

    def step(self, index: int) -> Step:
        """The step some rows after the first one that is observed."""
        value = self._row(index, self._keys)
        first, last, terminal = (bool(value[key]) for key in FLAGS)
        obs = {key: value[key] for key in self._agent.obs_space}
        return Step(obs, float(value["reward"]), first, last, terminal)

    def action(self, index: int) -> dict[str, np.ndarray] | None:
        """What was done at a step; None where the recording ends."""
        return None if self._ends(index) else self._row(index, self._agent.act_space)

    def after(
        self, history: list[dict[str, np.ndarray]], action: Mapping[str, np.ndarray], last: Step
    ) -> Step | None:
        """What followed, if this is what was done."""
        index = len(history)
        recorded = self.action(index)
        if recorded is None or not all(_same(recorded[key], action[key]) for key in recorded):
            return None
        return self.step(index + 1)

    def close(self) -> None:
        """Nothing: its files close with the last use of it."""

    def _row(self, index: int, keys: Iterable[str]) -> dict[str, Any]:
        rows = _rows(self._file, self.first + index, 1, keys)
        return {key: value[0] for key, value in rows.items()}

    def _first(self, row: int, observed: int) -> int:
        """The first step that is observed: of the same episode, and after one with its latents."""
        begin = max(row - observed + 1, min(1, row))
        flags = _rows(self._file, begin, row - begin + 1, ("is_first",))
        starts = np.flatnonzero(flags["is_first"])
        return begin + int(starts[-1]) if len(starts) else begin

    def _ends(self, index: int) -> bool:
        """Whether nothing of the same episode follows on a step."""
        row = self.first + index
        if row + 1 >= self._end:
            return True
        flags = _rows(self._file, row, 2, ("is_first", "is_last"))
        return bool(flags["is_last"][0] or flags["is_first"][1])


def _rows(file: File, start: int, count: int, keys: Iterable[str]) -> dict[str, Any]:
    """Some rows of a file by key."""
    specs = {key: file.arrays[key] for key in keys}
    found = {k: np.empty((count, *x["shape"][1:]), np.dtype(x["dtype"])) for k, x in specs.items()}
    file.read(start, found)
    return found


def _same(recorded: np.ndarray, action: np.ndarray) -> bool:
    """Whether two actions are equal for the environment, and so for the model."""
    if recorded.dtype.kind == "f":
        return np.array_equal(np.clip(recorded, -1, 1), np.clip(action, -1, 1))
    return np.array_equal(recorded, action)


def _split(source: str, serial: int, rows: Mapping[str, np.ndarray]):
    """The episodes in the rows of a file."""
    count = len(rows["reward"])
    # Of an episode that another file begins, the first row gives the latents to start from.
    begin = 0 if rows["is_first"][:1].all() else 1
    starts = sorted({begin, *np.flatnonzero(rows["is_first"]).tolist()})
    for begin, end in zip(starts, [*starts[1:], count], strict=True):
        if end > begin:
            whole = bool(rows["is_first"][begin] and rows["is_last"][end - 1])
            terminal = bool(rows["is_terminal"][begin:end].any())
            score = float(rows["reward"][begin:end].sum())
            yield Episode(source, serial, begin, end, score, whole, terminal)

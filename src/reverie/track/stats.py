"""Statistics over many values: of updates, and of episodes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reverie.spaces import LOG_PREFIX, SUM

REDUCTIONS = ("avg", "min", "max", "sum", "last")
"""Names of the ways to reduce many values to one."""


@dataclasses.dataclass
class _Running:
    """Enough of many values to reduce them later, without keeping them."""

    count: int = 0
    total: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    last: float = np.nan

    def add(self, values: np.ndarray) -> None:
        self.count += values.size
        self.total += float(values.sum())
        # np.minimum carries a NaN on, which the built-in min would lose.
        self.low = float(np.minimum(self.low, values.min()))
        self.high = float(np.maximum(self.high, values.max()))
        self.last = float(values.flat[-1])

    def reduce(self, reduction: str) -> float:
        if reduction == "avg":
            return self.total / self.count
        return {"min": self.low, "max": self.high, "sum": self.total, "last": self.last}[reduction]


class _RunningTable:
    """What `_Running` holds, for one number per stream and key, of all keys at once.

    Args:
        size: Number of streams.
    """

    def __init__(self, size: int):
        self._columns: dict[str, int] = {}
        # Count, total, low, high and last, each [streams, keys].
        self._facts = np.empty((5, size, 0))

    def grow(self, more: int) -> None:
        """Makes room for more streams."""
        self._facts = np.concatenate([self._facts, self._empty(len(self._columns), more)], 1)

    def add(self, logs: Mapping[str, np.ndarray], running: np.ndarray, rows: np.ndarray) -> None:
        """Takes numbers [N] by key; NaN, and those of streams that do not run, are none."""
        if not logs:
            return
        new = [key for key in logs if key not in self._columns]
        self._columns |= {key: len(self._columns) + i for i, key in enumerate(new)}
        if new:
            self._facts = np.concatenate([self._facts, self._empty(len(new), self._size)], -1)
        values = np.stack(list(logs.values()), -1)
        columns = np.array([self._columns[key] for key in logs])
        cells = (slice(None), rows[:, None], columns)
        valid = ~np.isnan(values) & running[:, None]
        count, total, low, high, last = self._facts[cells]
        self._facts[cells] = (
            count + valid,
            total + np.where(valid, values, 0.0),
            np.where(valid, np.minimum(low, values), low),
            np.where(valid, np.maximum(high, values), high),
            np.where(valid, values, last),
        )

    def clear(self, row: int) -> None:
        """Forgets what a stream has logged."""
        self._facts[:, row] = self._empty(len(self._columns), 1)[:, 0]

    def of(self, row: int) -> dict[str, _Running]:
        """What a stream has logged, by key."""
        facts = {key: self._facts[:, row, column] for key, column in self._columns.items()}
        return {
            key: _Running(int(count), *map(float, rest))
            for key, (count, *rest) in facts.items()
            if count
        }

    @property
    def _size(self) -> int:
        return self._facts.shape[1]

    def _empty(self, keys: int, size: int) -> np.ndarray:
        """Facts of nothing."""
        start = np.array([0.0, 0.0, np.inf, -np.inf, np.nan])
        return np.broadcast_to(start[:, None, None], (5, size, keys)).copy()


class Aggregator:
    """Collects numbers by name and reduces them to one number each.

    Arrays of any shape count as many values. NaN and infinity are not hidden: they show up in
    the reductions that they touch.

    Example:
        >>> stats = Aggregator()
        >>> stats.add({"loss": [1.0, 2.0]})
        >>> stats.add({"loss": 6.0}, reduce="max")
        >>> stats.result()
        {'loss': 6.0}

    """

    def __init__(self):
        self._values: dict[str, _Running] = {}
        self._reductions: dict[str, str | tuple[str, ...]] = {}

    def add(
        self,
        metrics: Mapping[str, Any],
        prefix: str = "",
        reduce: str | Sequence[str] = "avg",
    ) -> None:
        """Collects values.

        Args:
            metrics: Scalars or arrays of numbers by name; empty arrays add nothing.
            prefix: Put before every name, with a slash between.
            reduce: `avg`, `min`, `max`, `sum` or `last`; or several of them, and then the result
                is called `<name>/<reduction>`. The last call decides for a name.

        Raises:
            ValueError: A reduction is unknown or a value is not numeric.
        """
        reductions = _check_reductions(reduce)
        for name, value in metrics.items():
            key = f"{prefix}/{name}" if prefix else name
            values = _numbers(key, value)
            if values.size:
                self._values.setdefault(key, _Running()).add(values)
                self._reductions[key] = reductions

    def result(self, reset: bool = True) -> dict[str, float]:
        """Reduces what was collected.

        Args:
            reset: Whether to forget the values afterwards.
        """
        result = {}
        for key, running in self._values.items():
            reductions = self._reductions[key]
            if isinstance(reductions, str):
                result[key] = running.reduce(reductions)
            else:
                result |= {f"{key}/{name}": running.reduce(name) for name in reductions}
        if reset:
            self._values.clear()
        return result


MAX_FRAMES = 1000
"""Longest video of an episode."""


class EpisodeStats:
    """Turns the steps of parallel streams into one record per finished episode.

    A record holds `episode/score` (sum of rewards), `episode/length` (number of actions taken:
    the reset does not count) and, for every `log/...` key of the transitions,
    `epstats/log/.../<reduction>` over the episode. NaN among `log/...` values means that there
    was nothing to log at that step. Where repeated steps have left their sum beside their largest
    value (`SUM`), the former is summed. `log/...` keys with uint8 images [N, H, W, C] become a
    video of the first stream, `epstats/log/...` [T, H, W, C].

    Only whole episodes count: what comes before the first `is_first` of a stream, and an
    episode that is abandoned by an early `is_first`, are left out.

    Args:
        num_envs: Number of streams, whose ids count from 0; others may come later.
        reduce: What to record of `log/...` keys, out of `avg`, `min`, `max`, `sum`, `last`.
        max_frames: Longest video; later frames of an episode are left out.
    """

    def __init__(
        self,
        num_envs: int,
        reduce: Sequence[str] = ("avg", "max", "sum"),
        max_frames: int = MAX_FRAMES,
    ):
        self._reductions = tuple(_check_reductions(tuple(reduce)))
        self._max_frames = max_frames
        self._places = {stream: stream for stream in range(num_envs)}
        self._all = range(num_envs)
        self._running = np.zeros(num_envs, bool)
        self._score = np.zeros(num_envs, np.float64)
        self._length = np.zeros(num_envs, np.int64)
        self._logs: list[dict[str, _Running]] = [{} for _ in range(num_envs)]
        self._numbers = _RunningTable(num_envs)
        self._frames: dict[str, list[np.ndarray]] = {}

    def add(
        self, transition: Mapping[str, np.ndarray], streams: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Takes one step of some streams.

        Args:
            transition: Arrays with leading axis [N]: `reward`, `is_first`, `is_last` and any
                `log/...` keys; others are ignored.
            streams: Ids of the N streams; by default all that were named when this was made.

        Returns:
            One record per episode that ended with this step, in the order of streams.

        Raises:
            ValueError: An array does not have N rows.
        """
        places = self._find(self._all if streams is None else streams)
        reward, first, last = (
            _rows(transition, k, len(places)) for k in ("reward", "is_first", "is_last")
        )
        for place in places[first]:
            self._begin(int(place))
        self._score[places] += reward
        self._length[places] += ~first
        numbers = {}
        for key in transition:
            if key.startswith(LOG_PREFIX):
                values = _rows(transition, key, len(places))
                if values.ndim == 1:
                    numbers[key] = _numbers(key, values)
                else:
                    self._add_log(key, values, places)
        running = self._running[places]
        self._numbers.add(numbers, running, places)
        ended = places[last & running]
        # An episode's values stay until the next one begins, so an extra step cannot add to it.
        self._running[ended] = False
        return [self._record(int(place)) for place in ended]

    @property
    def longest(self) -> int:
        """Actions so far in the longest of the episodes that have not ended."""
        return int(self._length[self._running].max(initial=0))

    def _find(self, streams: Sequence[int]) -> np.ndarray:
        """Places of streams; makes those that are new."""
        places = [self._places.setdefault(stream, len(self._places)) for stream in streams]
        if more := len(self._places) - len(self._running):
            self._running = np.append(self._running, np.zeros(more, bool))
            self._score = np.append(self._score, np.zeros(more))
            self._length = np.append(self._length, np.zeros(more, np.int64))
            self._logs += [{} for _ in range(more)]
            self._numbers.grow(more)
        return np.array(places, int)

    def _begin(self, env: int) -> None:
        self._running[env] = True
        self._score[env] = 0.0
        self._length[env] = 0
        self._logs[env] = {}
        self._numbers.clear(env)
        if env == 0:
            self._frames = {}

    def _add_log(self, key: str, rows: np.ndarray, places: np.ndarray) -> None:
        if rows.dtype == np.uint8 and rows.ndim == 4:
            frames = self._frames.setdefault(key, [])
            for row in np.flatnonzero(places == 0):
                if self._running[0] and len(frames) < self._max_frames:
                    frames.append(rows[row].copy())
            return
        for row in np.flatnonzero(self._running[places]):
            values = _numbers(key, rows[row])
            values = values[~np.isnan(values)]
            if values.size:
                self._logs[places[row]].setdefault(key, _Running()).add(values)

    def _record(self, env: int) -> dict[str, Any]:
        record: dict[str, Any] = {
            "episode/score": float(self._score[env]),
            "episode/length": int(self._length[env]),
        }
        found = self._numbers.of(env) | self._logs[env]
        sums = {key: found.pop(key + SUM) for key in list(found) if key + SUM in found}
        for key, running in found.items():
            for name in self._reductions:
                of = sums.get(key, running) if name == "sum" else running
                record[f"epstats/{key}/{name}"] = of.reduce(name)
        if env == 0:
            record |= {f"epstats/{key}": np.stack(x) for key, x in self._frames.items() if x}
        return record


def _rows(transition: Mapping[str, np.ndarray], key: str, count: int) -> np.ndarray:
    array = np.asarray(transition[key])
    if array.shape[:1] != (count,):
        raise ValueError(
            f"Transition key {key!r} has shape {array.shape}: expected {count} rows, "
            "one per environment."
        )
    return array


def _numbers(key: str, value: Any) -> np.ndarray:
    """The value as a float64 array, also when it is bfloat16, boolean or a Python number."""
    array = np.asarray(value)
    if array.dtype.kind in "OUSMmc":
        raise ValueError(f"Value {value!r} of {key!r} is not numeric: expected numbers.")
    return array.astype(np.float64)


def _check_reductions(reduce: str | Sequence[str]) -> str | tuple[str, ...]:
    names = (reduce,) if isinstance(reduce, str) else tuple(reduce)
    for name in names:
        if name not in REDUCTIONS:
            known = ", ".join(REDUCTIONS)
            raise ValueError(f"Unknown reduction {name!r}: expected one of {known}.")
    return reduce if isinstance(reduce, str) else names

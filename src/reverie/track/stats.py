"""Statistics of episodes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reverie.spaces import LOG_PREFIX, SUM

MAX_FRAMES = 1000
"""Longest video of `log/` images of an episode; later ones are left out."""


@dataclasses.dataclass
class _Logged:
    """What is kept of the values of a `log/...` key."""

    count: int = 0
    total: float = 0.0
    high: float = -math.inf

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.high = max(self.high, value)


@dataclasses.dataclass
class _Episode:
    """What is known of an episode that has not ended."""

    score: float = 0.0
    length: int = 0
    logs: dict[str, _Logged] = dataclasses.field(default_factory=dict)
    frames: dict[str, list[np.ndarray]] = dataclasses.field(default_factory=dict)

    def log(self, key: str, values: Sequence[float]) -> None:
        for value in values:
            if not math.isnan(value):
                self.logs.setdefault(key, _Logged()).add(value)

    def film(self, key: str, image: np.ndarray) -> None:
        frames = self.frames.setdefault(key, [])
        if len(frames) < MAX_FRAMES:
            frames.append(image.copy())

    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = {"episode/score": self.score, "episode/length": self.length}
        sums = {key: self.logs.pop(key + SUM) for key in list(self.logs) if key + SUM in self.logs}
        for key, logged in self.logs.items():
            record[f"epstats/{key}/avg"] = logged.total / logged.count
            record[f"epstats/{key}/max"] = logged.high
            record[f"epstats/{key}/sum"] = sums.get(key, logged).total
        return record | {f"epstats/{key}": np.stack(x) for key, x in self.frames.items() if x}


class EpisodeStats:
    """Turns the steps of parallel streams into one record per finished episode.

    A record holds `episode/score` (sum of rewards), `episode/length` (number of actions taken:
    the reset does not count) and, for every `log/...` key of the transitions,
    `epstats/log/.../avg`, `max` and `sum` over the episode. NaN among `log/...` values means that
    there was nothing to log at that step. Where repeated steps have left their sum beside their
    largest value (`SUM`), the former is summed. `log/...` keys with uint8 images [N, H, W, C] of
    1, 3 or 4 channels become a video of the stream that came first, `epstats/log/...` [T, H, W, C].

    Only whole episodes count: what comes before the first `is_first` of a stream, and an
    episode that is abandoned by an early `is_first`, are left out. Nothing is kept of a stream
    whose episode has ended.

    Args:
        num_envs: Number of streams, whose ids count from 0; others may come later.
    """

    def __init__(self, num_envs: int):
        self._all = range(num_envs)
        self._filmed: int | None = None
        self._episodes: dict[int, _Episode] = {}

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
        streams = self._all if streams is None else streams
        if self._filmed is None and streams:
            self._filmed = streams[0]
        reward, first, last = (
            _rows(transition, key, len(streams)).tolist()
            for key in ("reward", "is_first", "is_last")
        )
        logs, images = self._split(transition, len(streams))
        records = []
        for row, stream in enumerate(streams):
            if first[row]:
                self._episodes[stream] = _Episode()
            episode = self._episodes.get(stream)
            if episode is None:
                continue
            episode.score += reward[row]
            episode.length += not first[row]
            for key, values in logs.items():
                episode.log(key, values[row])
            for key, values in images.items() if stream == self._filmed else ():
                episode.film(key, values[row])
            if last[row]:
                records.append(self._episodes.pop(stream).record())
        return records

    def forget(self, stream: int) -> None:
        """Drops the episode of a stream that has ended without it; another one is filmed."""
        self._episodes.pop(stream, None)
        if stream == self._filmed:
            self._filmed = None

    def _split(self, transition: Mapping[str, np.ndarray], count: int) -> tuple[dict, dict]:
        """What is logged: numbers by key and stream, and images [N, H, W, C] by key."""
        found = {k: _rows(transition, k, count) for k in transition if k.startswith(LOG_PREFIX)}
        images = {
            key: values
            for key, values in found.items()
            if values.dtype == np.uint8 and values.ndim == 4 and values.shape[-1] in (1, 3, 4)
        }
        numbers = {
            key: [row.ravel().tolist() for row in _numbers(key, values)]
            for key, values in found.items()
            if key not in images
        }
        return numbers, images

    @property
    def longest(self) -> int:
        """Actions so far in the longest of the episodes that have not ended."""
        return max((episode.length for episode in self._episodes.values()), default=0)


def _rows(transition: Mapping[str, np.ndarray], key: str, count: int) -> np.ndarray:
    array = np.asarray(transition[key])
    if array.shape[:1] != (count,):
        raise ValueError(
            f"Transition key {key!r} has shape {array.shape}: expected {count} rows, "
            "one per environment."
        )
    return array


def _numbers(key: str, value: np.ndarray) -> np.ndarray:
    """The value in float64, also when it is bfloat16 or boolean."""
    if value.dtype.kind in "OUSMmc":
        raise ValueError(f"Value {value!r} of {key!r} is not numeric: expected numbers.")
    return value.astype(np.float64)

"""Progress on the terminal: a board that stays in place, or plain lines in a file or pipe."""

import atexit
import collections
import contextlib
import datetime
import io
import math
import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from reverie.track.encoding.names import printable
from reverie.track.sinks.base import RunInfo, Scalar, Sink, Value, compiled
from reverie.track.sinks.board import (
    ASCII,
    EPISODES,
    LOSS,
    Glyphs,
    Picture,
    Scores,
    loss_terms,
)
from reverie.track.sinks.format import format_duration, format_number, short_name
from reverie.track.sinks.jsonl import SCORES, last_records

SAVED = "Saved at "
"""How messages of a save begin: the board shows the newest in place of a line for each."""

SPEED_WINDOW = 120.0
"""Seconds of the past that the ETA looks at; compilation at the start drops out of it."""

SUSPENDED = 10.0
"""The process was stopped meanwhile where the ETA is so many times later than usual."""

MAX_ETA = 1000 * 24 * 3600.0
"""Longer ETAs in seconds are not shown: the run is meant to be stopped by hand."""

REFRESH = 1.0
"""How often the board is drawn per second: more would cost more than half a percent of a core."""

PAST_EPISODES = 500
"""Newest episodes of earlier processes that the curve of a resumed run begins with."""

WIDTH = 120
"""A plain line is at most this long; what does not fit is in metrics.jsonl."""


class TerminalSink(Sink):
    """Shows steps, ETA, score, speed, where the time goes, losses and memory.

    On a terminal a board stays at the bottom and is drawn anew once a second. Messages scroll
    above it, and so does what this process prints meanwhile, and what its environments print in
    processes of their own. When the output is a file, a pipe or a notebook, or the terminal is a
    dumb one, every write becomes one plain line.

    Args:
        run: What is known of the run. Its `filter` is searched in metric names: of losses only
            matches are shown, and what else matches is shown besides.
        file: Where to print; the standard output by default.
        clock: Returns the time in seconds.

    Raises:
        ValueError: The filter is not a regular expression.
    """

    def __init__(
        self,
        run: RunInfo,
        *,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._run, self._clock = run, clock
        self._chosen = compiled(run.filter)
        self._file = sys.stdout if file is None else file
        self._eta = _Eta(run.total_steps, run.duration, clock)
        self._start = clock()
        self._metrics: dict[str, Scalar] = {}
        self._curve = Scores()
        self._means: dict[str, collections.deque[float]] = {}
        self._saved: tuple[str, float] | None = None
        self._printed = -1
        self._lock = threading.Lock()
        self._eta.update(run.step())
        self._console = Console(file=self._file, force_terminal=True)
        self._glyphs = Glyphs() if _unicode(self._file) else ASCII
        self._lengths: list[int] = []
        self._live = self._start_live() if _interactive(self._file) else None

    def _start_live(self) -> Live:
        if isinstance(self._file, io.TextIOWrapper):  # Whatever names and environments say.
            self._file.reconfigure(errors="backslashreplace")
        if self._run.first_step:  # What an earlier process has seen.
            for record in last_records(self._run.logdir / SCORES, PAST_EPISODES, "episode/score"):
                self._curve.add(record["episode/score"])
            self._curve.count = 0
        live = Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=REFRESH,
            vertical_overflow="crop",
        )
        live.start()
        # An uncaught error must not leave the terminal without a cursor.
        atexit.register(self.close)
        return live

    @property
    def drawn(self) -> bool:
        """Whether there is a board."""
        return self._live is not None

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Updates the numbers shown, or prints them as one line."""
        shown = {key: x for key, x in metrics.items() if isinstance(x, Scalar)}
        with self._lock:
            # A metric that is logged more rarely than this one stays in view.
            self._metrics = {**self._metrics, **shown} if self._live else shown
            self._eta.write(step, metrics.get("fps/train"))
        if self._live:
            self._live.refresh()
        else:
            self._print_line(step)

    def episode(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Counts one episode into the scores shown."""
        with self._lock:
            for key, value in metrics.items():
                if isinstance(value, int | float):
                    recent = self._means.setdefault(key, collections.deque(maxlen=EPISODES))
                    recent.append(value)
            if isinstance(score := metrics.get("episode/score"), int | float):
                self._curve.add(score)

    def note(self, text: str) -> None:
        """Prints a message above the board."""
        if not self._live:
            self._print(text)
        elif text.startswith(SAVED):
            self._saved = text.removeprefix(SAVED).split()[0], self._clock()
        else:
            # Broken between words, but a path stays whole, so that it can be copied.
            width = max(self._console.width, 20)
            lines = [
                textwrap.fill(
                    line, width, break_long_words=False, break_on_hyphens=False,
                    subsequent_indent="  ",
                )
                for line in text.splitlines()
            ]  # fmt: skip
            self._console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leaves the last picture on the terminal and gives the cursor back."""
        if self._live:
            live, self._live = self._live, None
            live.stop()
            atexit.unregister(self.close)

    def _print(self, line: str) -> None:
        # Without what the output's encoding lacks, such as a letter of a name in a pipe.
        encoding = getattr(self._file, "encoding", None) or "utf-8"
        self._file.write(f"{line}\n".encode(encoding, "backslashreplace").decode(encoding))
        self._file.flush()

    def _print_line(self, step: int) -> None:
        """Prints what was just written, unless it says nothing new."""
        metrics = {key: x for key, x in self._metrics.items() if self._chosen.search(key)}
        nothing_new = step == self._printed and not self._metrics.get("fps/policy", 1)
        self._printed = step
        if nothing_new and not any(key.startswith(LOSS) for key in metrics):
            return
        losses = loss_terms(metrics, self._chosen)
        # Scores of the latest episodes are newer than what was last written.
        recent = {key: x for key, x in self._recent().items() if self._chosen.search(key)}
        metrics |= recent
        first = [*recent, *(key for key in metrics if key == "fps/policy")]
        others = [key for key in metrics if key not in first and not key.startswith(LOSS)]
        cell = lambda key: printable(f" | {short_name(key)} {format_number(metrics[key])}")  # noqa: E731
        parts = [f" | {part}" for part in self._head(step)] + [*map(cell, first)]
        parts += [
            f"{', ' if i else ' | loss '}{printable(name)} {format_number(x)}"
            for i, (name, x) in enumerate(losses)
        ]
        parts += map(cell, others)
        line = f"{datetime.datetime.now():%H:%M:%S}"
        for part in parts:
            if len(line) + len(part) > WIDTH:
                break
            line += part
        self._print(line)
        # An evaluation is told once; training goes on under its lines.
        self._means = {k: x for k, x in self._means.items() if k.startswith("episode/")}

    def _head(self, step: int) -> list[str]:
        """Step, progress and time left."""
        total, left = self._run.total_steps, self._eta.left(step)
        of = f"/{total:,} ({min(step / total, 1):.0%})" if total > 0 else ""
        parts = [f"step {step:,}{of}"]
        if self._run.repeat > 1:
            parts.append(f"frames {format_number(step * self._run.repeat)}")
        if left is not None and left < MAX_ETA:
            parts.append(f"eta {format_duration(left)}")
        return parts

    def _recent(self) -> dict[str, float]:
        return {key: sum(xs) / len(xs) for key, xs in self._means.items()}

    def _render(self) -> RenderableType:
        run, now = self._run, self._clock()
        with self._lock:
            step = run.step()
            self._eta.update(step)
            left = self._eta.left(step)
            picture = Picture(
                run=run,
                metrics=self._metrics,
                scores=self._curve,
                others=self._recent(),
                step=step,
                elapsed=run.elapsed + now - self._start,
                left=left if left is not None and left < MAX_ETA else None,
                share=self._eta.share(step),
                saved=self._saved and (self._saved[0], now - self._saved[1]),
                glyphs=self._glyphs,
                chosen=self._chosen,
                extra=self._extra(),
            )
            rows = picture.rows(self._console.width)
        self._erase_broken(rows)
        return Group(*rows)

    def _extra(self) -> list[str]:
        """Metrics that the filter lets through and that the board has no other place for."""
        known = ("fps/", "time/", "usage/", "replay/", "episode/", "eval/episode/", "train/update_")
        chosen = (key for key in self._metrics if self._chosen.search(key))
        return [key for key in chosen if not key.startswith((*known, LOSS))]

    def _erase_broken(self, rows: Sequence[Text]) -> None:
        """Takes back rows that a terminal has broken in two, because it became narrower."""
        width, lengths = self._console.width, self._lengths
        self._lengths = [row.cell_len for row in rows[: self._console.height]]
        broken = sum(max(1, math.ceil(length / width)) for length in lengths)
        if broken > len(lengths):
            # From here on the next picture is drawn over as many rows as the last one had.
            up, down = f"\x1b[{broken - 1}A", f"\x1b[{len(lengths) - 1}B"
            self._file.write(f"\r{up}\x1b[J{down if len(lengths) > 1 else ''}")


class _Eta:
    """Estimates the time left from the speed of the recent past.

    Until the first update nothing is known: steps before it are fast, and compilation is slow.
    """

    def __init__(self, total: int, duration: float, clock: Callable[[], float]):
        self._total = total
        self._clock = clock
        self._start, self._duration = clock(), duration
        self._past: collections.deque[tuple[float, int]] = collections.deque()
        self._learning = False

    def write(self, step: int, trained: Value | None) -> None:
        """Looks at the speed of training, or None where nothing is known about it."""
        if trained and not self._learning:
            self._past.clear()
        self._learning |= trained is None or bool(trained)
        self.update(step)

    def update(self, step: int) -> None:
        now = self._clock()
        if len(self._past) > 1:
            (start, _), (before, _) = self._past[0], self._past[-1]
            if now - before > SUSPENDED * max(1 / REFRESH, (before - start) / len(self._past)):
                self._past.clear()
        self._past.append((now, step))
        # Two old points are kept: writes may be further apart than the window.
        while len(self._past) > 2 and self._past[1][0] < now - SPEED_WINDOW:
            self._past.popleft()

    def left(self, step: int) -> float | None:
        """Seconds until the run ends, or None when nothing is known about it."""
        if not self._learning:
            return None
        (start, first), (now, last) = self._past[0], self._past[-1]
        if 0 < self._total > step and last == first:
            return None  # The limit of time alone would say too much.
        times = []
        if self._duration > 0:
            times.append(max(0.0, self._start + self._duration - now))
        if self._total > 0 and last > first:
            times.append(max(0, self._total - step) * (now - start) / (last - first))
        return min(times) if times else None

    def share(self, step: int) -> float | None:
        """How much of the run is done, of 1; None where it has no end."""
        shares = [step / self._total] if self._total > 0 else []
        if self._duration > 0:
            shares.append((self._clock() - self._start) / self._duration)
        return min(1.0, max(shares)) if shares else None


def say(text: str) -> None:
    """Prints a line to the errors, also in a signal handler, below what a board has left there."""
    with contextlib.suppress(OSError):
        if os.isatty(2):
            text = f"\r\x1b[K\x1b[?25h{text}"  # It may have hidden the cursor.
        os.write(2, f"{text}\n".encode())


def _interactive(file: TextIO) -> bool:
    # What people put in place of the standard output can often do no more than write and flush.
    terminal = getattr(file, "isatty", bool)()
    return terminal and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def _unicode(file: TextIO) -> bool:
    """Whether a terminal shows more than ASCII, as far as the locale tells."""
    everything, ctype, lang = (os.environ.get(x, "") for x in ("LC_ALL", "LC_CTYPE", "LANG"))
    if ctype == "C.UTF-8" and lang in ("", "C", "POSIX"):
        ctype = ""  # Python itself has set it, where there is no locale.
    return _utf8(getattr(file, "encoding", "") or "") and _utf8(everything or ctype or lang)


def _utf8(name: str) -> bool:
    return "utf8" in name.lower().replace("-", "")

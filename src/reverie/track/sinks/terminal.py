"""Progress on the terminal: a line that updates in place, or plain lines in a file or pipe."""

import atexit
import collections
import datetime
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reverie.track.names import printable
from reverie.track.sinks.base import FILTER, Sink, Value, compiled
from reverie.track.sinks.format import format_duration, format_number, short_name

EPISODES = 20
"""The score shown is the mean over this many latest episodes."""

SPEED_WINDOW = 120.0
"""Seconds of the past that the ETA looks at; compilation at the start drops out of it."""

MAX_ETA = 1000 * 24 * 3600.0
"""Longer ETAs in seconds are not shown: the run is meant to be stopped by hand."""

MAX_ROWS = 2
"""Rows of metrics, and rows of losses, under the progress bar."""

LOSS = "train/loss/"
"""Metrics with this prefix are shown together, without it."""

FIRST = ("fps/policy",)
"""Metrics that come right after the scores, before the losses."""

WIDTH = 120
"""A plain line is at most this long; what does not fit is in metrics.jsonl."""

Cell = tuple[str, str]
"""What a number is, and the number."""


class TerminalSink(Sink):
    """Shows steps, ETA, score, gradient steps per environment step, speed and losses.

    On a terminal the picture stays at the bottom and redraws itself twice a second, and messages
    scroll above it, also those that others print. When the output is a file or a pipe, every
    write becomes one plain line.

    Args:
        step: Returns the current environment step. It is called from a second thread.
        total_steps: Environment steps of the whole run; 0 = no limit.
        duration: Wall clock limit of this process in seconds; 0 = no limit.
        filter: Regular expression searched in metric names: only matches are shown.
        file: Where to print; the standard output by default.
        clock: Returns the time in seconds, for the ETA.

    Raises:
        ValueError: `filter` is not a regular expression.
    """

    def __init__(
        self,
        step: Callable[[], int],
        *,
        total_steps: int = 0,
        duration: float = 0.0,
        filter: str = FILTER,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._filter = compiled(filter)
        self._step = step
        self._file = sys.stdout if file is None else file
        self._eta = _Eta(total_steps, duration, clock)
        self._total = total_steps
        self._metrics: dict[str, int | float | str] = {}
        self._scores: dict[str, collections.deque[float]] = {}
        self._printed = -1
        self._lock = threading.Lock()
        self._eta.update(step())
        self._console = Console(file=self._file, force_terminal=True)
        self._live = self._start_live() if _interactive(self._file) else None

    def _start_live(self) -> Live:
        live = Live(get_renderable=self._render, console=self._console, refresh_per_second=2)
        live.start()
        # An uncaught error must not leave the terminal without a cursor.
        atexit.register(self.close)
        return live

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Updates the numbers shown, or prints them as one line."""
        shown = {
            key: value
            for key, value in metrics.items()
            if isinstance(value, int | float | str) and self._filter.search(key)
        }
        with self._lock:
            # A metric that is logged more rarely than this one stays in view.
            self._metrics = {**self._metrics, **shown} if self._live else shown
            self._eta.write(step, metrics.get("fps/train"))
        nothing_new = step == self._printed and not metrics.get("fps/policy", 1)
        self._printed = step
        if nothing_new and not self._live and not any(key.startswith(LOSS) for key in shown):
            return
        if self._live:
            self._live.refresh()
            return
        first, losses, others = self._cells()
        parts = [f" | {name} {value}" for name, value in self._head(step) + first]
        parts += [f"{', ' if i else ' | loss '}{name} {x}" for i, (name, x) in enumerate(losses)]
        parts += [f" | {name} {value}" for name, value in others]
        line = f"{datetime.datetime.now():%H:%M:%S}"
        for part in parts:
            if len(line) + len(part) > WIDTH:
                break
            line += part
        self._print(line)
        # An evaluation is told once; training goes on under its lines.
        self._scores = {k: x for k, x in self._scores.items() if k.startswith("episode/")}

    def episode(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Counts one episode into the score shown."""
        with self._lock:
            for key, value in metrics.items():
                if isinstance(value, int | float):
                    recent = self._scores.setdefault(key, collections.deque(maxlen=EPISODES))
                    recent.append(value)

    def note(self, text: str) -> None:
        """Prints a message above the progress line."""
        if self._live:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._print(text)

    def close(self) -> None:
        """Leaves the last picture on the terminal and gives the cursor back."""
        if self._live:
            live, self._live = self._live, None
            live.stop()
            atexit.unregister(self.close)

    def _print(self, line: str) -> None:
        # A pipe may be in an encoding that lacks a character of a name.
        encoding = getattr(self._file, "encoding", None) or "utf-8"
        line = line.encode(encoding, "backslashreplace").decode(encoding)
        self._file.write(line + "\n")
        self._file.flush()

    def _head(self, step: int) -> list[Cell]:
        """Step, progress and time left."""
        cells = [("step", f"{step:,}")]
        if self._total > 0:
            cells = [("step", f"{step:,}/{self._total:,} ({min(step / self._total, 1):.0%})")]
        left = self._eta.left(step)
        if left is not None and left < MAX_ETA:
            cells.append(("eta", format_duration(left)))
        return cells

    def _cells(self) -> tuple[list[Cell], list[Cell], list[Cell]]:
        """Scores and what is as important, the losses, and other metrics."""
        recent = {
            key: sum(xs) / len(xs) for key, xs in self._scores.items() if self._filter.search(key)
        }
        # Scores of the latest episodes are newer than what was last written.
        metrics = self._metrics | recent
        first = [*recent, *(key for key in FIRST if key in metrics and key not in recent)]
        losses = [key for key in metrics if key.startswith(LOSS)]
        others = [key for key in metrics if key not in first and key not in losses]
        return (
            [_cell(short_name(key), metrics[key]) for key in first],
            [_cell(key.removeprefix(LOSS), metrics[key]) for key in losses],
            [_cell(short_name(key), metrics[key]) for key in others],
        )

    def _render(self) -> RenderableType:
        with self._lock:
            step = self._step()
            self._eta.update(step)
            head, (first, losses, others) = self._head(step), self._cells()
        bar = Table.grid(expand=True, padding=(0, 2, 0, 0))
        parts: list[RenderableType] = [_styled(cell, "bold cyan") for cell in head]
        for _ in head:
            bar.add_column(no_wrap=True)
        if self._total > 0:
            bar.add_column(ratio=1)
            done = min(step, self._total)
            parts.append(ProgressBar(self._total, done, complete_style="cyan"))
        bar.add_row(*parts)
        items = [_styled(cell, "bold" if i == 0 else "") for i, cell in enumerate(first + others)]
        rows = _rows(items, self._console.width)
        if losses:
            items = [Text("loss", "dim"), *(_styled(cell, "") for cell in losses)]
            rows += _rows(items, self._console.width)
        return Group(bar, *rows)


class _Eta:
    """Estimates the time left from the speed of the recent past.

    Until the first update nothing is known: steps before it are fast, and compilation is slow.
    """

    def __init__(self, total: int, duration: float, clock: Callable[[], float]):
        self._total = total
        self._clock = clock
        self._end = clock() + duration if duration > 0 else None
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
        self._past.append((now, step))
        # Two old points are kept: writes may be further apart than the window.
        while len(self._past) > 2 and self._past[1][0] < now - SPEED_WINDOW:
            self._past.popleft()

    def left(self, step: int) -> float | None:
        """Seconds until the run ends, or None when nothing is known about it."""
        if not self._learning:
            return None
        (start, first), (now, last) = self._past[0], self._past[-1]
        times = []
        if self._end is not None:
            times.append(max(0.0, self._end - now))
        if self._total > 0 and last > first:
            times.append(max(0, self._total - step) * (now - start) / (last - first))
        return min(times) if times else None


def _interactive(file: TextIO) -> bool:
    return file.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def _cell(name: str, value: int | float | str) -> Cell:
    return printable(name), printable(format_number(value))


def _styled(cell: Cell, style: str) -> Text:
    name, value = cell
    # A loss that is not a number is what everybody wants to see first.
    style = "bold red" if value in ("nan", "inf", "-inf") else style
    return Text.assemble((f"{name} ", "dim"), (value, style), no_wrap=True)


def _rows(items: list[Text], width: int) -> list[Text]:
    """Fills rows with whole items; says how many did not fit."""
    rows: list[Text] = []
    for index, item in enumerate(items):
        if rows and rows[-1].cell_len + 2 + item.cell_len <= width:
            rows[-1] = Text.assemble(rows[-1], "  ", item, no_wrap=True)
        elif len(rows) < MAX_ROWS:
            rows.append(item)
        else:
            return [*rows, Text(f"and {len(items) - index} more in metrics.jsonl", "dim")]
    return rows

"""The board of a run on a terminal: what its rows say, for any width and any alphabet."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text

from reverie.track.encoding.names import printable
from reverie.track.sinks.base import RunInfo, Scalar
from reverie.track.sinks.format import format_duration, format_number, short_name

EPISODES = 20
"""The score shown is the mean over this many latest episodes."""

BUCKETS = 64
"""A curve of scores is kept in at most this many parts, each a mean."""

LOSS = "train/loss/"
LOSSES = ("rec", "dyn", "rew", "con", "policy", "value")
"""Losses in the order in which they are shown; others follow."""

HIDDEN = (f"{LOSS}rep", f"{LOSS}repval")
"""Like `dyn`, whose KL it is too, and like `value`: metrics.jsonl has them."""

LABEL = 8
MUCH_RAM = 90
"""Percent of the machine's memory in use from which the board warns."""


@dataclasses.dataclass(frozen=True)
class Glyphs:
    """What bars and curves are drawn with."""

    done: str = "━"
    left: str = "─"
    curve: str = "▁▂▃▄▅▆▇█"
    dot: str = " · "


ASCII = Glyphs("=", "-", "_.-~=+*#", " | ")


class Scores:
    """The scores of episodes: the latest, the best, and the curve of all."""

    def __init__(self):
        self.latest: tuple[float, ...] = ()
        self.best = -math.inf
        self.count = 0
        self._buckets: list[tuple[float, int]] = []
        self._size = 1

    def add(self, score: float) -> None:
        self.latest = (*self.latest, score)[-EPISODES:]
        self.count += 1
        if not math.isfinite(score):
            return
        self.best = max(self.best, score)
        total, count = self._buckets[-1] if self._buckets else (0.0, self._size)
        if count < self._size:
            self._buckets[-1] = total + score, count + 1
        else:
            self._buckets.append((score, 1))
        if len(self._buckets) > BUCKETS:
            pairs = zip(self._buckets[::2], self._buckets[1::2], strict=False)
            last = self._buckets[-1:] if len(self._buckets) % 2 else []
            self._buckets = [(a + b, n + m) for (a, n), (b, m) in pairs] + last
            self._size *= 2

    @property
    def mean(self) -> float:
        """Of the latest ones."""
        return sum(self.latest) / len(self.latest)

    def curve(self, width: int, signs: str) -> str:
        """All of them as a line of that many signs at most, the lowest first."""
        buckets = list(self._buckets)
        count = min(width, len(buckets))
        ends = [number * len(buckets) // max(count, 1) for number in range(count + 1)]
        parts = [buckets[a:b] for a, b in itertools.pairwise(ends)]
        means = [sum(x for x, _ in part) / sum(n for _, n in part) for part in parts]
        low, high = min(means, default=0.0), max(means, default=0.0)
        scale = (len(signs) - 1) / (high - low) if high > low else 0.0
        return "".join(signs[round((x - low) * scale)] for x in means)


@dataclasses.dataclass(frozen=True)
class Picture:
    """What a board shows of a run at a moment.

    Args:
        run: What is known of the run.
        metrics: Newest values by name.
        scores: Of training episodes.
        others: Means of the latest episodes by name, such as `eval/episode/score`.
        step: Environment steps.
        elapsed: Seconds of training.
        left: Seconds until the run ends; None if nobody knows.
        share: How much of it is done, of 1; None if nobody knows.
        saved: Steps of the newest checkpoint, and how many seconds ago it was written.
        glyphs: What to draw with.
        chosen: Finds the losses to show.
        extra: Names of metrics that the user has asked for.
    """

    run: RunInfo
    metrics: Mapping[str, Scalar]
    scores: Scores
    others: Mapping[str, float]
    step: int
    elapsed: float
    left: float | None
    share: float | None
    saved: tuple[str, float] | None
    glyphs: Glyphs
    chosen: re.Pattern[str]
    extra: Sequence[str] = ()

    def rows(self, width: int) -> list[Text]:
        """The rows, none wider than that."""
        losses = loss_terms(self.metrics, self.chosen)
        labelled = {
            "speed": self._speed(),
            "time": self._time(),
            "loss": (_item(name, x, bold=False) for name, x in losses),
            "memory": self._memory(),
            "replay": self._replay(),
            "also": (_item(short_name(x), self.metrics[x], bold=False) for x in self.extra),
        }
        filled = {label: found for label, items in labelled.items() if (found := [*items])}
        return [
            _cut(self._title(), width),
            self._progress(width),
            self._score(width),
            *(_row(label, items, width) for label, items in filled.items()),
            *(_cut(Text(text, "bold yellow"), width) for text in self._warnings()),
        ]

    def _title(self) -> Text:
        task, *about = [printable(part) for part in self.run.title]
        return Text.assemble((task, "bold"), (self.glyphs.dot.join(["", *about]), "dim"))

    def _progress(self, width: int) -> Text:
        total = self.run.total_steps
        items = [Text(f"{self.step:,} of {total:,}" if total else f"{self.step:,}")]
        items[0].stylize("bold", 0, len(f"{self.step:,}"))
        if self.share is not None:
            by_time = not total or self.share > self.step / total + 0.005
            items.append(Text(f"{self.share:.0%}", "bold cyan"))
            items[-1].append(" of the time" * by_time, "dim")
        if self.left is not None:
            items.append(Text(f"{format_duration(self.left)} left"))
        if self.run.repeat > 1:
            items.append(Text(f"{format_number(self.step * self.run.repeat)} frames", "dim"))
        room = width - LABEL - sum(item.cell_len + 2 for item in items) - 1
        if self.share is not None and room >= 8:
            done = round(self.share * room)
            bar = Text.assemble(
                (self.glyphs.done * done, "cyan"), (self.glyphs.left * (room - done), "dim")
            )
            items.insert(0, bar)
        return _row("steps", items, width)

    def _score(self, width: int) -> Text:
        scores, total = self.scores, self.run.episodes + self.scores.count
        items = []
        if scores.latest:
            items = [Text(format_number(scores.mean), "bold green"), _item("best", scores.best)]
        if "episode/length" in self.others:
            items.append(_item("length", self.others["episode/length"], bold=False))
        if "eval/episode/score" in self.others:
            items.append(_item("eval", self.others["eval/episode/score"]))
        if not items:
            return _row("score", [Text("no episode has ended yet", "dim")], width)
        if total:
            items.append(Text(f"{total:,} episode{'s' * (total > 1)}", "dim"))
        room = width - LABEL - sum(item.cell_len + 2 for item in items) - 1
        if room >= 8 and scores.latest:
            items.append(Text(scores.curve(min(room, 40), self.glyphs.curve), "green"))
        return _row("score", items, width)

    def _speed(self) -> Iterator[Text]:
        yield _item("elapsed", format_duration(self.elapsed), bold=False)
        options = self.run.options or {}
        random = options.get("random_agent")
        for key, unit in (("fps/policy", "steps/s"), ("fps/update", "updates/s")):
            if key in self.metrics and not (random and key == "fps/update"):
                yield Text.assemble((format_number(self._number(key)), "bold"), (f" {unit}", "dim"))
        asked = options.get("run", {}).get("train_ratio")
        steps = self._number("fps/policy")
        if asked and steps and not random:
            made = format_number(self._number("fps/train") / steps)
            yield Text.assemble(("replay ratio ", "dim"), made, (f" of {asked:g}", "dim"))

    def _time(self) -> Iterator[Text]:
        shares = {
            key.removeprefix("time/"): float(x)
            for key, x in self.metrics.items()
            if key.startswith("time/") and isinstance(x, int | float)
        }
        for name, share in sorted(shares.items(), key=lambda pair: -pair[1]):
            yield _item(name, f"{share:.0%}", bold=share > 0.5)

    def _memory(self) -> Iterator[Text]:
        if "usage/rss_gb" in self.metrics:
            yield _item("process", _gigabytes(self._number("usage/rss_gb")), bold=False)
        if self._number("usage/workers_rss_gb") >= 0.05:
            yield _item("workers", _gigabytes(self._number("usage/workers_rss_gb")), bold=False)
        if "usage/device_gb" in self.metrics:
            used, limit = self._number("usage/device_gb"), self._number("usage/device_limit_gb")
            of = f" of {_gigabytes(limit)}" if limit else ""
            yield _item("device", _gigabytes(used) + of, bold=False)
        if "usage/ram_percent" in self.metrics:
            share = self._number("usage/ram_percent")
            yield _item("machine", f"{share:.0f}% of RAM used", bold=share >= MUCH_RAM)

    def _replay(self) -> Iterator[Text]:
        held, size = self._number("replay/steps"), self._number("replay/capacity")
        if size:
            yield Text.assemble(
                f"{held:,.0f}", (f" of {size:,.0f} steps", "dim"), f"  {held / size:.0%} full"
            )
        if self.saved:
            step, ago = self.saved
            yield Text.assemble(
                ("saved at ", "dim"), step, (f", {format_duration(ago)} ago", "dim")
            )

    def _warnings(self) -> Iterator[str]:
        if text := self.run.stopping():
            yield text
        if restarts := self._number("env/restarts"):
            yield f"{restarts:.0f} restart{'s' * (restarts > 1)} of environments after errors"

    def _number(self, key: str) -> float:
        value = self.metrics.get(key, 0.0)
        return float(value) if isinstance(value, int | float) else 0.0


def loss_terms(metrics: Mapping[str, Scalar], chosen: re.Pattern[str]) -> list[tuple[str, float]]:
    """The losses to show in their order; those of several observations as their sum."""
    found: dict[str, float] = {}
    for key, value in metrics.items():
        if key.startswith(LOSS) and key not in HIDDEN and chosen.search(key):
            name = key.removeprefix(LOSS)
            name = "rec" if name.startswith("rec/") else name
            found[name] = found.get(name, 0.0) + float(value)  # type: ignore[arg-type]
    return [(name, found.pop(name)) for name in LOSSES if name in found] + [*found.items()]


def _gigabytes(size: float) -> str:
    return f"{size:.1f} GB" if size < 100 else f"{size:.0f} GB"


def _item(name: str, value: Scalar, bold: bool = True) -> Text:
    text = printable(format_number(value))
    # A loss that is not a number is what everybody wants to see first.
    style = "bold red" if text in ("nan", "inf", "-inf") else "bold" if bold else ""
    return Text.assemble((f"{printable(name)} ", "dim"), (text, style))


def _row(label: str, items: Sequence[Text], width: int) -> Text:
    """A label and whole items, as many as fit; the first one is cut if need be."""
    row = Text(f"{label:{LABEL}}", "dim")
    for number, item in enumerate(items):
        gap = "  " if number else ""
        if number and row.cell_len + len(gap) + item.cell_len > width:
            break
        row = Text.assemble(row, gap, item)
    return _cut(row, width)


def _cut(row: Text, width: int) -> Text:
    row.truncate(width, overflow="crop")
    row.no_wrap = True
    return row

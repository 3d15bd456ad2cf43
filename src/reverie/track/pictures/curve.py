"""The learning curve of a run."""

import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reverie.track.encoding.names import plain, task_title
from reverie.track.pictures import style
from reverie.track.sinks.jsonl import SCORES, read_jsonl

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_DOTS = 5000
"""More episodes than this are thinned out before they are drawn as dots."""

BINS = 400
"""Resolution of the smoothed line along the step axis."""

FEW = 40
"""Lines through at most this many points show the points."""

AXES = {
    "steps": "environment steps",
    "frames": "frames (environment steps x action repeat)",
    "hours": "hours",
}
"""What scores are drawn over."""

SERIES = (
    ("episode/score", "this run", style.BLUE),
    ("eval/episode/score", "evaluation", style.ORANGE),
)


def learning_curve(
    logdir: str | pathlib.Path,
    *,
    output: str | pathlib.Path | None = None,
    title: str = "",
    smooth: float = 0.02,
) -> pathlib.Path:
    """Draws the scores of a run over environment steps.

    Every episode is a faint dot. The line is a mean over a Gaussian window along the step axis,
    and the band around it shows two standard errors of that mean. Evaluation
    episodes, logged with the prefix `eval`, get their own colour. Where a killed run was resumed
    from an earlier step, only what the resumed run did is drawn.

    Args:
        logdir: Run folder with `scores.jsonl`.
        output: Where to write; `scores.png` in the run folder by default.
        title: Task, put above the picture; the name of the run folder by default.
        smooth: Standard deviation of the window as a fraction of the steps drawn.

    Returns:
        The path of the png. A run without a finished episode gives a picture that says so.

    Raises:
        FileNotFoundError: There is no `scores.jsonl` in the folder.
        ValueError: `scores.jsonl` is damaged, or an argument is out of range.
    """
    if not 0 < smooth < 1:
        raise ValueError(f"Expected 0 < smooth < 1, got {smooth}.")
    logdir = pathlib.Path(logdir).expanduser()
    records = read_jsonl(logdir / SCORES)
    figure = style.new_figure(7.5, 4.5)
    axes = figure.subplots()
    style.clean(axes)
    last, episodes = 0.0, 0
    for key, name, color in SERIES:
        steps, scores, _ = latest(records, key)
        if len(steps):
            _draw_series(axes, steps, scores, name, color, smooth)
            last = max(last, steps[-1])
            episodes += len(steps)
    label(axes, task_title(title) or logdir.resolve().name, last)
    if not episodes:
        axes.set(xticks=[], yticks=[])
        where = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "no finished episode yet", color=style.MUTED, **where)
    return style.save(figure, output or logdir / "scores.png")


def _draw_series(
    axes: "Axes", steps: np.ndarray, scores: np.ndarray, name: str, color: str, smooth: float
) -> None:
    """Draws one kind of episodes [K]."""
    thin = slice(None, None, math.ceil(len(steps) / MAX_DOTS))
    fade = float(np.clip(30 / len(steps) ** 0.7, 0.12, 0.5))
    axes.scatter(steps[thin], scores[thin], s=9, color=color, alpha=fade, linewidths=0, zorder=2)
    x, mean, error = _smoothed(steps, scores, smooth)
    # Scores are often bounded, and a band beyond the best one would promise more than there is.
    low, high = (np.clip(mean + sign * error, scores.min(), scores.max()) for sign in (-2, 2))
    axes.fill_between(x, low, high, color=color, alpha=0.13, linewidth=0, zorder=3)
    marker = "o" if len(x) <= FEW else None
    name += f" ({len(steps):,} episode{'s' if len(steps) > 1 else ''})"
    axes.plot(x, mean, color=color, lw=2, marker=marker, ms=4.5, zorder=5, label=name)


def latest(records: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    """Steps, finite values and times [3, K], without what a resumed run went through once more."""
    rows = []
    bound = math.inf
    for record in reversed(records):
        step, value = _number(record.get("step")), _number(record.get(key))
        if key in record and step <= bound:
            bound = step
            if math.isfinite(value):
                rows.append((bound, value, _number(record.get("time"))))
    return np.array(rows[::-1], float).reshape(-1, 3).T


def _number(value: Any) -> float:
    """A number that can be drawn; NaN for anything else that a file may hold."""
    usable = isinstance(value, int | float) and abs(value) < 1e100
    return float(value) if usable else math.nan


def _smoothed(
    steps: np.ndarray, scores: np.ndarray, smooth: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps [K], and the mean and its standard error in a Gaussian window around each of them.

    Episodes are first collected in at most `BINS` bins of the step axis, so that a million of
    them cost no more than a few. Bins without an episode give no point, so that a straight line
    crosses the gap.
    """
    span = max(steps[-1] - steps[0], 1.0)
    index = np.floor((steps - steps[0]) / span * (BINS - 1)).astype(int)
    # Differences to the mean keep the variance exact when scores are large and close together.
    center = scores.mean()
    terms = [steps, *((scores - center) ** power for power in (0, 1, 2))]
    sums = np.array([np.bincount(index, term, BINS) for term in terms])
    position, count, total, squares = sums[:, sums[1] > 0]
    x = position / count
    with np.errstate(under="ignore"):
        weight = np.exp(-0.5 * ((x[:, None] - x) / (smooth * span)) ** 2)
    # With weights the mean counts as one of fewer episodes.
    alike = (weight @ count) ** 2 / (weight**2 @ count)
    count, total, squares = weight @ count, weight @ total, weight @ squares
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return x, mean + center, std / np.sqrt(alike)


def label(axes: "Axes", title: str, end: float, axis: str = "steps", *, large: bool = True) -> None:
    """Titles a plot of scores and names its axes.

    It ends at `end`, or anywhere if that is 0; a `large` one is alone in its picture.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator

    heading = {"fontsize": 12 if large else 10, "fontweight": "bold", "color": style.INK}
    axes.set_title(plain(title), loc="left", pad=10 if large else 8, **heading)
    axes.set_xlabel(AXES[axis], fontsize=10 if large else 8)
    if large:
        axes.set_ylabel("episode score", fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    if axis != "hours":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if end:
        axes.set_xlim(0, 1.02 * end)
    axes.margins(y=0.06)
    if axes.get_legend_handles_labels()[0]:
        # Behind it, dots would make the words hard to read.
        axes.legend(loc="best", fontsize=9 if large else 7, edgecolor="none", labelcolor=style.INK)

"""Draws curves of several runs as a picture."""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from reverie.track.encoding.names import plain
from reverie.track.pictures import style
from reverie.track.pictures.curve import label
from reverie.track.runs.compare import Axis, Comparison, Experiment
from reverie.track.runs.published import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = (
    style.BLUE,
    style.ORANGE,
    "#2a9d72",
    "#8a5cd1",
    "#c9447b",
    "#7a6a3a",
    "#2aa3b8",
    "#555f6b",
)
"""Of the experiments, in order; they begin again after the last."""


def draw_comparison(
    found: Sequence[Comparison], path: str | pathlib.Path, axis: Axis = "steps"
) -> pathlib.Path:
    """Draws one plot per task: seeds as thin lines, their middle as a thick one with interval."""
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    size = (7.5, 4.5) if len(found) == 1 else (4.0 * columns, 3.1 * rows)
    figure = style.new_figure(*size)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(found) :]:
        axes.set_visible(False)
    for axes, comparison in zip(grid, found, strict=False):
        _draw(axes, comparison, axis, large=len(found) == 1)
    return style.save(figure, path)


def label_of(experiment: Experiment) -> str:
    """What a curve is called in a legend."""
    count = len(experiment.seeds)
    many = f"{count} seed{'s' if count > 1 else ''}"
    return f"{experiment.label}, {many}" if experiment.label else f"Reverie, {many}"


def _draw(axes: "Axes", comparison: Comparison, axis: Axis, *, large: bool) -> None:
    style.clean(axes, fontsize=9 if large else 8)
    end = max(x.middle[0, -1] for x in comparison.experiments)
    if comparison.baseline is not None:
        _draw_baseline(axes, comparison.baseline, end)
    for index, experiment in enumerate(comparison.experiments):
        color = COLORS[index % len(COLORS)]
        several = len(experiment.seeds) > 1
        for points in experiment.seeds.values() if several else ():
            axes.plot(*points, color=color, lw=0.7, alpha=0.35)
        steps, mean, low, high = experiment.middle
        if several:
            axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
        axes.plot(steps, mean, color=color, lw=2.2, label=plain(label_of(experiment)), zorder=5)
    label(axes, comparison.title, end, axis, large=large)


def _draw_baseline(axes: "Axes", curve: Curve, end: float) -> None:
    # One point past the end, so that the line reaches the edge of the picture.
    shown = slice(0, int(np.searchsorted(curve.steps, end)) + 1)
    steps, low, high = curve.steps[shown], curve.low[shown], curve.high[shown]
    axes.fill_between(steps, low, high, color=style.GREY, alpha=0.17, linewidth=0, zorder=1)
    dashed = {"color": style.INK, "linewidth": 1.4, "linestyle": (0, (4, 2))}
    axes.plot(steps, curve.score[shown], zorder=4, label=plain(curve.label), **dashed)

"""The look of all pictures: colours, sizes, grids. Loads matplotlib only when something is drawn.

Figures are made with matplotlib's object-oriented interface: no window, no global state, so drawing
works on a server and inside another program that uses matplotlib.
"""

import functools
import pathlib
from typing import TYPE_CHECKING, Any

from reverie.disk import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2933"
"""Titles and true values."""
MUTED = "#66727f"
"""Axis labels and ticks."""
GRID = "#e4e8ec"
BLUE = "#2f6fde"
"""What this run did."""
ORANGE = "#e0792b"
"""Something to tell apart from it: predictions, evaluation."""
GREY = "#9aa5b1"
"""What others did."""

DPI = 160


def new_figure(width: float, height: float) -> "Figure":
    """Makes an empty figure of a size in inches, ready to be saved as png."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")


def new_grid(
    rows: int, columns: int, cell: tuple[float, float], gap: tuple[float, float], **shared: Any
) -> tuple["Figure", Any]:
    """Makes a figure with plots [rows, columns], which has room for a title and a legend.

    Every place is fixed: a constrained layout measures all texts, which takes as long as drawing
    them, and a run waits for its reports.

    Args:
        cell: Width and height of a plot in inches.
        gap: Between two plots, for what stands between them.
        **shared: `sharex` and `sharey` of `Figure.subplots`.
    """
    from matplotlib.figure import Figure

    left, right, top, bottom = 0.9, 0.15, 0.62, 0.82
    width = left + columns * cell[0] + (columns - 1) * gap[0] + right
    height = bottom + rows * cell[1] + (rows - 1) * gap[1] + top
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.subplots_adjust(
        left / width,
        bottom / height,
        1 - right / width,
        1 - top / height,
        gap[0] / cell[0],
        gap[1] / cell[1],
    )
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def clean(axes: "Axes", fontsize: float = 9) -> None:
    """Gives axes a light grid behind the data and removes the box around it."""
    axes.set_axisbelow(True)
    axes.grid(True, color=GRID, linewidth=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(colors=MUTED, labelsize=fontsize, length=3, color=GREY)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)


def save(figure: "Figure", path: str | pathlib.Path) -> pathlib.Path:
    """Writes a png, at once or not at all, and makes its folder if needed."""
    path = pathlib.Path(path).expanduser()
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")
    return path


@functools.cache
def font(size: int) -> Any:
    """A font for texts in frames of videos."""
    from PIL import ImageFont

    return ImageFont.load_default(size)

"""Open-loop predictions: what the world model expects, against what happened."""

import pathlib
from typing import TYPE_CHECKING

import numpy as np

from reverie.track import style
from reverie.track.names import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


GREEN, RED = (0, 255, 0), (255, 0, 0)
BORDER = 2
PAUSE = 10
"""Black frames that separate the repetitions of a looping video."""

MOST_SEQUENCES, MOST_DIMENSIONS = 3, 8
"""What one picture of curves shows."""


def openloop_video(true: np.ndarray, pred: np.ndarray, observed: int) -> np.ndarray:
    """Truth, prediction and error map above one another, sequences side by side.

    The frame is green while the model observes and red while it imagines. Gray images are shown
    in three channels; of other images the first three channels are shown.

    Args:
        true: Images [B, T, H, W, C] in uint8 that the environment gave.
        pred: Those of the model.
        observed: Number of steps that the model sees.

    Returns:
        uint8 video of T steps and up to `PAUSE` black frames.
    """
    error = (pred.astype(np.int32) - true + 255) // 2
    frames = np.concatenate([true, pred, error.astype(np.uint8)], 2)
    frames = frames[..., :3] if frames.shape[-1] >= 3 else frames[..., :1].repeat(3, -1)
    b, t, h, w, c = frames.shape
    framed = np.zeros((b, t + min(t, PAUSE), h + 2 * BORDER, w + 2 * BORDER, c), np.uint8)
    framed[:, :observed], framed[:, observed:t] = GREEN, RED
    framed[:, :t, BORDER:-BORDER, BORDER:-BORDER] = frames
    return framed.transpose(1, 2, 0, 3, 4).reshape(framed.shape[1], framed.shape[2], -1, c)


def openloop_plot(
    true: np.ndarray,
    pred: np.ndarray,
    observed: int,
    path: str | pathlib.Path,
    *,
    title: str = "Open-loop prediction",
) -> pathlib.Path:
    """Draws true against predicted values, one row per dimension, one column per sequence.

    The first `MOST_SEQUENCES` and the `MOST_DIMENSIONS` that vary most are drawn, since constant
    ones show nothing.

    The model sees the first `observed` steps, where its values are reconstructions; from the
    vertical line on it is given the actions only and predicts everything else.

    Args:
        true: Values [B, T, D] that the environment gave.
        pred: Values [B, T, D] of the model.
        observed: Number of steps that the model sees, between 0 and T.
        path: Where to write the png; its folder is created.
        title: Put above the picture.

    Returns:
        The path.

    Raises:
        ValueError: Shapes and `observed` do not fit together.
    """
    true, pred = np.asarray(true, np.float64), np.asarray(pred, np.float64)
    _check(true, pred, observed)
    batch, _, dims = true.shape
    columns = min(batch, MOST_SEQUENCES)
    shown = _most_varied(true, MOST_DIMENSIONS)
    figure = style.new_figure(max(5.5, 0.6 + 3.1 * columns), 1.15 + 1.15 * len(shown))
    grid = figure.subplots(len(shown), columns, sharex=True, sharey="row", squeeze=False)
    for row, dim in enumerate(shown):
        for column in range(columns):
            axes = grid[row, column]
            _draw(axes, true[column, :, dim], pred[column, :, dim], observed)
        _scale(grid[row, 0], true[:columns, :, dim], pred[:columns, :, dim])
        grid[row, 0].set_ylabel(f"dimension {dim}", fontsize=9)
    for column in range(columns):
        grid[-1, column].set_xlabel("environment step", fontsize=9)
        if columns > 1:
            grid[0, column].set_title(f"sequence {column + 1}", fontsize=9, color=style.MUTED)
    part = f" ({len(shown)} of {dims} dimensions)" if len(shown) < dims else ""
    _head(figure, grid[0, 0], plain(title) + part)
    return style.save(figure, path)


def _check(true: np.ndarray, pred: np.ndarray, observed: int) -> None:
    if true.ndim != 3 or 0 in true.shape or true.shape != pred.shape:
        raise ValueError(
            "Expected true and predicted values of one shape [B, T, D] with at least one entry, "
            f"got {true.shape} and {pred.shape}. Reshape other values to [B, T, D] first."
        )
    if not 0 <= observed <= true.shape[1]:
        raise ValueError(f"observed={observed} is not between 0 and the {true.shape[1]} steps.")


def _most_varied(true: np.ndarray, limit: int) -> list[int]:
    """Indices of at most `limit` dimensions, in their own order; missing values do not count."""
    spread = np.ma.masked_invalid(true).std(axis=(0, 1)).filled(0.0)
    return sorted(int(i) for i in np.argsort(-spread, kind="stable")[:limit])


def _draw(axes: "Axes", true: np.ndarray, pred: np.ndarray, observed: int) -> None:
    from matplotlib.ticker import MaxNLocator

    style.clean(axes, fontsize=8)
    steps = np.arange(len(true))
    # Halfway between the last step that was seen and the first that was not.
    edge = observed - 0.5
    axes.set_xlim(-0.5, len(true) - 0.5)
    axes.axvspan(-0.5, edge, color=style.GREY, alpha=0.12, linewidth=0)
    axes.axvline(edge, color=style.MUTED, linewidth=1, linestyle=(0, (3, 2)))
    # A wide line below thin ones shows both where they agree.
    axes.plot(steps, true, color=style.INK, linewidth=2.8, label="true")
    seen, rest = slice(0, observed), slice(max(0, observed - 1), None)
    axes.plot(steps[seen], pred[seen], color=style.BLUE, linewidth=1.4, label="reconstructed")
    # Starting at the last observed step joins the two lines.
    label = "predicted open-loop"
    axes.plot(steps[rest], pred[rest], color=style.ORANGE, linewidth=1.4, label=label)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))


def _scale(axes: "Axes", true: np.ndarray, pred: np.ndarray) -> None:
    """Shows all true values, and predictions up to a distance: one that explodes hides nothing."""
    true, pred = true[np.isfinite(true)], pred[np.isfinite(pred)]
    if not true.size:
        return
    low, high = float(true.min()), float(true.max())
    room = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-6)
    if pred.size:
        low = max(min(low, float(pred.min())), low - room)
        high = min(max(high, float(pred.max())), high + room)
    pad = 0.08 * max(high - low, room)
    axes.set_ylim(low - pad, high + pad)


def _head(figure: "Figure", axes: "Axes", title: str) -> None:
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=style.INK)
    handles, labels = axes.get_legend_handles_labels()
    below = {"loc": "outside lower center", "ncols": 3, "frameon": False}
    figure.legend(handles, labels, fontsize=9, labelcolor=style.INK, **below)

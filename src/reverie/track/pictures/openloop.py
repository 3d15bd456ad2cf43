"""Open-loop predictions: what the world model expects, against what happened."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reverie.track.encoding.names import plain
from reverie.track.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


SEEN, IMAGINED = "#1fa34a", "#d8383a"
"""Frames of images while the model observes, and while it imagines."""

BORDER, GAP, HEAD, LABELS = 3, 4, 30, 58
"""Pixels of the frame, between images, of the line of text above and of the names beside them."""

LEAST = 112
"""Smaller images are enlarged, by whole numbers."""

HOLD = 10
"""How often the last frame is repeated, as a pause before a looping video begins again."""

MOST_SEQUENCES, MOST_DIMENSIONS = 3, 8
"""What one picture of curves shows."""

FAR = 3.0
"""Predictions are shown up to so many ranges of the truth away from it."""


def openloop_video(
    true: np.ndarray | None, pred: np.ndarray, observed: int, title: str = ""
) -> np.ndarray:
    """Truth, prediction and error map above one another, sequences side by side.

    The frame is green while the model observes and red while it imagines. Gray images are shown
    in three channels; of other images the first three channels are shown.

    Args:
        true: Images [B, T, H, W, C] in uint8 that the environment gave; None where there are none.
        pred: Those of the model.
        observed: Number of steps that the model sees.
        title: Put above the picture.

    Returns:
        uint8 video of T steps, the last of which is repeated up to `HOLD` times.
    """
    rows = {"model": pred}
    if true is not None:
        error = (pred.astype(np.int32) - true + 255) // 2
        rows = {"truth": true, "model": pred, "error": error.astype(np.uint8)}
    images = np.stack(list(rows.values()), 1)  # [B, rows, T, H, W, C]
    images = images[..., :3] if images.shape[-1] >= 3 else images[..., :1].repeat(3, -1)
    factor = -(-LEAST // min(images.shape[3:5]))
    images = images.repeat(factor, 3).repeat(factor, 4)
    length = images.shape[2]
    frames = [
        _video_frame(images[:, :, step], list(rows), step, observed, title)
        for step in range(length)
    ]
    return np.stack(frames + frames[-1:] * min(length, HOLD))


def _video_frame(
    images: np.ndarray, rows: list[str], step: int, observed: int, title: str
) -> np.ndarray:
    """One frame: images [B, rows, H, W, 3] with their names, and what they are."""
    from PIL import Image, ImageDraw, ImageOps

    seen, length = step < observed, images.shape[2]
    color = SEEN if seen else IMAGINED
    height, width = length + 2 * BORDER, images.shape[3] + 2 * BORDER
    size = (
        LABELS + len(images) * (width + GAP),
        HEAD + images.shape[1] * (height + GAP),
    )
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for row, name in enumerate(rows):
        top = HEAD + row * (height + GAP)
        middle = (8, top + height // 2)
        draw.text(middle, name, style.INK, style.font(14), anchor="lm")
        for column, sequence in enumerate(images):
            left = LABELS + column * (width + GAP)
            framed = ImageOps.expand(Image.fromarray(sequence[row]), BORDER, color)
            canvas.paste(framed, (left, top))
    what = f"seen, step {step + 1}" if seen else f"imagined, {step + 1 - observed} ahead"
    draw.text((8, HEAD // 2), what, color, style.font(15), anchor="lm")
    room = size[0] - 24 - style.font(15).getlength(what)
    if title and style.font(14).getlength(title) < room:
        draw.text((size[0] - 8, HEAD // 2), title, style.MUTED, style.font(14), anchor="rm")
    return np.asarray(canvas)


def openloop_plot(
    true: np.ndarray,
    pred: np.ndarray,
    observed: int,
    path: str | pathlib.Path,
    *,
    title: str = "Open-loop prediction",
    names: Sequence[str] = (),
) -> pathlib.Path:
    """Draws true against predicted values, one row per dimension, one column per sequence.

    The first `MOST_SEQUENCES` and the `MOST_DIMENSIONS` that vary most are drawn, since constant
    ones show nothing. Numbers that are whole and few, such as bits, are drawn as steps.

    The model sees the first `observed` steps, where its values are reconstructions; from the
    vertical line on it is given the actions only and predicts everything else.

    Args:
        true: Values [B, T, D] that the environment gave; NaN where there are none.
        pred: Values [B, T, D] of the model.
        observed: Number of steps that the model sees, between 0 and T.
        path: Where to write the png; its folder is created.
        title: Put above the picture.
        names: Of the dimensions; without them they are numbered.

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
        both = true[:columns, :, dim], pred[:columns, :, dim]
        low, high = _limits(*both)
        steps = _is_discrete(true[..., dim])
        for column in range(columns):
            _draw(grid[row, column], both[0][column], both[1][column], observed, steps)
            _mark_leaving(grid[row, column], both[1][column], observed, low, high)
        grid[row, 0].set_ylim(low, high)
        name = plain(names[dim]) if names else f"dimension {dim}"
        grid[row, 0].set_ylabel(name, fontsize=9)
    for column in range(columns):
        grid[-1, column].set_xlabel("environment step", fontsize=9)
        if columns > 1:
            grid[0, column].set_title(f"sequence {column + 1}", fontsize=9, color=style.MUTED)
    part = f" ({len(shown)} of {dims} dimensions)" if len(shown) < dims else ""
    _head(figure, grid[0, 0], plain(title) + part)
    return style.save(figure, path)


def horizon_plot(
    errors: Mapping[str, Mapping[int, tuple[float, float]]],
    path: str | pathlib.Path,
    *,
    title: str = "Error by steps ahead",
) -> pathlib.Path:
    """Draws how errors grow with the steps that are predicted, one plot per key.

    Args:
        errors: By key and steps ahead: those of the model, and of repeating the last value, in
            variances of the truth. At most `MOST_DIMENSIONS` keys are drawn.
        path: Where to write the png; its folder is created.
        title: Put above the picture.
    """
    shown = list(errors.items())[:MOST_DIMENSIONS]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = style.new_figure(max(5.5, 2.7 * columns), 0.9 + 2.2 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel()[len(shown) :]:
        axes.set_visible(False)
    for axes, (key, found) in zip(grid.ravel(), shown, strict=False):
        style.clean(axes, fontsize=8)
        steps = sorted(found)
        model, last = np.array([found[x] for x in steps]).T
        axes.axhline(1, color=style.MUTED, lw=1, ls=(0, (3, 2)), label="predicting the mean")
        axes.plot(steps, last, color=style.GREY, lw=1.6, marker="o", ms=3, label="last value again")
        axes.plot(steps, model, color=style.ORANGE, lw=2, marker="o", ms=3.5, label="model")
        axes.set_ylim(0, 1.1 * max(1.0, min(3.0, np.nanmax([*model, *last]))))
        axes.set_xscale("log", base=2)
        axes.set_xticks(steps, [str(x) for x in steps])
        axes.set_title(plain(key), fontsize=9, color=style.MUTED)
    for axes in grid[-1]:
        axes.set_xlabel("steps ahead", fontsize=9)
    grid[0, 0].set_ylabel("error / variance", fontsize=9)
    _head(figure, grid[0, 0], plain(title))
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


def _is_discrete(values: np.ndarray) -> bool:
    """Whether values are whole numbers, and few of them."""
    values = values[np.isfinite(values)]
    return bool((values == np.round(values)).all() and len(np.unique(values)) <= 16)


def _draw(axes: "Axes", true: np.ndarray, pred: np.ndarray, observed: int, discrete: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    style.clean(axes, fontsize=8)
    steps = np.arange(len(true))
    # Halfway between the last step that was seen and the first that was not.
    edge = observed - 0.5
    axes.set_xlim(-0.5, len(true) - 0.5)
    axes.axvspan(-0.5, edge, color=style.GREY, alpha=0.12, linewidth=0)
    axes.axvline(edge, color=style.MUTED, linewidth=1, linestyle=(0, (3, 2)))
    how: dict[str, Any] = {"drawstyle": "steps-mid" if discrete else "default"}
    # A wide line below thin ones shows both where they agree.
    axes.plot(steps, true, color=style.INK, linewidth=2.8, label="true", **how)
    seen, rest = slice(0, observed), slice(max(0, observed - 1), None)
    how["linewidth"] = 1.5
    axes.plot(steps[seen], pred[seen], color=style.BLUE, label="reconstructed", **how)
    # Starting at the last observed step joins the two lines.
    label = "predicted open-loop"
    axes.plot(steps[rest], pred[rest], color=style.ORANGE, label=label, **how)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))


def _limits(true: np.ndarray, pred: np.ndarray) -> tuple[float, float]:
    """What the axis shows: all true values, and predictions unless they are far from them."""
    true, pred = true[np.isfinite(true)], pred[np.isfinite(pred)]
    if not true.size:
        true = np.clip(pred, -1e30, 1e30) if pred.size else np.zeros(1)
    low, high = float(true.min()), float(true.max())
    room = (high - low) or max(0.1 * abs(low), 0.1)
    if pred.size:
        low = max(min(low, float(pred.min())), low - FAR * room)
        high = min(max(high, float(pred.max())), high + FAR * room)
    pad = 0.08 * max(high - low, room)
    return low - pad, high + pad


def _mark_leaving(axes: "Axes", pred: np.ndarray, observed: int, low: float, high: float) -> None:
    """Arrows at the edge where predictions are beyond it."""
    steps = np.arange(len(pred))
    pad = 0.05 * (high - low)
    for beyond, edge, marker in ((pred > high, high - pad, "^"), (pred < low, low + pad, "v")):
        for part, color in ((steps < observed, style.BLUE), (steps >= observed, style.ORANGE)):
            at = steps[beyond & part]
            axes.scatter(
                at, np.full(len(at), edge), s=14, marker=marker, color=color, linewidths=0, zorder=6
            )


def _head(figure: "Figure", axes: "Axes", title: str) -> None:
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=style.INK)
    handles, labels = axes.get_legend_handles_labels()
    below = {"loc": "outside lower center", "ncols": 3, "frameon": False}
    figure.legend(handles, labels, fontsize=9, labelcolor=style.INK, **below)

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
    columns, shown = min(batch, MOST_SEQUENCES), _most_varied(true, MOST_DIMENSIONS)
    # The sequences stand side by side in one plot, because every plot takes a report its time.
    cell = max(4.5, 2.9 * columns), 1.0
    figure, grid = style.new_grid(len(shown), 1, cell, (0.0, 0.15), sharex=True)
    for axes, dim in zip(grid[:, 0], shown, strict=True):
        both = true[:columns, :, dim], pred[:columns, :, dim]
        low, high = _limits(*both)
        axes.set_ylim(low, high)
        _draw(axes, *both, observed, _is_discrete(true[..., dim]))
        _mark_leaving(axes, both[1], observed, low, high)
        axes.set_ylabel(plain(names[dim]) if names else f"dimension {dim}", fontsize=9)
        axes.yaxis.set_label_coords(-0.7 / cell[0], 0.5)
    _name_steps(grid[0, 0], grid[-1, 0], columns, true.shape[1])
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
    cell = 4.5 if columns == 1 else 2.3, 1.6
    figure, grid = style.new_grid(rows, columns, cell, (0.45, 0.5))
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


def _places(columns: int, length: int) -> np.ndarray:
    """Where the steps of sequences that stand side by side are drawn, [columns, length]."""
    return np.arange(columns)[:, None] * (length + max(1, length // 12)) + np.arange(length)


def _draw(axes: "Axes", true: np.ndarray, pred: np.ndarray, observed: int, discrete: bool) -> None:
    """Draws one dimension of some sequences [columns, T]."""
    from matplotlib.ticker import MaxNLocator

    style.clean(axes, fontsize=8)
    columns, length = true.shape
    places = _places(columns, length)
    axes.set_xlim(-0.5, places[-1, -1] + 0.5)
    # Halfway between the last step that was seen and the first that was not.
    for first, last, after in zip(places[:, 0], places[:, -1], [*places[1:, 0], 0], strict=True):
        edge = first + observed - 0.5
        axes.axvspan(first - 0.5, edge, color=style.GREY, alpha=0.12, linewidth=0)
        axes.axvline(edge, color=style.MUTED, linewidth=1, linestyle=(0, (3, 2)))
        if after:  # No grid between two sequences.
            axes.axvspan(last + 0.5, after - 0.5, color="white", linewidth=0, zorder=0.9)
    # A wide line below thin ones shows both where they agree.
    line = _line(places, true, discrete)
    axes.plot(*line, color=style.INK, linewidth=2.8, label="true")
    line = _line(places[:, :observed], pred[:, :observed], discrete)
    axes.plot(*line, color=style.BLUE, linewidth=1.5, label="reconstructed")
    # Starting at the last observed step joins the two lines; steps meet at its end.
    rest = slice(observed if discrete else max(0, observed - 1), None)
    line = _line(places[:, rest], pred[:, rest], discrete)
    axes.plot(*line, color=style.ORANGE, linewidth=1.5, label="predicted open-loop")
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.6g}")


def _line(places: np.ndarray, values: np.ndarray, discrete: bool) -> tuple[np.ndarray, np.ndarray]:
    """Lines [columns, T] as one with interruptions; of discrete values each is a step."""
    if discrete:
        places = (places[..., None] + (-0.5, 0.5)).reshape(len(places), -1)
        values = values.repeat(2, 1)
    breaks = np.full((len(places), 1), np.nan)
    x, y = (np.concatenate([each, breaks], 1).ravel() for each in (places, values))
    return x, y


def _name_steps(top: "Axes", bottom: "Axes", columns: int, length: int) -> None:
    """Writes the steps of each sequence below the plots, and its number above them."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]).tick_values(0, length - 1)
    ticks = np.array([x for x in ticks if 0 <= x < length])
    places = _places(columns, length)
    bottom.set_xticks((places[:, :1] + ticks).ravel(), [f"{x:.0f}" for x in ticks] * columns)
    bottom.set_xlabel("environment step", fontsize=9)
    for column, middle in enumerate(places.mean(1) if columns > 1 else []):
        how: dict[str, Any] = {"ha": "center", "fontsize": 9, "color": style.MUTED}
        top.text(middle, 1.06, f"sequence {column + 1}", transform=top.get_xaxis_transform(), **how)


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
    places, steps = _places(*pred.shape), np.arange(pred.shape[1])
    pad = 0.05 * (high - low)
    for beyond, edge, marker in ((pred > high, high - pad, "^"), (pred < low, low + pad, "v")):
        for part, color in ((steps < observed, style.BLUE), (steps >= observed, style.ORANGE)):
            at = places[beyond & part]
            if len(at):
                how: dict[str, Any] = {"s": 14, "marker": marker, "color": color, "zorder": 6}
                axes.scatter(at, np.full(len(at), edge), linewidths=0, **how)


def _head(figure: "Figure", axes: "Axes", title: str) -> None:
    how: dict[str, Any] = {"ha": "left", "va": "top", "fontsize": 12, "fontweight": "bold"}
    height = figure.get_figheight()
    figure.suptitle(title, x=0.012, y=1 - 0.1 / height, color=style.INK, **how)
    handles, labels = axes.get_legend_handles_labels()
    below = {"loc": "lower center", "ncols": 3, "frameon": False}
    figure.legend(handles, labels, fontsize=9, labelcolor=style.INK, **below)

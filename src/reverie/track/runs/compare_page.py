"""Curves of several runs as one HTML page that needs nothing else."""

import html
import importlib.resources
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from reverie.disk import whole_file
from reverie.track.pictures.curve import AXES
from reverie.track.runs.compare import Axis, Comparison
from reverie.track.runs.compare_picture import COLORS, label_of


def write_page(
    found: Sequence[Comparison], path: str | pathlib.Path, axis: Axis = "steps"
) -> pathlib.Path:
    """Writes a page with a plot per task: values under the pointer, curves switched on and off."""
    path = pathlib.Path(path).expanduser()
    root = importlib.resources.files("reverie")
    vendor = root / "view" / "static" / "vendor"
    content = {"axis": AXES[axis], "plots": [_plot(each) for each in found]}
    # In a script only its own end would end the data.
    data = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    parts = {
        "TITLE": html.escape(", ".join(each.title for each in found)),
        "LICENCE": (vendor / "uPlot.LICENSE").read_text("utf-8").replace("*/", ""),
        "CHART_STYLE": (vendor / "uPlot.min.css").read_text("utf-8"),
        "CHART": (vendor / "uPlot.iife.min.js").read_text("utf-8"),
        "DATA": data,
    }
    page = (root / "track" / "data" / "compare.html").read_text("utf-8")
    for name, text in parts.items():
        page = page.replace(f"@{name}@", text)
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def _plot(found: Comparison) -> dict[str, Any]:
    """Title, curves and their values over common points, as the page takes them."""
    curves: list[dict[str, Any]] = []
    points: list[np.ndarray] = []

    def add(at: np.ndarray, values: np.ndarray, **about: Any) -> None:
        points.append(np.array([at, values]))
        curves.append(about)

    for index, experiment in enumerate(found.experiments):
        of = {"color": COLORS[index % len(COLORS)], "group": index, "label": label_of(experiment)}
        steps, mean, low, high = experiment.middle
        add(steps, mean, kind="middle", **of)
        if len(experiment.seeds) > 1:
            add(steps, low, kind="low", **of)
            add(steps, high, kind="high", **of)
            for name, each in experiment.seeds.items():
                add(*each, kind="seed", **{**of, "label": name})
    if (other := found.baseline) is not None:
        end = max(x.middle[0, -1] for x in found.experiments)
        near = slice(0, int(np.searchsorted(other.steps, end)) + 1)
        of = {"color": "#7d8894", "group": len(found.experiments), "label": other.label}
        add(other.steps[near], other.score[near], kind="other", **of)
        add(other.steps[near], other.low[near], kind="low", **of)
        add(other.steps[near], other.high[near], kind="high", **of)
    # Rounded as they are written, so that points of one place stay one.
    axis = np.unique(np.concatenate([[float(f"{x:.6g}") for x in at] for at, _ in points]))
    rows = [axis.tolist()]
    for at, values in points:
        by = {float(f"{x:.6g}"): y for x, y in zip(at, values, strict=True)}
        rows.append([_number(by.get(x)) for x in axis])
    return {"title": found.title, "curves": curves, "rows": rows}


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.5g}")

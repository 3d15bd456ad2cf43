"""Plots the scores of runs: of one, or of several beside each other."""

import os
import pathlib
import sys
from collections.abc import Sequence

from reverie.run.saved.folder import open_run
from reverie.track.pictures.curve import learning_curve
from reverie.track.runs.compare import NothingToPlot, compare, read_runs
from reverie.track.runs.compare_page import write_page
from reverie.track.runs.compare_picture import draw_comparison
from reverie.track.runs.status import find_runs, is_run


def plot_one(folder: str, output: str = "") -> list[pathlib.Path]:
    """Draws the learning curve of a run.

    Args:
        folder: Run folder.
        output: Where to write; `scores.png` in the run folder by default.

    Returns:
        The picture; nothing if the folder is no run but has some in it.

    Raises:
        ConfigError: If there is no run in the folder.
        NothingToPlot: If it has no scores.
    """
    root = pathlib.Path(folder).expanduser()
    if not is_run(root) and os.path.isdir(root) and next(find_runs(root), None):
        return []
    run, config, _ = open_run(folder)
    try:
        return [learning_curve(run.root, output=output or None, title=config.task)]
    except FileNotFoundError as error:
        raise NothingToPlot(f"There is nothing to draw: {error.filename} does not exist.") from None


def plot_runs(
    folders: Sequence[str], output: str = "", axis: str = "steps", baseline: str = ""
) -> list[pathlib.Path]:
    """Draws the curves of several runs, those that differ in their seeds alone as one.

    Args:
        folders: Run folders, or folders of them.
        output: Where to write, as `.png` or `.html`; by default both, as `curves` in the folder, or
            in the current one where there are several.
        axis: What the curves are over, `steps`, `frames` or `hours`.
        baseline: Whose curves to put beside them: `published`, `original`, or nobody's.

    Raises:
        NothingToPlot: If no run has a finished episode, or a word is none that is known.
    """
    if axis not in ("steps", "frames", "hours"):
        raise NothingToPlot(f"--x is {axis}; expected steps, frames or hours.")
    if baseline not in ("", "published", "original"):
        raise NothingToPlot(f"--baseline is {baseline}; expected published or original.")
    if output and pathlib.Path(output).suffix not in (".png", ".html"):
        raise NothingToPlot(f"--output is {output}; expected a name that ends in .png or .html.")
    runs, notes = read_runs([pathlib.Path(folder) for folder in folders])
    found, more = compare(runs, axis, baseline)
    for note in (*notes, *more):
        print(note, file=sys.stderr)
    place = pathlib.Path(folders[0]).expanduser() if len(folders) == 1 else pathlib.Path()
    names = [output] if output else [place / "curves.png", place / "curves.html"]
    paths = [pathlib.Path(name).expanduser() for name in names]
    draw = {".png": draw_comparison, ".html": write_page}
    return [draw[path.suffix](found, path, axis) for path in paths]

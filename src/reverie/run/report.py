"""Open-loop reports: numbers and videos to the logger, curves of vectors to files."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from reverie.learner.learner import Learner
from reverie.replay.batches import Batches
from reverie.track.logger import Logger
from reverie.track.names import file_name
from reverie.track.openloop import openloop_plot, openloop_video

_PLOT, _TRUE, _PRED = "openloop/", "/true", "/pred"


def report(
    learner: Learner,
    stream: Batches,
    logger: Logger,
    folder: pathlib.Path,
    batches: int = 1,
    prefix: str = "report",
) -> list[pathlib.Path]:
    """Predicts replayed sequences open-loop and shows the result.

    Args:
        learner: Makes the predictions.
        stream: Delivers sequences whose first half is observed and whose second half is imagined.
        logger: Receives the numbers, of which it takes the means over the batches, and the videos
            and open-loop errors of the last one.
        folder: Receives one plot per vector key of the last batch, which replaces an older one.
        batches: Number of batches, at least 1.
        prefix: Names what is logged, and so where the batches come from.

    Returns:
        The plots.
    """
    results: dict[str, np.ndarray] = {}
    for _ in range(batches):
        results = learner.report(stream.next().batch, prefix)
        logger.add({k: v for k, v in results.items() if np.ndim(v) == 0}, prefix=prefix)
    videos = {
        name: openloop_video(true, pred, true.shape[1] // 2)
        for name, true, pred in _pairs(results, ndim=5)
    }
    logger.add({**videos, **errors(results)}, prefix=prefix)
    try:
        return plot_vectors(results, folder)
    except Exception as error:  # Training is worth more.
        logger.note(
            "A picture could not be drawn, and training goes on without it: "
            f"{type(error).__name__}: {error}"
        )
        return []


def plot_vectors(results: Mapping[str, Any], folder: pathlib.Path) -> list[pathlib.Path]:
    """Draws every pair `<name>/true`, `<name>/pred` of arrays [B, T, D] in a report.

    Args:
        results: A report of the agent.
        folder: Receives `openloop/<name>.png`.

    Returns:
        The files.
    """
    return [
        openloop_plot(
            true,
            pred,
            true.shape[1] // 2,
            folder / "openloop" / f"{file_name(name.removeprefix(_PLOT))}.png",
            title=name.removeprefix(_PLOT),
        )
        for name, true, pred in _pairs(results, ndim=3)
    ]


def errors(results: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Distances [N] between what happened and what was predicted open-loop, by `<name>/error`."""
    return {
        f"{name}/error": np.abs(pred - true)[:, true.shape[1] // 2 :].ravel()
        for name, true, pred in _pairs(results, ndim=3)
    }


def _pairs(results: Mapping[str, Any], ndim: int) -> Iterator[tuple[str, Any, Any]]:
    """Names, what happened and what was predicted: vectors [B, T, D], or images [B, T, H, W, C]."""
    for key in sorted(results):
        if key.endswith(_TRUE) and results[key].ndim == ndim:
            name = key.removesuffix(_TRUE)
            yield name, results[key], results[name + _PRED]

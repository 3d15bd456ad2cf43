"""Reports: numbers and videos to the logger, curves to files."""

import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from reverie.agent.predictions.preview import SAYS
from reverie.learner.learner import Learner
from reverie.replay.batches import Batches
from reverie.track.encoding.names import file_name
from reverie.track.logger import Logger
from reverie.track.pictures.openloop import horizon_plot, openloop_plot, openloop_video

_PLOT, _TRUE, _PRED = "openloop/", "/true", "/pred"

Results = Mapping[str, Any]


def report(
    learner: Learner,
    stream: Batches,
    logger: Logger,
    folder: pathlib.Path,
    batches: int = 1,
    prefix: str = "report",
    step: int = 0,
) -> list[pathlib.Path]:
    """Predicts replayed sequences open-loop and shows the result.

    Args:
        learner: Makes the predictions.
        stream: Delivers sequences whose first half is observed and whose second half is imagined.
        logger: Receives the numbers, of which it takes the means over the batches, and the videos
            and open-loop errors of the last one.
        folder: Receives the plots of the last batch, which replace older ones.
        batches: Number of batches, at least 1.
        prefix: Names what is logged, and so where the batches come from.
        step: Of the run, for the titles.
    """
    results: dict[str, np.ndarray] = {}
    for _ in range(batches):
        results = learner.report(stream.next().batch, prefix)
        numbers = {k: v for k, v in results.items() if np.ndim(v) == 0}
        # Where too little was seen to tell how far predictions reach there is no number.
        unknown = {k for k, v in numbers.items() if k.startswith("ahead/") and not np.isfinite(v)}
        logger.add({k: v for k, v in numbers.items() if k not in unknown}, prefix=prefix)
    when = f"run step {step:,}"
    logger.add({**videos(results, when), **errors(results)}, prefix=prefix)
    return draw_or_note(logger, lambda: plots(results, folder, when))


def draw_or_note(logger: Logger, draw: Callable[[], list[pathlib.Path]]) -> list[pathlib.Path]:
    """The pictures that a function draws; none, and a message, where that fails."""
    try:
        return draw()
    except Exception as error:  # The run is worth more.
        logger.note(
            "A picture could not be drawn, and the run goes on without it: "
            f"{type(error).__name__}: {error}"
        )
        return []


def videos(results: Results, when: str) -> dict[str, np.ndarray]:
    """A video of every image key: predicted open-loop, and imagined with the policy's actions."""
    found = {}
    for name, true, pred in _pairs(results, ndim=5):
        key, half = name.removeprefix(_PLOT), true.shape[1] // 2
        found[name] = openloop_video(true, pred, half, f"{key}, {when}")
        dream = results.get(f"dream/{key}{_PRED}")
        if dream is not None:
            title = f"{key}, actions of the policy, {when}"
            found[f"{name}/policy"] = openloop_video(None, dream, half, title)
    return found


def plots(results: Results, folder: pathlib.Path, when: str = "") -> list[pathlib.Path]:
    """Draws what a report has besides images.

    Args:
        results: A report of the agent.
        folder: Receives `openloop/<key>.png` for every vector key, `openloop/reward-continue-value`
            and `openloop/error-by-horizon`, and `dream.png`: what the policy expects of its own
            actions.
        when: Put into the titles.
    """
    files, when = [], f", {when}" if when else ""
    for name, true, pred in _pairs(results, ndim=3):
        key = name.removeprefix(_PLOT)
        path = folder / "openloop" / f"{file_name(key)}.png"
        files.append(openloop_plot(true, pred, true.shape[1] // 2, path, title=key + when))
    if f"expected{_TRUE}" in results:
        true, pred = (np.asarray(results[f"expected{x}"]) for x in (_TRUE, _PRED))
        path = folder / "openloop" / "reward-continue-value.png"
        title = f"What the heads expect{when}"
        how: dict[str, Any] = {"title": title, "names": SAYS}
        files.append(openloop_plot(true, pred, true.shape[1] // 2, path, **how))
        files.append(_dream(results, folder, when))
    if ahead := _ahead(results):
        path = folder / "openloop" / "error-by-horizon.png"
        files.append(horizon_plot(ahead, path, title=f"Error by steps ahead{when}"))
    return files


def errors(results: Results) -> dict[str, np.ndarray]:
    """Distances [N] between what happened and what was predicted open-loop, by `<name>/error`."""
    return {
        f"{name}/error": np.abs(pred - true)[:, true.shape[1] // 2 :].ravel()
        for name, true, pred in _pairs(results, ndim=3)
    }


def _dream(results: Results, folder: pathlib.Path, when: str) -> pathlib.Path:
    """Draws what heads and vectors do when the policy acts, in one picture."""
    few = slice(0, 2)  # Sequences: every plot in the picture costs a report its time.
    true, pred = results[f"expected{_TRUE}"][few], results[f"dream_expected{_PRED}"][few]
    names, columns = list(SAYS), [(true[..., i], pred[..., i]) for i in range(len(SAYS))]
    found = []
    for name, seen, _ in _pairs(results, ndim=3):
        key = name.removeprefix(_PLOT)
        dream = results[f"dream/{key}{_PRED}"]
        spread = np.nan_to_num(seen.std((0, 1)) / (np.abs(seen).max((0, 1)) + 1e-6))
        for i, each in enumerate(spread):
            found.append((each, f"{key} {i}", seen[few, :, i], dream[few, :, i]))
    found = sorted(found, key=lambda x: -x[0])[:3]
    names += [name for _, name, _, _ in found]
    columns += [both for _, _, *both in found]
    true, pred = (np.stack([np.asarray(x[i], np.float64) for x in columns], -1) for i in (0, 1))
    half = true.shape[1] // 2
    true[:, half:] = np.nan
    title = f"Imagined with the actions of the policy{when}"
    return openloop_plot(true, pred, half, folder / "dream.png", title=title, names=names)


def _ahead(results: Results) -> dict[str, dict[int, tuple[float, float]]]:
    """Errors of the model and of repeating the last value, by key and steps ahead."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for name, value in results.items():
        if name.startswith("ahead/") and not name.endswith("/last") and np.isfinite(value):
            key, _, steps = name.removeprefix("ahead/").rpartition("/")
            found.setdefault(key, {})[int(steps)] = float(value), float(results[f"{name}/last"])
    return found


def _pairs(results: Results, ndim: int) -> Iterator[tuple[str, Any, Any]]:
    """Names, what happened and what was predicted: vectors [B, T, D], or images [B, T, H, W, C]."""
    for key in sorted(results):
        if key.startswith(_PLOT) and key.endswith(_TRUE) and results[key].ndim == ndim:
            name = key.removesuffix(_TRUE)
            yield name, results[key], results[name + _PRED]

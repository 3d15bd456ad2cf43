"""Curves of several seeds as one, with an interval."""

from collections.abc import Mapping

import numpy as np

RESAMPLES = 2000
"""Resamples of the bootstrap over seeds."""


def interquartile(seeds: Mapping[str, np.ndarray]) -> np.ndarray:
    """Interquartile mean over seeds and its 95 % bootstrap interval: [4, K] with the steps first.

    A seed takes part from its first point to its last one, with its newest value.

    Args:
        seeds: Steps and scores [2, K] of each; the steps of different seeds may differ.
    """
    steps = np.unique(np.concatenate([points[0] for points in seeds.values()]))
    table = np.full((len(seeds), len(steps)), np.nan)
    for row, (at, score) in zip(table, seeds.values(), strict=True):
        newest = np.searchsorted(at, steps, "right") - 1
        known = (newest >= 0) & (steps <= at[-1])
        row[known] = score[newest[known]]
    rng = np.random.default_rng(0)
    columns = []
    for column in table.T:
        values = column[~np.isnan(column)]
        means = middle(rng.choice(values, (RESAMPLES, len(values))))
        columns.append((middle(values), *np.percentile(means, (2.5, 97.5))))
    return np.array([steps, *np.array(columns).T])


def middle(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without its lowest and highest quarter."""
    cut = values.shape[-1] // 4
    return np.sort(values, -1)[..., cut : values.shape[-1] - cut].mean(-1)

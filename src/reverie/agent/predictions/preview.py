"""What a report of an agent shows of replayed sequences."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from reverie.agent.networks import Networks, Spec
from reverie.agent.predictions.ahead import predict_ahead, relative_errors, starts_and_horizons
from reverie.agent.predictions.openloop import open_loop
from reverie.agent.sequences import Sequences
from reverie.world.rssm import State

SEQUENCES = 6
"""Sequences that are shown."""

HORIZONS = (1, 2, 4, 8, 16)
"""Steps ahead whose errors are told."""

SAYS = ("reward", "continue", "value")
"""What heads expect, in the order in which it is drawn."""


def predictions(
    spec: Spec, nets: Networks, start: State, data: Sequences, key: Key[Array, ""]
) -> dict[str, Any]:
    """Predictions of replayed sequences, with what happened; arguments are as of `open_loop`.

    The first half of the steps was observed. Images are uint8 [b, t, h, w, c], other arrays
    [b, t, n].

    Returns:
        `openloop/<key>/true` and `/pred` by observation key; `expected/true` and `/pred` with the
        columns `SAYS`; `dream/<key>/pred` and `dream_expected/pred`, where the second half has the
        policy's actions; and `ahead/<key>/<steps>`, the error of so many steps ahead in variances
        of the truth, with `ahead/<key>/<steps>/last` for repeating the last value.
    """
    few = lambda tree: jax.tree.map(lambda x: x[:SEQUENCES], tree)  # noqa: E731
    found = open_loop(spec, nets, few(start), few(data), key)
    results: dict[str, Any] = {}
    for name, true in found.true.items():
        image = spec.obs_space[name].kind == "image"
        shown = _as_image if image else _as_vector
        results[f"openloop/{name}/true"] = true if image else _as_vector(true)
        results[f"openloop/{name}/pred"] = shown(found.pred[name])
        results[f"dream/{name}/pred"] = shown(found.dream[name])
    ahead_key = jax.random.fold_in(key, 1)
    ahead = predict_ahead(spec, nets, start, data, HORIZONS, ahead_key, samples=1)
    # Nothing follows the end of an episode, and what follows the last step is not known.
    returns = jnp.pad(ahead.returns, ((0, 0), (0, 1)), constant_values=jnp.nan)
    returns = jnp.where(data.is_last, jnp.nan, returns)
    happened = {"reward": data.reward, "continue": 1.0 - data.is_terminal, "value": returns}
    results["expected/true"] = jnp.stack([few(happened[name]) for name in SAYS], -1)
    results["expected/pred"] = _as_columns(found.said)
    results["dream_expected/pred"] = _as_columns(found.dream_said)
    _, horizons = starts_and_horizons(data.reward.shape[1], HORIZONS)
    for name in found.true:
        of_key = ahead.now[name], ahead.true[name], ahead.pred[name]
        model, last = relative_errors(ahead.valid, *of_key)
        for row, steps in enumerate(horizons):
            results[f"ahead/{name}/{steps}"] = model[row]
            results[f"ahead/{name}/{steps}/last"] = last[row]
    return results


def _as_columns(said):
    # Divided by the discount, what is certain may come out as a little more than 1.
    said = {**said, "continue": jnp.minimum(said["continue"], 1.0)}
    return jnp.stack([said[name] for name in SAYS], -1)


def _as_image(x):
    return jnp.clip(x * 255, 0, 255).astype(jnp.uint8)


def _as_vector(x):
    return x.reshape(*x.shape[:2], -1).astype(jnp.float32)

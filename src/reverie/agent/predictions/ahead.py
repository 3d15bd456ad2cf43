"""How well an agent predicts some steps ahead, from many points of replayed sequences."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

from reverie.agent.networks import Networks, Spec
from reverie.agent.predictions.expect import expectations
from reverie.agent.predictions.openloop import roll
from reverie.agent.sequences import Sequences, flat_samples, observe
from reverie.agent.training.returns import replay_return
from reverie.nn.dists import Categorical, SymlogMSE
from reverie.nn.functional import split_widths
from reverie.spaces import Space
from reverie.world.features import encode_flat
from reverie.world.rssm import State

FLAT = 1e-6
"""Variance of what never changes."""

Arrays = dict[str, Any]


class Ahead(NamedTuple):
    """Predictions and truth; N starting points, H horizons, B sequences of T steps.

    Vectors are squashed as the decoder predicts them, classes are one-hot, images are in [0, 1];
    all are flat. `reward`, and `end` (1 where the episode terminates), are keys like these.

    Attributes:
        valid: [H, N] whether the episode still goes on there.
        now: [N, D] by key, at the starting points.
        true: [H, N, D] by key.
        pred: The same, predicted with the actions that were taken.
        shuffled: The same with those of other starting points; empty if not asked for.
        moved: [H, N] whether these differ up to there.
        all: Truth [B, T, D] by key.
        seen: Reconstructions [B, T, D] of all steps by key.
        value: [B, T] of all steps.
        returns: [B, T - 1] that came after them.
    """

    valid: Shaped[Array, "h n"]
    now: Arrays
    true: Arrays
    pred: Arrays
    shuffled: Arrays
    moved: Shaped[Array, "h n"]
    all: Arrays
    seen: Arrays
    value: Float[Array, "b t"]
    returns: Float[Array, "b _"]


def starts_and_horizons(length: int, horizons: tuple[int, ...]) -> tuple[np.ndarray, tuple]:
    """Where predictions of sequences of some length start, and those horizons that fit."""
    fitting = tuple(h for h in horizons if h <= max(1, length // 2))
    return np.arange(length // 4, length - fitting[-1], max(1, length // 12)), fitting


def predict_ahead(
    spec: Spec,
    nets: Networks,
    start: State,
    data: Sequences,
    horizons: tuple[int, ...],
    key: Key[Array, ""],
    *,
    samples: int,
    shuffle: bool = False,
) -> Ahead:
    """Predicts the sequences of a batch from several points in each, see `open_loop`.

    Args:
        horizons: Steps after which predictions are compared, see `starts_and_horizons`.
        samples: Draws of which a prediction is the mean, so that chance counts less.
        shuffle: Whether to predict with the actions of other starting points too.
    """
    starts, horizons = starts_and_horizons(data.reward.shape[1], horizons)
    observe_key, order_key, *keys = jax.random.split(key, 2 + samples)
    _, seen = observe(spec, nets, start, data, observe_key)
    actions = encode_flat(data.prevact, spec.act_space, squash=False, batch_ndim=2)
    ahead = actions[:, starts[:, None] + 1 + np.arange(horizons[-1])]
    ahead = ahead.reshape(-1, *ahead.shape[2:]).swapaxes(0, 1)  # [steps, N, A]
    other = ahead[:, jax.random.permutation(order_key, ahead.shape[1])]
    rows = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
    points = State(rows(seen.post.deter[:, starts]), rows(seen.post.stoch[:, starts]))

    mean = lambda actions: _mean(spec, nets, points, actions, horizons, keys)  # noqa: E731
    at = starts[None, :] + np.array(horizons)[:, None]  # [H, starts]
    flat = lambda x: jnp.moveaxis(x, 1, 0).reshape(len(horizons), -1, *x.shape[3:])  # noqa: E731
    first = jnp.cumsum(data.is_first, 1)
    valid = flat(first[:, at] == first[:, None, starts])
    true = _truth(spec, data)
    differs = jnp.cumsum(jnp.abs(ahead - other).sum(-1), 0) > 1e-3
    value, returns = _value(spec, nets, seen.features, data)
    return Ahead(
        valid,
        {k: rows(x[:, starts]) for k, x in true.items()},
        {k: flat(x[:, at]) for k, x in true.items()},
        mean(ahead),
        mean(other) if shuffle else {},
        differs[np.array(horizons) - 1],
        true,
        _decoded(spec, nets, seen.post.deter, flat_samples(seen.post)),
        value,
        returns,
    )


def relative_errors(
    valid: Any, now: Any, true: Any, pred: Any, enough: int = 30
) -> tuple[Float[Array, " h"], Float[Array, " h"]]:
    """Squared errors of the model and of repeating the last value, in variances of the truth.

    Predicting the mean has an error of 1. NaN stands where fewer points than `enough` are valid, or
    the truth never changes.

    Args:
        valid, now, true, pred: Of one key, as `Ahead` has them.
        enough: Points that a number needs.
    """
    weight = valid / jnp.maximum(valid.sum(1, keepdims=True), 1)
    mean = (weight[..., None] * true).sum(1, keepdims=True)
    of = lambda x: (weight * jnp.square(true - x).sum(-1)).sum(1)  # noqa: E731
    spread = of(mean)
    known = (valid.sum(1) >= enough) & (spread > FLAT)
    spread = jnp.where(known, spread, jnp.nan)
    return of(pred) / spread, of(now[None]) / spread


def _truth(spec: Spec, data: Sequences) -> Arrays:
    """What happened, as `_decoded` predicts it."""
    true = {k: _encoded(x, spec.obs_space[k]) for k, x in data.obs.items()}
    end = data.is_terminal[..., None].astype(jnp.float32)
    return true | {"reward": data.reward[..., None], "end": end}


def _mean(spec: Spec, nets: Networks, start: State, actions, horizons, keys) -> Arrays:
    """Predictions [H, N, D] after given actions, averaged over draws."""
    several = []
    for key in keys:
        states = roll(nets, start, actions, key, spec.draws)
        states = jax.tree.map(lambda x: x[np.array(horizons) - 1], states)
        onehot = nets.dyn.flat_onehot(states.stoch, states.deter.dtype)
        several.append(_decoded(spec, nets, states.deter, onehot))
    return jax.tree.map(lambda *x: sum(x) / len(x), *several)


def _value(spec: Spec, nets: Networks, features, data: Sequences):
    """The value of every step, and the return that came after it."""
    value = nets.heads["val"](features).pred()
    gamma = 1 - 1 / spec.config.horizon
    returns = jax.vmap(replay_return, (0, 0, 0, 0, None, None))(
        data.reward, data.is_last, data.is_terminal, value, gamma, 1.0
    )
    return value, returns


def _decoded(spec: Spec, nets: Networks, deter, onehot) -> Arrays:
    said = expectations(nets, jnp.concatenate([deter, onehot], -1), spec.config)
    found = {"reward": said["reward"][..., None], "end": 1 - said["continue"][..., None]}
    if "dec" in nets.heads:
        outs = nets.heads["dec"](deter, onehot).items()
        found |= {k: _expected(dist, deter.ndim - 1) for k, dist in outs}
    return found


def _expected(dist, batch_ndim: int):
    """The prediction of a decoder as `_encoded` has the truth."""
    if isinstance(dist, Categorical):
        parts = split_widths(dist.logits, dist.classes)
        return jnp.concatenate([jax.nn.softmax(x, -1) for x in parts], -1)
    x = dist.mean if isinstance(dist, SymlogMSE) else dist.pred()
    return x.reshape(*x.shape[:batch_ndim], -1)


def _encoded(x, space: Space):
    if space.kind == "image":
        return x.reshape(*x.shape[:2], -1).astype(jnp.float32) / 255
    return encode_flat({"x": x}, {"x": space}, squash=True, batch_ndim=2)

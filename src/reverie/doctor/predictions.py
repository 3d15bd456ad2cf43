"""What an agent predicts on replayed sequences, beside what happened."""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from reverie.agent.agent import Agent
from reverie.agent.expect import expectations
from reverie.agent.networks import Networks
from reverie.agent.precision import cast_floats
from reverie.agent.returns import replay_return
from reverie.agent.sequences import flat_samples, observe
from reverie.nn.dists import Categorical, SymlogMSE
from reverie.nn.functional import split_widths
from reverie.replay.files import format
from reverie.replay.files.archive import path_of, serials
from reverie.spaces import FLAGS, LATENT_PREFIX, Space
from reverie.world.features import encode_flat
from reverie.world.rssm import State

SEQUENCES, LENGTH = 32, 48
"""Sequences that are looked at, and their steps where replay has as many in a row."""

HORIZONS = (1, 4, 16)
"""Steps after which predictions are compared."""

SAMPLES = 4
"""Draws of which a prediction is the mean, so that chance in the latents counts less."""

PER_CHUNK = 8
"""Most sequences from one file, so that they come from several environments and times."""

Arrays = dict[str, Any]


class Predictions(NamedTuple):
    """Predictions and truth; N starting points, H horizons.

    Vectors are squashed as the decoder predicts them, classes are one-hot, images are in [0, 1];
    all are flat. `reward`, and `end` (1 where the episode terminates), are keys like these.

    Attributes:
        horizons: Steps of each horizon.
        valid: [H, N] whether the episode still goes on there.
        now: [N, D] by key, at the starting points.
        true: [H, N, D] by key.
        pred: The same, predicted with the actions that were taken.
        shuffled: The same with those of other starting points.
        moved: [H, N] whether these differ up to there.
        seen: Pairs (true, reconstructed) [M, D] by observation key, and `reward`.
        value, returns: [M], of steps that end no episode.
        flags: [B, T] of all steps, by name.
    """

    horizons: tuple[int, ...]
    valid: np.ndarray
    now: Arrays
    true: Arrays
    pred: Arrays
    shuffled: Arrays
    moved: np.ndarray
    seen: dict[str, tuple[np.ndarray, np.ndarray]]
    value: np.ndarray
    returns: np.ndarray
    flags: dict[str, np.ndarray]


def read_sequences(folder: pathlib.Path, agent: Agent) -> dict[str, np.ndarray] | None:
    """Newest sequences of a saved replay, as a batch of training; None if there are too few.

    Files that a running training replaces meanwhile are left out.
    """
    keys = (*agent.obs_space, *agent.act_space, "reward", *FLAGS)
    chunks = []
    for serial in reversed(serials(folder)):
        try:
            _, steps = format.read(path_of(folder, serial, "chunk"))
            _, latents = format.read(path_of(folder, serial, "latents"))
        except (format.DamagedFile, FileNotFoundError):
            continue
        rows = min(len(steps["reward"]), *(len(x) for x in latents.values()))
        chunks.append({k: x[:rows] for k, x in (steps | latents).items()})
        full = [len(x["reward"]) // (LENGTH + agent.context) for x in chunks]
        if sum(min(PER_CHUNK, n) for n in full) >= SEQUENCES:
            break
    longest = max((len(x["reward"]) for x in chunks), default=0)
    length = min(LENGTH + agent.context, longest)
    if length < 4 + agent.context:
        return None
    parts = []
    for chunk in chunks:
        ends = range(len(chunk["reward"]), length - 1, -length)
        parts += [{k: x[end - length : end] for k, x in chunk.items()} for end in ends[:PER_CHUNK]]
    parts = parts[:SEQUENCES]
    batch = {key: np.stack([part[key] for part in parts]) for key in keys}
    latent = {k for k in parts[0] if k.startswith(LATENT_PREFIX)} if agent.context else ()
    batch |= {k: np.stack([part[k][: agent.context] for part in parts]) for k in latent}
    return batch | {"consec": np.zeros(len(parts), np.int32)}


def predict(agent: Agent, params: Networks, batch: dict[str, np.ndarray]) -> Predictions:
    """Lets the agent predict the sequences of a batch from several points in each."""
    length = batch["reward"].shape[1] - agent.context
    horizons = tuple(h for h in HORIZONS if h <= max(1, length // 2))
    starts = np.arange(length // 4, length - horizons[-1], max(1, length // 12))
    run = jax.jit(_predict, static_argnums=(0, 3, 4))
    key = jax.random.key(0)
    out = jax.device_get(run(agent, params, batch, horizons, tuple(starts.tolist()), key))
    rows = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
    at = starts[None, :] + np.array(horizons)[:, None]  # [H, starts]
    there = {k: np.moveaxis(x[:, at], 1, 0).reshape(len(horizons), -1, x.shape[-1])
             for k, x in out["true"].items()}  # fmt: skip
    first = np.cumsum(out["flags"]["is_first"], 1)
    valid = np.moveaxis(first[:, at] == first[:, None, starts], 1, 0).reshape(len(horizons), -1)
    goes_on = ~out["flags"]["is_last"][:, :-1]
    return Predictions(
        horizons,
        valid,
        {k: rows(x[:, starts]) for k, x in out["true"].items()},
        there,
        out["pred"],
        out["shuffled"],
        out["moved"],
        {k: (rows(out["true"][k]), rows(x)) for k, x in out["seen"].items()},
        out["value"][:, :-1][goes_on],
        out["returns"][goes_on],
        out["flags"],
    )


def _predict(agent: Agent, params, batch, horizons: tuple[int, ...], begins: tuple[int, ...], key):
    """All numbers at once, as one program."""
    starts = np.array(begins)
    nets = cast_floats(params, agent.dtype)
    observe_key, order_key, *keys = jax.random.split(key, 2 + SAMPLES)
    start, data = agent.align(agent.init_carry(len(batch["consec"])), batch)
    _, seen = observe(
        nets, start.state, data, agent.act_space, observe_key, agent.draws, agent.dtype
    )
    actions = encode_flat(data.prevact, agent.act_space, squash=False, batch_ndim=2)
    ahead = actions[:, starts[:, None] + 1 + np.arange(horizons[-1])]
    ahead = ahead.reshape(-1, *ahead.shape[2:]).swapaxes(0, 1)  # [H, N, A]
    other = ahead[:, jax.random.permutation(order_key, ahead.shape[1])]
    points = jax.tree.map(
        lambda x: x[:, starts].reshape(-1, x.shape[-1]), (seen.post.deter, seen.post.stoch)
    )

    def mean(actions):
        several = [_ahead(agent, nets, State(*points), actions, horizons, k) for k in keys]
        return jax.tree.map(lambda *x: sum(x) / len(x), *several)

    flags = {"is_first": data.is_first, "is_last": data.is_last, "is_terminal": data.is_terminal}
    value = nets.heads["val"](seen.features).pred()
    gamma = 1 - 1 / agent.config.horizon
    returns = jax.vmap(replay_return, (0, 0, 0, 0, None, None))(
        data.reward, data.is_last, data.is_terminal, value, gamma, 1.0
    )
    true = {k: _encoded(x, agent.obs_space[k]) for k, x in data.obs.items()}
    true |= {"reward": data.reward[..., None]}
    true |= {"end": data.is_terminal[..., None].astype(jnp.float32)}
    differs = jnp.cumsum(jnp.abs(ahead - other).sum(-1), 0) > 1e-3
    return {
        "true": true,
        "seen": _decoded(agent, nets, seen.post.deter, flat_samples(seen.post)),
        "pred": mean(ahead),
        "shuffled": mean(other),
        "moved": differs[np.array(horizons) - 1],
        "value": value,
        "returns": returns,
        "flags": flags,
    }


def _ahead(agent: Agent, nets, state: State, actions, horizons: tuple[int, ...], key) -> Arrays:
    """Predictions [H, N, D] after some steps of the prior with given actions [steps, N, A]."""
    noise = agent.draws.uniform(key, (*actions.shape[:2], nets.dyn.stoch))

    def step(carry, inputs):
        carry = nets.dyn.imagine_step(carry, *inputs, agent.draws)
        return carry, carry.state

    _, states = jax.lax.scan(step, nets.dyn.imagine_start(state), (actions, noise))
    states = jax.tree.map(lambda x: x[np.array(horizons) - 1], states)
    return _decoded(
        agent, nets, states.deter, nets.dyn.flat_onehot(states.stoch, states.deter.dtype)
    )


def _decoded(agent: Agent, nets, deter, onehot) -> Arrays:
    features = jnp.concatenate([deter, onehot], -1)
    said = expectations(nets, features, agent.config)
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

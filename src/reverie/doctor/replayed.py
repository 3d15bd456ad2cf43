"""What an agent predicts on replayed sequences, beside what happened."""

import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from reverie.agent.agent import Agent
from reverie.agent.networks import Networks
from reverie.agent.precision import cast_floats
from reverie.agent.predictions.ahead import Ahead, Arrays, predict_ahead, starts_and_horizons
from reverie.replay.files import format
from reverie.replay.files.archive import path_of, serials
from reverie.spaces import FLAGS, LATENT_PREFIX

SEQUENCES, LENGTH = 32, 48
"""Sequences that are looked at, and their steps where replay has as many in a row."""

HORIZONS = (1, 4, 16)
"""Steps after which predictions are compared."""

SAMPLES = 4
"""Draws of which a prediction is the mean, so that chance in the latents counts less."""

PER_CHUNK = 8
"""Most sequences from one file, so that they come from several environments and times."""


class Predictions(NamedTuple):
    """What `Ahead` has of a batch.

    Attributes:
        horizons: Steps of each horizon.
        valid, now, true, pred, shuffled, moved: As of `Ahead`.
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
    _, horizons = starts_and_horizons(length, HORIZONS)
    run = jax.jit(_predict, static_argnums=0)
    out, flags = jax.device_get(run(agent, params, batch, jax.random.key(0)))
    rows = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
    goes_on = ~flags["is_last"][:, :-1]
    return Predictions(
        horizons,
        out.valid,
        out.now,
        out.true,
        out.pred,
        out.shuffled,
        out.moved,
        {k: (rows(out.all[k]), rows(x)) for k, x in out.seen.items()},
        out.value[:, :-1][goes_on],
        out.returns[goes_on],
        flags,
    )


def _predict(agent: Agent, params, batch, key) -> tuple[Ahead, dict[str, Any]]:
    """All numbers at once, as one program."""
    nets = cast_floats(params, agent.dtype)
    start, data = agent.align(agent.init_carry(len(batch["consec"])), batch)
    how = {"samples": SAMPLES, "shuffle": True}
    out = predict_ahead(agent.spec, nets, start.state, data, HORIZONS, key, **how)
    return out, {key: getattr(data, key) for key in FLAGS}

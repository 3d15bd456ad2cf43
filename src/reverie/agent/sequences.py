"""Replayed sequences, aligned and filtered: what every objective sees of a batch."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Shaped

from reverie.agent.networks import Networks, Spec
from reverie.world.features import encode_flat
from reverie.world.rssm import Posterior, State


class Sequences(NamedTuple):
    """A batch of replayed sequences without their context, aligned as the model needs it.

    `prevact` holds the action taken before each step, so that entry 0 belongs to the step before
    the sequence.
    """

    obs: dict[str, Shaped[Array, "b t ..."]]
    prevact: dict[str, Shaped[Array, "b t ..."]]
    reward: Float[Array, "b t"]
    is_first: Bool[Array, "b t"]
    is_last: Bool[Array, "b t"]
    is_terminal: Bool[Array, "b t"]


class Observed(NamedTuple):
    """Sequences and what the world model makes of them.

    Attributes:
        data: The sequences.
        tokens: Results of the encoder.
        post: Posterior states.
        features: Posterior states as heads take them.
    """

    data: Sequences
    tokens: Float[Array, "b t K"]
    post: Posterior
    features: Float[Array, "b t F"]


def observe(
    spec: Spec,
    nets: Networks,
    state: State,
    data: Sequences,
    key: Key[Array, ""],
    remat: bool = False,
) -> tuple[State, Observed]:
    """Encodes the observations and filters them into posterior states.

    Args:
        spec: Of the agent.
        nets: Its encoder and dynamics, in the compute dtype.
        state: Before the first step, [b].
        data: Sequences of T steps.
        key: For all draws.
        remat: Whether a gradient computes the encoder again instead of keeping what is inside,
            which with images is most of what an update keeps.

    Returns:
        The state after the last step, and what was seen.
    """
    encode = eqx.filter_checkpoint(nets.enc) if remat else nets.enc
    tokens = encode(data.obs, state.deter.dtype)
    action = encode_flat(data.prevact, spec.act_space, squash=False, batch_ndim=2)
    noise = spec.draws.uniform(key, (*data.reward.shape, nets.dyn.stoch))
    last, post = nets.dyn.observe(state, tokens, action, data.is_first, noise, spec.draws)
    features = jnp.concatenate([post.deter, flat_samples(post)], -1)
    return last, Observed(data, tokens, post, features)


def flat_samples(post: Posterior) -> Float[Array, "*b SC"]:
    """Differentiable samples as the flat vector that heads take, in the dtype of `deter`."""
    return post.onehot.astype(post.deter.dtype).reshape(*post.deter.shape[:-1], -1)

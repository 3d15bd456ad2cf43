"""Action masks inside the agent: observed ones in acting, predicted ones in imagination."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool

from reverie.agent.networks import Networks
from reverie.nn.dists import Categorical, Normal
from reverie.nn.functional import split_widths
from reverie.spaces import Space
from reverie.world.rssm import State

Masks = dict[str, Bool[Array, "..."]]
"""Valid classes of the action keys that have a mask, entry after entry."""


def predicted_masks(
    nets: Networks, state: State, act_space: Mapping[str, Space], masks: Mapping[str, str]
) -> Masks:
    """The masks that the decoder reads from latent states: [n, classes of all entries] by action.

    A class is valid where that is more likely than not, and so is the likeliest class of each
    entry, because something has to be chosen. Where no action has a mask nothing is computed.
    """
    if not masks:
        return {}
    stoch = nets.dyn.flat_onehot(state.stoch, state.deter.dtype)
    predictions = nets.heads["dec"].predict_vectors(state.deter, stoch, masks.values())
    found = {}
    for action, name in masks.items():
        prediction = predictions[name]
        assert isinstance(prediction, Categorical)
        # Two logits per class of the action: invalid and valid.
        logits = prediction.logits
        logits = logits.reshape(*logits.shape[:-1], -1, 2)
        evidence = logits[..., 1] - logits[..., 0]
        entries = split_widths(evidence, act_space[action].classes)
        found[action] = jnp.concatenate(
            [(x > 0) | (x == x.max(-1, keepdims=True)) for x in entries], -1
        )
    return found


def masked(
    dists: Mapping[str, Categorical | Normal], masks: Masks
) -> dict[str, Categorical | Normal]:
    """Action distributions whose invalid classes have probability 0."""
    return {
        name: dist.restricted(masks[name])
        if isinstance(dist, Categorical) and name in masks
        else dist
        for name, dist in dists.items()
    }

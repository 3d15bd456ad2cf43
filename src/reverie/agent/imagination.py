"""Imagined rollouts: the prior rolled forward with sampled actions, without gradients."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from reverie.agent.action_mask import Masks, masked, predicted_masks
from reverie.agent.networks import Networks
from reverie.nn.dists import Categorical, Normal
from reverie.nn.draws import Draws
from reverie.nn.functional import sg, split_widths
from reverie.nn.reuse import reused_linear
from reverie.spaces import Space
from reverie.world.features import encode_flat
from reverie.world.heads import TwoHotHead
from reverie.world.rssm import RSSM, State


class Imagined(NamedTuple):
    """H+1 imagined states, time first, and what the heads say about them.

    Attributes:
        state: Input of the heads.
        first: First-layer results of policy and value, side by side, for `trained_heads`.
        action: Sampled at each state.
        reward: Expected reward on the way into each state.
        con: Predicted continue probability.
        slow_value: Expectation of the slow value head.
        masks: Predicted at each state, for the action keys that have one.
    """

    state: State
    first: Float[Array, "h n P"]
    action: dict[str, Shaped[Array, "h n ..."]]
    reward: Float[Array, "h n"]
    con: Float[Array, "h n"]
    slow_value: Float[Array, "h n"]
    masks: Masks


def action_noise(
    draws: Draws, key: Key[Array, ""], act_space: dict[str, Space], shape: tuple[int, ...]
) -> dict[str, Float[Array, "..."]]:
    """Noise for one action per entry of `shape`."""
    keys = jax.random.split(key, len(act_space))
    noise = {}
    for k, (name, space) in zip(keys, sorted(act_space.items()), strict=True):
        kind = draws.uniform if space.kind == "discrete" else draws.normal
        noise[name] = kind(k, (*shape, space.size))
    return noise


def sample_actions(
    dists: dict[str, Categorical | Normal], noise: dict[str, Float[Array, "..."]], draws: Draws
) -> dict[str, Shaped[Array, "..."]]:
    """One action per key."""
    return {name: dist.sample(draws, noise[name]) for name, dist in dists.items()}


def imagine(
    nets: Networks,
    slow: TwoHotHead,
    start: State,
    act_space: dict[str, Space],
    length: int,
    key: Key[Array, ""],
    draws: Draws,
    masks: Mapping[str, str],
) -> Imagined:
    """Rolls the prior forward and evaluates the heads on the way.

    The heads share their input, so their first layers are one product, computed while the
    features are still in cache.

    Args:
        nets: Dynamics and the heads of reward, continue, policy and value.
        slow: Slow copy of the value head.
        start: Posterior states [n].
        act_space: Action keys.
        length: Steps H.
        key: For all draws of the rollout.
        draws: Where samples come from.
        masks: Action keys that have a mask -> the observation key that is their mask.
    """
    nets, slow, start = sg(nets), sg(slow), sg(start)
    dyn, heads, count = nets.dyn, nets.heads, start.deter.shape[0]
    act_key, state_key = jax.random.split(key)
    noise = action_noise(draws, act_key, act_space, (length + 1, count))
    state_noise = draws.uniform(state_key, (length + 1, count, dyn.stoch))
    kernel, bias, widths = _first_layers(
        heads["pol"], heads["val"], slow, heads["rew"], heads["con"]
    )

    def look(state: State, noise_t) -> Imagined:
        first = _split_product(dyn, state, kernel)
        first += jax.lax.broadcast_to_rank(bias.astype(first.dtype), first.ndim)
        pol, val, slow_val, rew, con = split_widths(first, widths)
        valid = predicted_masks(nets, state, act_space, masks)
        return Imagined(
            state,
            jnp.concatenate([pol, val], -1),
            sample_actions(masked(heads["pol"].from_first(pol), valid), noise_t, draws),
            heads["rew"].from_first(rew).pred(),
            heads["con"].from_first(con).prob(),
            slow.from_first(slow_val).pred(),
            valid,
        )

    def step(carry, inputs):
        action_noise_t, state_noise_t = inputs
        seen = look(carry.state, action_noise_t)
        encoded = encode_flat(seen.action, act_space, squash=False, batch_ndim=1)
        return dyn.imagine_step(carry, encoded, state_noise_t, draws), seen

    # The step after the last state is for nothing, but cheaper than appending that state.
    _, imagined = jax.lax.scan(step, dyn.imagine_start(start), (noise, state_noise))
    return imagined


def trained_heads(
    nets: Networks, imagined: Imagined, start_features: Float[Array, "n F"] | None = None
) -> tuple[Float[Array, "h n _"], Float[Array, "h n _"]]:
    """First-layer results of policy and value on a rollout, with gradients.

    Args:
        nets: Networks that made the rollout.
        imagined: The rollout.
        start_features: Features of its first states, to let gradients flow into them.
    """
    kernel, bias, widths = _first_layers(nets.heads["pol"], nets.heads["val"])
    dtype, dyn = imagined.state.deter.dtype, nets.dyn
    kernel, bias = kernel.astype(dtype), bias.astype(dtype)
    deter, stoch = imagined.state.deter, dyn.flat_onehot(imagined.state.stoch, dtype)
    if start_features is not None:
        deter = jnp.concatenate([start_features[None, :, : dyn.deter], deter[1:]], 0)
        stoch = jnp.concatenate([start_features[None, :, dyn.deter :], stoch[1:]], 0)
    first = reused_linear(kernel, bias, deter, stoch, imagined.first)
    pol, val = split_widths(first, widths)
    return pol, val


def _split_product(dyn: RSSM, state: State, kernel: Float[Array, "F o"]) -> Float[Array, "n o"]:
    """Product of a state's features with a kernel, without forming the features."""
    kernel = kernel.astype(state.deter.dtype)
    stoch = dyn.flat_onehot(state.stoch, state.deter.dtype)
    return state.deter @ kernel[: dyn.deter] + stoch @ kernel[dyn.deter :]


def _first_layers(*heads):
    """Kernels and biases of the heads' first layers side by side, and their widths."""
    layers = [head.mlp.layers[0].linear for head in heads]
    kernel = jnp.concatenate([layer.kernel for layer in layers], -1)
    bias = jnp.concatenate([layer.bias for layer in layers], -1)
    return kernel, bias, tuple(len(layer.bias) for layer in layers)

"""Imagined rollouts: the prior rolled forward with sampled actions, without gradients."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Key, Shaped

from reverie.agent.action_mask import Masks, masked, predicted_masks
from reverie.agent.networks import Networks
from reverie.nn.dists import Categorical, Normal
from reverie.nn.draws import Draws
from reverie.nn.functional import sg
from reverie.nn.scan import loop
from reverie.spaces import Space
from reverie.world.features import encode_flat
from reverie.world.heads import TwoHotHead
from reverie.world.rssm import State


class Imagined(NamedTuple):
    """H+1 imagined states, time first, and what the heads say about them.

    Attributes:
        state: Input of the heads.
        action: Sampled at each state.
        reward: Expected reward on the way into each state.
        con: Predicted continue probability.
        slow_value: Expectation of the slow value head.
        masks: Predicted at each state, for the action keys that have one.
    """

    state: State
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
    """Rolls the prior forward and evaluates the heads.

    On a CPU this is done on the way, while the features are in cache. On an accelerator the loop
    launches no more than what the next state depends on, and the other heads see all states at
    once after it.

    Args:
        nets: Dynamics and the heads of reward, continue and policy.
        slow: Slow copy of the value head.
        start: Posterior states [n].
        act_space: Action keys.
        length: Steps H.
        key: For all draws of the rollout.
        draws: Where samples come from.
        masks: Action keys that have a mask -> the observation key that is their mask.
    """
    nets, slow, start = sg(nets), sg(slow), sg(start)
    act_key, state_key = jax.random.split(key)
    shape = (length + 1, len(start.deter))
    noise = action_noise(draws, act_key, act_space, shape)
    state_noise = draws.uniform(state_key, (*shape, nets.dyn.stoch))
    roll = functools.partial(_roll, nets, slow, act_space, draws, masks)
    return jax.lax.platform_dependent(
        start,
        (noise, state_noise),
        cpu=functools.partial(roll, on_the_way=True),
        default=functools.partial(roll, on_the_way=False),
    )


def _roll(
    nets: Networks,
    slow: TwoHotHead,
    act_space: dict[str, Space],
    draws: Draws,
    masks: Mapping[str, str],
    start: State,
    noises: tuple[dict[str, Float[Array, "h n _"]], Float[Array, "h n S"]],
    *,
    on_the_way: bool,
) -> Imagined:
    """`imagine`, given the noise; all heads are evaluated on the way, or the policy alone."""
    dyn, heads = nets.dyn, nets.heads

    def evaluate(features):
        return heads["rew"](features).pred(), heads["con"](features).prob(), slow(features).pred()

    def step(carry, inputs):
        action_noise_t, state_noise_t = inputs
        valid = predicted_masks(nets, carry.state, act_space, masks)
        features = dyn.features(carry.state)
        dists = masked(heads["pol"](features), valid)
        action = sample_actions(dists, action_noise_t, draws)
        encoded = encode_flat(action, act_space, squash=False, batch_ndim=1)
        after = dyn.imagine_step(carry, encoded, state_noise_t, draws)
        return after, (carry.state, action, valid, evaluate(features) if on_the_way else None)

    # The step after the last state is for nothing, but cheaper than appending that state.
    _, (state, action, valid, said) = loop(step, dyn.imagine_start(start), noises)
    reward, con, slow_value = said or evaluate(dyn.features(state))
    return Imagined(state, action, reward, con, slow_value, valid)

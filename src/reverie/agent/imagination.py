"""Imagined rollouts: the prior rolled forward with sampled actions, without gradients."""

import functools
from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Key, Shaped

from reverie.agent.action_mask import Masks, masked, predicted_masks
from reverie.agent.networks import Networks, Spec
from reverie.nn.dists import Categorical, Normal
from reverie.nn.draws import Draws
from reverie.nn.functional import sg
from reverie.nn.scan import loop
from reverie.spaces import Space
from reverie.world.features import encode_flat
from reverie.world.heads import TwoHotHead
from reverie.world.rssm import ImagineCarry, State

Noise = tuple[dict[str, Float[Array, "..."]], Float[Array, "..."]]
"""For actions by key, and for states."""


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


def rollout_noise(spec: Spec, key: Key[Array, ""], *shape: int) -> Noise:
    """Noise for the actions and the states of a rollout, each of the shape `[h, n]`."""
    act_key, state_key = jax.random.split(key)
    noise = action_noise(spec.draws, act_key, spec.act_space, shape)
    return noise, spec.draws.uniform(state_key, (*shape, spec.config.dyn.stoch))


def policy_step(
    spec: Spec, nets: Networks, carry: ImagineCarry, noise: Noise
) -> tuple[ImagineCarry, Float[Array, "n F"], dict[str, Shaped[Array, "n ..."]], Masks]:
    """One step with an action of the policy: what follows, and features, action and masks there."""
    act_noise, state_noise = noise
    valid = predicted_masks(nets, carry.state, spec.act_space, spec.masks)
    features = nets.dyn.features(carry.state)
    dists = masked(nets.heads["pol"](features), valid)
    action = sample_actions(dists, act_noise, spec.draws)
    encoded = encode_flat(action, spec.act_space, squash=False, batch_ndim=1)
    return nets.dyn.imagine_step(carry, encoded, state_noise, spec.draws), features, action, valid


def imagine(
    spec: Spec, nets: Networks, slow: TwoHotHead, start: State, length: int, key: Key[Array, ""]
) -> Imagined:
    """Rolls the prior forward and evaluates the heads.

    On a CPU this is done on the way, while the features are in cache. On an accelerator the loop
    launches no more than what the next state depends on, and the other heads see all states at
    once after it.

    Args:
        spec: Of the agent.
        nets: Dynamics and the heads of reward, continue and policy.
        slow: Slow copy of the value head.
        start: Posterior states [n].
        length: Steps H.
        key: For all draws.
    """
    nets, slow, start = sg(nets), sg(slow), sg(start)
    noise = rollout_noise(spec, key, length + 1, len(start.deter))
    roll = functools.partial(_roll, spec, nets, slow)
    return jax.lax.platform_dependent(
        start,
        noise,
        cpu=functools.partial(roll, on_the_way=True),
        default=functools.partial(roll, on_the_way=False),
    )


def _roll(
    spec: Spec, nets: Networks, slow: TwoHotHead, start: State, noise: Noise, *, on_the_way: bool
) -> Imagined:
    """`imagine`, given the noise; all heads are evaluated on the way, or the policy alone."""
    dyn, heads = nets.dyn, nets.heads

    def evaluate(features):
        return heads["rew"](features).pred(), heads["con"](features).prob(), slow(features).pred()

    def step(carry, noise_t):
        after, features, action, valid = policy_step(spec, nets, carry, noise_t)
        return after, (carry.state, action, valid, evaluate(features) if on_the_way else None)

    # The step after the last state is for nothing, but cheaper than appending that state.
    _, (state, action, valid, said) = loop(step, dyn.imagine_start(start), noise)
    reward, con, slow_value = said or evaluate(dyn.features(state))
    return Imagined(state, action, reward, con, slow_value, valid)

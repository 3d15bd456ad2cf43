"""Open-loop report: observe half a sequence, then imagine the rest from the stored actions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, Shaped

from reverie.agent.networks import Networks
from reverie.agent.sequences import Sequences, flat_samples, observe
from reverie.nn.draws import Draws
from reverie.spaces import Space
from reverie.world.features import encode_flat
from reverie.world.rssm import State


class OpenLoop(NamedTuple):
    """True and predicted observations [b, t, ...]."""

    true: dict[str, Shaped[Array, "b t ..."]]
    pred: dict[str, Shaped[Array, "b t ..."]]


def open_loop(
    nets: Networks,
    state: State,
    data: Sequences,
    act_space: dict[str, Space],
    key: Key[Array, ""],
    draws: Draws,
    dtype,
) -> OpenLoop:
    """Predicts every observation key of the sequences.

    Args:
        nets: Encoder, dynamics and the head `dec` are used.
        state: State before the first step, [b].
        data: Sequences of T steps; the first T // 2 are observed, the others imagined.
        act_space: Action keys.
        key: For all draws.
        draws: Where samples come from.
        dtype: Compute dtype.
    """
    observe_key, imagine_key = jax.random.split(key)
    batch, length = data.reward.shape
    half = length // 2
    first = jax.tree.map(lambda x: x[:, :half], data)
    last, seen = observe(nets, state, first, act_space, observe_key, draws, dtype)
    actions = encode_flat(data.prevact, act_space, squash=False, batch_ndim=2)[:, half:]
    noise = draws.uniform(imagine_key, (length - half, batch, nets.dyn.stoch))

    def step(carry, inputs):
        action_t, noise_t = inputs
        carry = nets.dyn.imagine_step(carry, action_t, noise_t, draws)
        return carry, carry.state

    carry = nets.dyn.imagine_start(last)
    _, states = jax.lax.scan(step, carry, (actions.swapaxes(0, 1), noise))
    states = jax.tree.map(lambda x: x.swapaxes(0, 1), states)
    stoch = nets.dyn.flat_onehot(states.stoch, states.deter.dtype)
    observed = nets.heads["dec"](seen.post.deter, flat_samples(seen.post))
    imagined = nets.heads["dec"](states.deter, stoch)
    pred = {k: jnp.concatenate([observed[k].pred(), imagined[k].pred()], 1) for k in observed}
    return OpenLoop({k: data.obs[k] for k in pred}, pred)

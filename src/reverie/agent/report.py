"""Open-loop report: observe half a sequence, then imagine the rest from the stored actions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, Shaped

from reverie.agent.world_loss import Sequences, flat_samples, observe
from reverie.nn.draws import Draws
from reverie.spaces import Space
from reverie.world.features import encode_flat
from reverie.world.model import WorldModel
from reverie.world.rssm import State


class OpenLoop(NamedTuple):
    """True and predicted observations [b, t, ...]."""

    true: dict[str, Shaped[Array, "b t ..."]]
    pred: dict[str, Shaped[Array, "b t ..."]]


def open_loop(
    model: WorldModel,
    state: State,
    data: Sequences,
    act_space: dict[str, Space],
    key: Key[Array, ""],
    draws: Draws,
    dtype,
) -> OpenLoop:
    """Predicts every observation key of the sequences.

    Args:
        model: World model.
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
    last, post = observe(model, state, first, act_space, observe_key, draws, dtype)
    actions = encode_flat(data.prevact, act_space, squash=False, batch_ndim=2)[:, half:]
    noise = draws.uniform(imagine_key, (length - half, batch, model.dyn.stoch))

    def step(carry, inputs):
        action_t, noise_t = inputs
        carry = model.dyn.imagine_step(carry, action_t, noise_t, draws)
        return carry, carry.state

    carry = model.dyn.imagine_start(last)
    _, states = jax.lax.scan(step, carry, (actions.swapaxes(0, 1), noise))
    states = jax.tree.map(lambda x: x.swapaxes(0, 1), states)
    stoch = model.dyn.flat_onehot(states.stoch, states.deter.dtype)
    seen = model.dec(post.deter, flat_samples(post))
    imagined = model.dec(states.deter, stoch)
    pred = {k: jnp.concatenate([seen[k].pred(), imagined[k].pred()], 1) for k in seen}
    return OpenLoop({k: data.obs[k] for k in pred}, pred)

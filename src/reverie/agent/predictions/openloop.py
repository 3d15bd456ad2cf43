"""Open-loop report: observe half a sequence, then imagine the rest from the stored actions."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from reverie.agent.imagination import policy_step, rollout_noise
from reverie.agent.networks import Networks, Spec
from reverie.agent.predictions.expect import expectations
from reverie.agent.sequences import Sequences, flat_samples, observe
from reverie.nn.draws import Draws
from reverie.world.features import encode_flat
from reverie.world.rssm import State


class OpenLoop(NamedTuple):
    """True and predicted observations, and what heads expect; arrays [b, t, ...].

    Attributes:
        true: By observation key.
        pred: The same, with the actions of the sequences.
        said: `reward`, `continue` and `value` at these states.
        dream: As `pred`, but what comes after the observed steps has the policy's own actions.
        dream_said: `said` of it.
    """

    true: dict[str, Shaped[Array, "b t ..."]]
    pred: dict[str, Shaped[Array, "b t ..."]]
    said: dict[str, Shaped[Array, "b t"]]
    dream: dict[str, Shaped[Array, "b t ..."]]
    dream_said: dict[str, Shaped[Array, "b t"]]


def open_loop(
    spec: Spec, nets: Networks, start: State, data: Sequences, key: Key[Array, ""]
) -> OpenLoop:
    """Predicts sequences of T steps, of which the first T // 2 are observed, the others imagined.

    Networks are in the compute dtype, and `start` are the states before the first steps.
    """
    observe_key, imagine_key = jax.random.split(key)
    half = data.reward.shape[1] // 2
    steps = data.reward.shape[1] - half
    first = jax.tree.map(lambda x: x[:, :half], data)
    last, seen = observe(spec, nets, start, first, observe_key)
    actions = encode_flat(data.prevact, spec.act_space, squash=False, batch_ndim=2)[:, half:]
    both = (
        roll(nets, last, actions.swapaxes(0, 1), imagine_key, spec.draws),
        follow(spec, nets, last, steps, jax.random.fold_in(imagine_key, 1)),
    )
    observed = seen.post.deter, flat_samples(seen.post)
    found: list[Any] = []
    for states in both:
        states = jax.tree.map(lambda x: x.swapaxes(0, 1), states)
        onehot = nets.dyn.flat_onehot(states.stoch, states.deter.dtype)
        found += _read(spec, nets, observed, (states.deter, onehot))
    pred, said, dream, dream_said = found
    return OpenLoop({k: data.obs[k] for k in pred}, pred, said, dream, dream_said)


def roll(
    nets: Networks,
    start: State,
    actions: Float[Array, "h n A"],
    key: Key[Array, ""],
    draws: Draws,
) -> State:
    """States [h, n] of the prior after given actions, one after the other."""

    def step(carry, inputs):
        action, noise = inputs
        carry = nets.dyn.imagine_step(carry, action, noise, draws)
        return carry, carry.state

    noise = draws.uniform(key, (*actions.shape[:2], nets.dyn.stoch))
    return jax.lax.scan(step, nets.dyn.imagine_start(start), (actions, noise))[1]


def follow(spec: Spec, nets: Networks, start: State, steps: int, key: Key[Array, ""]) -> State:
    """States [h, n] of the prior after actions of the policy, as training imagines them."""

    def step(carry, noise):
        carry, *_ = policy_step(spec, nets, carry, noise)
        return carry, carry.state

    noise = rollout_noise(spec, key, steps, len(start.deter))
    return jax.lax.scan(step, nets.dyn.imagine_start(start), noise)[1]


def _read(spec: Spec, nets: Networks, *parts):
    """What decoder and heads say of observed and imagined states (deter, onehot)."""
    outs = [nets.heads["dec"](*part) for part in parts]
    said = [expectations(nets, jnp.concatenate(part, -1), spec.config) for part in parts]
    join = lambda both: {k: jnp.concatenate([x[k] for x in both], 1) for k in both[0]}  # noqa: E731
    return join([{k: dist.pred() for k, dist in out.items()} for out in outs]), join(said)

"""World-model loss on replayed sequences (paper equations 4 and 5)."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Shaped

from reverie.nn.draws import Draws
from reverie.nn.functional import f32, sg
from reverie.spaces import Space
from reverie.world.features import encode_flat
from reverie.world.model import WorldModel
from reverie.world.rssm import Posterior, State, entropy


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


def observe(
    model: WorldModel,
    state: State,
    data: Sequences,
    act_space: dict[str, Space],
    key: Key[Array, ""],
    draws: Draws,
    dtype,
) -> tuple[State, Posterior]:
    """Encodes the observations and filters them into posterior states."""
    tokens = model.enc(data.obs, dtype)
    action = encode_flat(data.prevact, act_space, squash=False, batch_ndim=2)
    noise = draws.uniform(key, (*data.reward.shape, model.dyn.stoch))
    return model.dyn.observe(state, tokens, action, data.is_first, noise, draws)


def world_loss(
    model: WorldModel,
    post: Posterior,
    data: Sequences,
    *,
    horizon: int,
    contdisc: bool,
    reward_grad: bool,
) -> tuple[dict[str, Float[Array, "b t"]], dict[str, Float[Array, ""]]]:
    """Reconstruction, reward, continue and KL losses.

    Args:
        model: World model.
        post: Posterior states of the sequences.
        data: The sequences.
        horizon: Effective horizon; the discount is `1 - 1 / horizon`.
        contdisc: Whether the continue head predicts the discount as well.
        reward_grad: Whether reward gradients shape the representation.

    Returns:
        Losses per step by name (`dyn`, `rep`, `rew`, `con` and one `rec/<key>` per
        observation key), and
        metrics.
    """
    prior = model.dyn.prior(post.deter)
    dyn, rep = model.dyn.kl_losses(post.logits, prior)
    stoch = flat_samples(post)
    features = jnp.concatenate([post.deter, stoch], -1)
    losses = {"dyn": dyn, "rep": rep}
    losses["rew"] = model.rew(features if reward_grad else sg(features)).loss(data.reward)
    target = 1 - data.is_terminal.astype(f32)
    target = target * (1 - 1 / horizon) if contdisc else target
    losses["con"] = model.con(features).loss(target)
    for name, prediction in model.dec(post.deter, stoch).items():
        losses[f"rec/{name}"] = prediction.loss(data.obs[name])
    metrics = {"dyn_ent": entropy(prior).mean(), "rep_ent": entropy(post.logits).mean()}
    return losses, metrics


def flat_samples(post: Posterior) -> Float[Array, "*b SC"]:
    """Differentiable samples as the flat vector that heads take, in the dtype of `deter`."""
    return post.onehot.astype(post.deter.dtype).reshape(*post.deter.shape[:-1], -1)

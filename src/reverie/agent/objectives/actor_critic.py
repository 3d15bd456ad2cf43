"""Policy and value: losses of imagined rollouts, and the value loss on replayed steps."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from reverie.agent.action_mask import masked
from reverie.agent.imagination import Imagined, imagine
from reverie.agent.networks import Networks, Spec
from reverie.agent.objectives.base import Loss, Metrics, Objective
from reverie.agent.precision import cast_floats
from reverie.agent.sequences import Observed
from reverie.agent.training import normalize
from reverie.agent.training.normalize import NormState
from reverie.agent.training.returns import imagined_return, replay_return
from reverie.config.sections.agent import AgentConfig, SlowValueConfig
from reverie.nn.dists import Categorical
from reverie.nn.functional import sg
from reverie.world.heads import PolicyHead, TwoHotHead
from reverie.world.rssm import State


class Norms(NamedTuple):
    """Running statistics of returns, values and advantages."""

    ret: NormState
    val: NormState
    adv: NormState


class ActorCriticState(NamedTuple):
    """What is not trained: the slow copy of the value head, and the statistics."""

    slow: TwoHotHead
    norms: Norms


def make_actor_critic(spec: Spec) -> Objective:
    """A policy that maximizes the value of imagined rollouts, and that value."""
    config, scales = spec.config, spec.config.loss_scales
    names = ("policy", "value", "repval") if config.repval_loss else ("policy", "value")
    # Imagination asks the decoder which actions are valid.
    decoder = ("dec",) if spec.masks else ()
    return Objective(
        "actor_critic",
        {name: getattr(scales, name) for name in names},
        functools.partial(_loss, spec),
        functools.partial(_heads, spec),
        _init,
        functools.partial(_settle, config.slowvalue),
        needs=("rew", "con", "pol", "val", *decoder),
    )


def _heads(spec: Spec, key: Key[Array, ""]) -> dict[str, PolicyHead | TwoHotHead]:
    policy, value = spec.config.policy.model_dump(), spec.config.value.model_dump()
    pol_key, val_key = jax.random.split(key)
    return {
        "pol": PolicyHead(spec.features, spec.act_space, **policy, key=pol_key),
        "val": TwoHotHead(spec.features, **value, key=val_key),
    }


def _init(nets: Networks) -> ActorCriticState:
    norms = Norms(normalize.init(), normalize.init(), normalize.init())
    return ActorCriticState(jax.tree.map(jnp.copy, nets.heads["val"]), norms)


def _settle(
    config: SlowValueConfig, state: ActorCriticState, nets: Networks, updates: Int[Array, ""]
) -> ActorCriticState:
    rate, every = config.rate, config.every
    mix = jnp.where(updates % every == 0, rate, 0.0) if every > 1 else rate
    move = lambda s, v: (1 - mix) * s + mix * v  # noqa: E731
    return state._replace(slow=jax.tree.map(move, state.slow, nets.heads["val"]))


def _loss(
    spec: Spec, nets: Networks, state: ActorCriticState, seen: Observed, key: Key[Array, ""]
) -> Loss:
    """Losses of rollouts from the last `imag_last` steps (0 means all), and on these steps."""
    config, data = spec.config, seen.data
    batch, length = data.reward.shape
    last = min(config.imag_last or length, length)
    tail = lambda x: x[:, -last:]  # noqa: E731
    flat = lambda x: tail(x).reshape(batch * last, *x.shape[2:])  # noqa: E731
    start = State(flat(seen.post.deter), flat(seen.post.stoch))
    slow = cast_floats(state.slow, seen.features.dtype)
    imagined = imagine(spec, nets, slow, start, config.imag_length, key)
    losses, bootstrap, norms, metrics = imagined_loss(
        nets, state.norms, sg(imagined), config, flat(seen.features) if config.ac_grads else None
    )
    losses = {k: v.reshape(batch, last) for k, v in losses.items()}
    if config.repval_loss:
        losses["repval"] = replay_value_loss(
            nets.heads["val"],
            slow,
            norms.val,
            tail(seen.features) if config.repval_grad else sg(tail(seen.features)),
            tail(data.reward),
            tail(data.is_last),
            tail(data.is_terminal),
            bootstrap.reshape(batch, last),
            config,
        )
    return Loss(losses, state._replace(norms=norms), metrics)


def imagined_loss(
    nets: Networks,
    norms: Norms,
    imagined: Imagined,
    config: AgentConfig,
    start_features: Float[Array, "n F"] | None = None,
) -> tuple[dict[str, Float[Array, " n"]], Float[Array, " n"], Norms, Metrics]:
    """Policy and value loss of imagined rollouts (paper equations 6 to 8).

    Args:
        nets: Trained networks; gradients flow into policy and value.
        norms: Statistics before this batch.
        imagined: Of `imagine`.
        config: Lambda, entropy scale, normalizers, horizon.
        start_features: Features of the first states, to let gradients flow into them.

    Returns:
        Losses per rollout, R_0 of each rollout, updated statistics, metrics.
    """
    options = config.imag_loss
    features = nets.dyn.features(imagined.state)
    if start_features is not None:
        features = jnp.concatenate([start_features[None], features[1:]], 0)
    # The last states are left out of the losses, at the end: cutting here would copy everything.
    policy = masked(nets.heads["pol"](features), imagined.masks)
    value = nets.heads["val"](features)
    reward, con = imagined.reward, imagined.con
    discount = 1.0 if config.contdisc else 1 - 1 / config.horizon
    weight = jnp.cumprod(con * discount, 0) / (discount or 1.0)

    offset, scale = normalize.stats(norms.val, config.valnorm)
    val = sg(value.pred()) * scale + offset
    slow_val = imagined.slow_value * scale + offset
    target_val = slow_val if options.slowtar else val
    returns = jax.vmap(imagined_return, (1, 1, 1, None), 1)(
        reward, con * discount, target_val, options.lam
    )

    ret_state = normalize.update(norms.ret, returns, config.retnorm)
    ret_offset, ret_scale = normalize.stats(ret_state, config.retnorm)
    advantage = (returns - target_val[:-1]) / ret_scale
    adv_state = normalize.update(norms.adv, advantage, config.advnorm)
    adv_offset, adv_scale = normalize.stats(adv_state, config.advnorm)
    normed_advantage = sg((advantage - adv_offset) / adv_scale)

    log_prob = sum(dist.log_prob(imagined.action[name])[:-1] for name, dist in policy.items())
    entropies = {name: dist.entropy()[:-1] for name, dist in policy.items()}
    objective = log_prob * normed_advantage + options.actent * sum(entropies.values())

    val_state = normalize.update(norms.val, returns, config.valnorm)
    offset, scale = normalize.stats(val_state, config.valnorm)
    target = (returns - offset) / scale
    targets = (jnp.pad(target, ((0, 1), (0, 0))), imagined.slow_value)
    to_return, to_slow = (loss[:-1] for loss in value.losses(*targets))
    value_loss = to_return + options.slowreg * to_slow

    losses = {
        "policy": (weight[:-1] * -objective).mean(0),
        "value": (weight[:-1] * value_loss).mean(0),
    }
    normed_return = (returns - ret_offset) / ret_scale
    metrics = {
        "adv": advantage.mean(),
        "adv_std": advantage.std(),
        "adv_mag": jnp.abs(advantage).mean(),
        "rew": reward.mean(),
        "con": con.mean(),
        "ret": normed_return.mean(),
        "ret_min": normed_return.min(),
        "ret_max": normed_return.max(),
        "ret_rate": (jnp.abs(normed_return) >= 1.0).mean(),
        "val": val.mean(),
        "tar": target.mean(),
        "weight": weight.mean(),
        "slowval": slow_val.mean(),
    }
    for name, dist in policy.items():
        metrics[f"ent/{name}"] = entropies[name].mean()
        if isinstance(dist, Categorical):
            metrics[f"rand/{name}"] = entropies[name].mean() / max(dist.max_entropy, 1e-8)
    return losses, returns[0], Norms(ret_state, val_state, adv_state), metrics


def replay_value_loss(
    value_head: TwoHotHead,
    slow: TwoHotHead,
    val_norm: NormState,
    features: Float[Array, "b k F"],
    reward: Float[Array, "b k"],
    last: Shaped[Array, "b k"],
    terminal: Shaped[Array, "b k"],
    bootstrap: Float[Array, "b k"],
    config: AgentConfig,
) -> Float[Array, "b k-1"]:
    """Value loss on replayed steps, whose gradient shapes the representation.

    Args:
        value_head: Trained value head.
        slow: Its slow copy.
        val_norm: Value statistics, already updated by this batch.
        features: Of the posterior states.
        reward, last, terminal: Replayed.
        bootstrap: Imagined return from each step.
        config: Lambda, regulariser, horizon.

    Returns:
        Loss of the steps 0 .. k-2; zero where an episode ends.
    """
    options = config.repl_loss
    offset, scale = normalize.stats(val_norm, config.valnorm)
    returns = jax.vmap(replay_return, (0, 0, 0, 0, None, None))(
        reward, last, terminal, bootstrap, 1 - 1 / config.horizon, options.lam
    )
    value = value_head(features[:, :-1])
    slow_target = sg(slow)(sg(features[:, :-1])).pred()
    to_return, to_slow = value.losses((returns - offset) / scale, slow_target)
    keep = 1 - last[:, :-1].astype(jnp.float32)
    return keep * (to_return + options.slowreg * to_slow)

"""Policy and value learning: imagination, its losses, and the value loss on replayed steps."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from reverie.agent import normalize
from reverie.agent.normalize import NormState
from reverie.agent.returns import imagined_return, replay_return
from reverie.config.agent import AgentConfig
from reverie.nn.dists import Categorical, Normal
from reverie.nn.draws import Draws
from reverie.nn.functional import sg
from reverie.spaces import Space
from reverie.world.features import encode_flat
from reverie.world.heads import PolicyHead, TwoHotHead
from reverie.world.model import WorldModel
from reverie.world.rssm import State


class Networks(eqx.Module):
    """All trained parameters."""

    world: WorldModel
    pol: PolicyHead
    val: TwoHotHead


class Norms(NamedTuple):
    """Running statistics of returns, values and advantages."""

    ret: NormState
    val: NormState
    adv: NormState


class Trajectory(NamedTuple):
    """An imagined rollout, time first: H+1 states and the action sampled at each of them."""

    state: State
    action: dict[str, Shaped[Array, "h n ..."]]


Metrics = dict[str, Float[Array, ""]]


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
    start: State,
    act_space: dict[str, Space],
    length: int,
    key: Key[Array, ""],
    draws: Draws,
) -> Trajectory:
    """Rolls the prior forward with sampled actions, without gradients.

    Args:
        nets: World model and policy.
        start: Posterior states [n].
        act_space: Action keys.
        length: Steps H.
        key: For all draws of the rollout.
        draws: Where samples come from.

    Returns:
        H+1 states, the start first, and H+1 actions.
    """
    nets, start = sg(nets), sg(start)
    count = start.deter.shape[0]
    act_key, state_key = jax.random.split(key)
    noise = action_noise(draws, act_key, act_space, (length + 1, count))
    state_noise = draws.uniform(state_key, (length, count, nets.world.dyn.stoch))

    def act(state, noise_t):
        return sample_actions(nets.pol(nets.world.dyn.features(state)), noise_t, draws)

    def step(state, inputs):
        action_noise_t, state_noise_t = inputs
        action = act(state, action_noise_t)
        encoded = encode_flat(action, act_space, squash=False, batch_ndim=1)
        following = nets.world.dyn.imagine_step(state, encoded, state_noise_t, draws)
        return following, (state, action)

    steps = (jax.tree.map(lambda x: x[:-1], noise), state_noise)
    last, (states, actions) = jax.lax.scan(step, start, steps)
    final = act(last, jax.tree.map(lambda x: x[-1], noise))
    append = lambda xs, x: jnp.concatenate([xs, x[None]], 0)  # noqa: E731
    return Trajectory(
        jax.tree.map(append, states, last), jax.tree.map(append, actions, final)
    )


def imagined_loss(
    nets: Networks,
    slow: TwoHotHead,
    norms: Norms,
    features: Float[Array, "h n F"],
    action: dict[str, Shaped[Array, "h n ..."]],
    config: AgentConfig,
) -> tuple[dict[str, Float[Array, " n"]], Float[Array, " n"], Norms, Metrics]:
    """Policy and value loss of imagined rollouts (paper equations 6 to 8).

    Args:
        nets: Trained networks; gradients flow into policy and value only.
        slow: Slow copy of the value head.
        norms: Statistics before this batch.
        features: Of the H+1 imagined states.
        action: Sampled at each of them.
        config: Lambda, entropy scale, normalizers, horizon.

    Returns:
        Losses per rollout, R_0 of each rollout, updated statistics, metrics.
    """
    options, world = config.imag_loss, sg(nets.world)
    fixed = sg(features)
    value = nets.val(features)
    slow_value = sg(slow)(fixed)
    reward = world.rew(fixed).pred()
    discount = 1.0 if config.contdisc else 1 - 1 / config.horizon
    con = world.con(fixed).prob()
    weight = sg(jnp.cumprod(con * discount, 0) / (discount or 1.0))

    offset, scale = normalize.stats(norms.val, config.valnorm)
    val = sg(value.pred()) * scale + offset
    slow_val = slow_value.pred() * scale + offset
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

    policy = nets.pol(features[:-1])
    log_prob = sum(dist.log_prob(sg(action[name][:-1])) for name, dist in policy.items())
    entropies = {name: dist.entropy() for name, dist in policy.items()}
    objective = log_prob * normed_advantage + options.actent * sum(entropies.values())

    val_state = normalize.update(norms.val, returns, config.valnorm)
    offset, scale = normalize.stats(val_state, config.valnorm)
    target = jnp.concatenate([(returns - offset) / scale, jnp.zeros_like(returns[:1])], 0)
    to_return, to_slow = value.losses(target, slow_value.pred())
    value_loss = (to_return + options.slowreg * to_slow)[:-1]

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
        "tar": target[:-1].mean(),
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

"""The optimizer: adaptive gradient clipping, RMS scaling, momentum (a LaProp-like order).

Moments live in one flat vector. Updating 80 tensors one by one costs more in launches than in
arithmetic; one concatenation replaces it.
"""

import collections
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from reverie.agent.training import loss_scale
from reverie.agent.training.loss_scale import LossScale
from reverie.config.sections.agent import OptimizerConfig

Params = TypeVar("Params")
Metrics = dict[str, Float[Array, ""]]


class OptState(NamedTuple):
    """What the optimizer remembers.

    Attributes:
        inner: State of the flat optax chain.
        updates: Number of updates made; skipped ones do not count.
        scale: Loss scale of float16 training; None in the other compute dtypes, whose gradients
            need none.
    """

    inner: optax.OptState
    updates: Int[Array, ""]
    scale: LossScale | None = None


def init(params: object, config: OptimizerConfig, dtype: DTypeLike = jnp.float32) -> OptState:
    """Zero moments for all parameters, and a loss scale if the compute dtype is float16."""
    flat, _ = ravel_pytree(params)
    scale = loss_scale.init() if dtype == jnp.float16 else None
    return OptState(_chain(config).init(flat), jnp.zeros((), jnp.int32), scale)


def scale_loss(loss: Float[Array, ""], state: OptState) -> Float[Array, ""]:
    """The loss whose gradients `update` takes: in float16 times the loss scale."""
    return loss if state.scale is None else loss * state.scale.factor


def update(
    grads: Params, state: OptState, params: Params, config: OptimizerConfig
) -> tuple[Params, OptState, Metrics]:
    """One update.

    In float16 an update whose gradients are not finite is skipped: parameters, moments and the
    number of updates stay, and the loss scale is halved. `opt/grad_overflow` is then 1, except at
    the lowest scale, where no overflow of float16 explains the gradients: they are an error.

    Args:
        grads: Of the loss that `scale_loss` gives.
        state: Of the previous update.
        params: Current parameters.
        config: Learning rate, clipping and moments.

    Returns:
        New parameters, new state, and the metrics `opt/...`; in float16 with `opt/grad_scale` and
        `opt/grad_overflow`.
    """
    if state.scale is None:
        return _step(grads, state, params, config)
    factor = state.scale.factor
    grads = jax.tree.map(lambda g: g / factor, grads)
    finite = jnp.isfinite(ravel_pytree(grads)[0]).all()
    new_params, new, metrics = _step(grads, state, params, config)
    params, inner, updates = loss_scale.keep_if(
        finite, (new_params, new.inner, new.updates), (params, state.inner, state.updates)
    )
    overflow = ~finite & (factor > loss_scale.LOWEST)
    metrics |= {
        "opt/updates": updates.astype(jnp.float32),
        "opt/grad_scale": factor,
        "opt/grad_overflow": overflow.astype(jnp.float32),
    }
    return params, OptState(inner, updates, loss_scale.adjust(state.scale, finite)), metrics


def _step(
    grads: Params, state: OptState, params: Params, config: OptimizerConfig
) -> tuple[Params, OptState, Metrics]:
    """Clipping, moments, weight decay and learning rate; the loss scale stays as it is."""
    raw, _ = ravel_pytree(grads)
    flat_params, unravel = ravel_pytree(params)
    clipped = raw * _clip_factors(grads, params, config.agc)
    scaled, inner = _chain(config).update(clipped, state.inner)
    step = jnp.asarray(scaled)
    if config.wd:
        step += config.wd * flat_params * _kernel_mask(params)
    step *= -learning_rate(state.updates, config)
    # After the barrier nobody reads the old tensors, so that the new ones can take their places.
    flat_params, step = jax.lax.optimization_barrier((flat_params, step))
    new_params = flat_params + step
    size = flat_params.size
    norm = jnp.sqrt(jnp.square(raw).sum())
    metrics = {
        "opt/grad_norm": norm,
        "opt/grad_rms": norm / size**0.5,
        "opt/param_rms": jnp.sqrt(jnp.square(new_params).mean()),
        "opt/update_rms": jnp.sqrt(jnp.square(step).mean()),
        "opt/updates": (state.updates + 1).astype(jnp.float32),
        "opt/param_count": jnp.asarray(size, jnp.float32),
    }
    new = state._replace(inner=inner, updates=state.updates + 1)
    return unravel(new_params), new, metrics


def _clip_factors(grads: Params, params: Params, clip: float) -> Float[Array, " n"]:
    """`clip_factor` of the tensor that each entry of the flat vector belongs to.

    Tensors of one shape share a call: most are small, and one by one each is a launch.
    """
    groups = collections.defaultdict(list)
    pairs = list(zip(jax.tree.leaves(grads), jax.tree.leaves(params), strict=True))
    for i, (grad, _) in enumerate(pairs):
        groups[grad.shape].append(i)
    factors = {}
    for group in groups.values():
        together = [jnp.stack(x) for x in zip(*[pairs[i] for i in group], strict=True)]
        found = jax.vmap(lambda g, p: clip_factor(g, p, clip))(*together)
        factors |= {i: found[n] for n, i in enumerate(group)}
    return jnp.concatenate([jnp.full(g.size, factors[i]) for i, (g, _) in enumerate(pairs)])


def clip_factor(
    grad: Float[Array, "..."], param: Float[Array, "..."], clip: float
) -> Float[Array, ""]:
    """Factor that bounds a tensor's gradient norm to `clip` times its parameter norm.

    Norms are taken over the whole tensor, unlike `optax.adaptive_grad_clip`, and parameter norms
    under 1e-3 count as 1e-3. A `clip` of 0 turns clipping off.
    """
    if not clip:
        return jnp.ones((), jnp.float32)
    upper = clip * jnp.maximum(1e-3, jnp.sqrt(jnp.square(param).sum()))
    return 1 / jnp.maximum(1.0, jnp.sqrt(jnp.square(grad).sum()) / upper)


def learning_rate(updates: Int[Array, ""], config: OptimizerConfig) -> Float[Array, ""]:
    """Rate of the update number `updates`, counted from zero.

    Linear warm-up from 0 over `config.warmup` updates, then constant, or annealed to a tenth
    until update `config.anneal`, linearly or along a cosine.
    """
    span = max(1, config.anneal - config.warmup)
    schedule = {
        "const": optax.constant_schedule(config.lr),
        "linear": optax.linear_schedule(config.lr, 0.1 * config.lr, span),
        "cosine": optax.cosine_decay_schedule(config.lr, span, 0.1),
    }[config.schedule]
    if config.warmup:
        warmup = optax.linear_schedule(0.0, config.lr, config.warmup)
        schedule = optax.join_schedules([warmup, schedule], [config.warmup])
    return jnp.asarray(schedule(updates), jnp.float32)


def _chain(config: OptimizerConfig) -> optax.GradientTransformation:
    steps = [optax.scale_by_rms(config.beta2, config.eps, eps_in_sqrt=False, bias_correction=True)]
    if config.momentum and config.nesterov:
        steps.append(_nesterov(config.beta1))
    elif config.momentum:
        steps.append(optax.ema(config.beta1, debias=True))
    return optax.chain(*steps)


def _nesterov(decay: float) -> optax.GradientTransformation:
    """Debiased momentum that looks one step ahead: `decay * momentum + (1 - decay) * update`."""
    ema = optax.ema(decay, debias=True)

    def update_fn(updates, state, params=None):
        momentum, state = ema.update(updates, state, params)
        ahead = jax.tree.map(lambda m, u: decay * m + (1 - decay) * u, momentum, updates)
        return ahead, state

    return optax.GradientTransformation(ema.init, update_fn)


def _kernel_mask(params) -> Float[Array, " n"]:
    """1 where the flat vector holds a kernel entry, 0 for biases and norm scales."""

    def leaf(path, x):
        is_kernel = getattr(path[-1], "name", "") == "kernel"
        return jnp.full(x.shape, float(is_kernel))

    return ravel_pytree(jax.tree_util.tree_map_with_path(leaf, params))[0]

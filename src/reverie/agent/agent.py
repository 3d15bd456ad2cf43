"""The DreamerV3 agent as pure functions: state in, state out, explicit keys."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from reverie.agent import normalize, optimizer
from reverie.agent.action_mask import masked
from reverie.agent.actor_critic import Metrics, Norms, imagined_loss, replay_value_loss
from reverie.agent.imagination import action_noise, imagine, sample_actions
from reverie.agent.loss_scale import keep_if
from reverie.agent.networks import Networks
from reverie.agent.optimizer import OptState
from reverie.agent.precision import cast_floats
from reverie.agent.report import open_loop
from reverie.agent.world_loss import Sequences, flat_samples, observe, world_loss
from reverie.config import AgentConfig
from reverie.nn.draws import Draws, RandomDraws
from reverie.nn.functional import sg, where_mask
from reverie.spaces import LATENT_PREFIX, Space
from reverie.world.features import encode_flat
from reverie.world.heads import TwoHotHead
from reverie.world.rssm import State

REPORT_SEQUENCES = 6
"""Sequences that a report shows."""

Batch = dict[str, Shaped[Array, "b ..."]]
"""A replayed batch [b, K + T, ...]; latent keys hold only the first K rows, `consec` is [b]."""


class AgentState(NamedTuple):
    """Everything that training changes."""

    params: Networks
    slow: TwoHotHead
    norms: Norms
    opt: OptState


class Carry(NamedTuple):
    """What goes from one step (acting) or one chunk (training) to the next."""

    state: State
    prevact: dict[str, Shaped[Array, "b ..."]]


class TrainOut(NamedTuple):
    """What an update gives back to replay, for its T trained steps.

    Attributes:
        latents: `latent/deter` [b, t, D] in the compute dtype, `latent/stoch` [b, t, S].
        priority: World-model loss of every step.
    """

    latents: dict[str, Shaped[Array, "b t ..."]]
    priority: Float[Array, "b t"]


class LossOut(NamedTuple):
    """Side results of the loss."""

    losses: dict[str, Float[Array, "b t"]]
    norms: Norms
    carry: Carry
    out: TrainOut
    metrics: Metrics


class Agent:
    """A static description of the agent; holds no arrays.

    Args:
        config: Sizes, scales and options.
        obs_space: Observation keys, without reward and flags.
        act_space: Action keys.
        context: Replay-context steps K in front of every training batch.
        dtype: Compute dtype, `float32`, `bfloat16` or `float16`, which trains with a dynamic loss
            scale. Parameters and losses stay float32.
        draws: Where samples come from; fixed ones make the agent deterministic in tests.
    """

    def __init__(
        self,
        config: AgentConfig,
        obs_space: dict[str, Space],
        act_space: dict[str, Space],
        *,
        context: int = 1,
        dtype: str = "float32",
        draws: Draws | None = None,
    ):
        if not obs_space or not act_space:
            raise ValueError(
                "The agent needs at least one observation and one action key, "
                f"got observations {sorted(obs_space)} and actions {sorted(act_space)}."
            )
        self.config = config
        self.obs_space = dict(sorted(obs_space.items()))
        self.act_space = dict(sorted(act_space.items()))
        self.context = context
        self.dtype = jnp.dtype(dtype)
        self.draws = draws or RandomDraws()

    @property
    def latent_spaces(self) -> dict[str, Space]:
        """Spaces of the latents that acting and training write into replay."""
        dyn = self.config.dyn
        index = "uint8" if dyn.classes <= 256 else "uint16"
        deter = Space("continuous", (dyn.deter,), self.dtype.name)
        stoch = Space("discrete", (dyn.stoch,), index, (dyn.classes,) * dyn.stoch)
        return {f"{LATENT_PREFIX}deter": deter, f"{LATENT_PREFIX}stoch": stoch}

    def init(self, key: Key[Array, ""]) -> AgentState:
        """Initial parameters and statistics."""
        params = Networks(self.config, self.obs_space, self.act_space, key=key)
        norms = Norms(normalize.init(), normalize.init(), normalize.init())
        slow = jax.tree.map(jnp.copy, params.val)
        return AgentState(params, slow, norms, optimizer.init(params, self.config.opt, self.dtype))

    def init_carry(self, batch: int) -> Carry:
        """The carry before the first step of `batch` rows, for acting and for training."""
        dyn = self.config.dyn
        state = State(
            jnp.zeros((batch, dyn.deter), self.dtype), jnp.full((batch, dyn.stoch), -1, jnp.int32)
        )
        prevact = {k: jnp.asarray(s.zeros(batch)) for k, s in self.act_space.items()}
        return Carry(state, prevact)

    def policy(
        self,
        params: Networks,
        carry: Carry,
        obs: dict[str, Shaped[Array, "n ..."]],
        key: Key[Array, ""],
        mode: Literal["train", "eval"] = "train",
    ) -> tuple[Carry, dict[str, Shaped[Array, "n ..."]], dict[str, Shaped[Array, "n ..."]]]:
        """Acts for one step of n environments.

        Args:
            params: Networks.
            carry: Of the previous step.
            obs: Observation keys and `is_first`.
            key: For the draws of this step.
            mode: `train` samples actions; `eval` takes the most likely one. The latent state is
                sampled in both.

        Returns:
            The next carry, the action of each key, and the latents for replay.
        """
        dyn, reset = params.world.dyn, obs["is_first"]
        params = cast_floats(params, self.dtype)
        state_key, act_key = jax.random.split(key)
        tokens = params.world.enc({k: obs[k] for k in self.obs_space}, self.dtype)
        action = encode_flat(carry.prevact, self.act_space, squash=False, batch_ndim=1)
        noise = self.draws.uniform(state_key, (len(reset), 1, dyn.stoch))
        add_time = lambda x: x[:, None]  # noqa: E731
        state, _ = params.world.dyn.observe(
            carry.state, add_time(tokens), add_time(action), add_time(reset), noise, self.draws
        )
        masks = {key: obs[name] for key, name in params.world.masks}
        dists = masked(params.pol(params.world.dyn.features(state)), masks)
        if mode == "eval":
            action = {k: dist.mode() for k, dist in dists.items()}
        else:
            noise = action_noise(self.draws, act_key, self.act_space, (len(reset),))
            action = sample_actions(dists, noise, self.draws)
        action = {k: v.astype(self.act_space[k].dtype) for k, v in action.items()}
        return Carry(state, action), action, self._latents(state)

    def train(
        self, state: AgentState, carry: Carry, batch: Batch, key: Key[Array, ""]
    ) -> tuple[AgentState, Carry, TrainOut, Metrics]:
        """One update of all parameters on a batch of sequences.

        In float16 an update whose gradients overflow changes nothing but the loss scale, see
        `optimizer.update`.

        Args:
            state: Agent state.
            carry: Of the previous consecutive chunk; unused rows where `batch['consec']` is 0.
            batch: K + T replayed rows, see `Batch`.
            key: For all draws of the update.

        Returns:
            New state, carry for the next chunk, what goes back to replay, and scalar metrics.
        """

        def objective(params):
            loss, aux = self.loss(params, state.slow, state.norms, carry, batch, key)
            return optimizer.scale_loss(loss, state.opt), (loss, aux)

        grads, (loss, aux) = jax.grad(objective, has_aux=True)(state.params)
        params, opt, metrics = optimizer.update(grads, state.opt, state.params, self.config.opt)
        rate, every = self.config.slowvalue.rate, self.config.slowvalue.every
        mix = jnp.where(opt.updates % every == 0, rate, 0.0) if every > 1 else rate
        slow = jax.tree.map(lambda s, v: (1 - mix) * s + mix * v, state.slow, params.val)
        norms = aux.norms
        if opt.scale is not None:
            made = opt.updates > state.opt.updates
            slow, norms = keep_if(made, (slow, norms), (state.slow, state.norms))
        metrics |= aux.metrics | {"opt/loss": loss}
        metrics |= {f"loss/{k}": v.mean() for k, v in aux.losses.items()}
        return AgentState(params, slow, norms, opt), aux.carry, aux.out, metrics

    def report(
        self, state: AgentState, carry: Carry, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Carry, dict[str, Shaped[Array, "..."]]]:
        """Losses and open-loop predictions on replayed sequences, without an update.

        Args:
            state: Agent state.
            carry: As in `train`.
            batch: As in `train`; predictions show its first 6 sequences.
            key: For all draws.

        Returns:
            The carry for the next chunk, and per name: `loss/<term>` scalars;
            `openloop/<key>/true` and `/pred`, whose first T // 2 steps were observed: uint8
            images [b, t, h, w, c], and of other keys [b, t, n].
        """
        loss_key, open_key = jax.random.split(key)
        _, aux = self.loss(state.params, state.slow, state.norms, carry, batch, loss_key)
        results = {f"loss/{k}": v.mean() for k, v in aux.losses.items()} | aux.metrics
        if not self.config.report:
            return aux.carry, results
        start, data = self.align(carry, batch)
        few = lambda tree: jax.tree.map(lambda x: x[:REPORT_SEQUENCES], tree)  # noqa: E731
        world = cast_floats(state.params.world, self.dtype)
        shown = open_loop(
            world, few(start.state), few(data), self.act_space, open_key, self.draws, self.dtype
        )
        for name, pred in shown.pred.items():
            true = shown.true[name]
            if self.obs_space[name].kind == "image":
                pred = jnp.clip(pred * 255, 0, 255).astype(jnp.uint8)
            else:
                flat = lambda x: x.reshape(*x.shape[:2], -1).astype(jnp.float32)  # noqa: E731
                true, pred = flat(true), flat(pred)
            results[f"openloop/{name}/true"] = true
            results[f"openloop/{name}/pred"] = pred
        return aux.carry, results

    def loss(
        self,
        params: Networks,
        slow: TwoHotHead,
        norms: Norms,
        carry: Carry,
        batch: Batch,
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], LossOut]:
        """Total loss, `sum_i scale_i * mean(loss_i)`, and its side results."""
        nets = cast_floats(params, self.dtype)
        slow = cast_floats(slow, self.dtype)
        observe_key, imagine_key = jax.random.split(key)
        carry, data = self.align(carry, batch)
        last, post = observe(
            nets.world, carry.state, data, self.act_space, observe_key, self.draws, self.dtype
        )
        losses, metrics = world_loss(
            nets.world,
            post,
            data,
            horizon=self.config.horizon,
            contdisc=self.config.contdisc,
            reward_grad=self.config.reward_grad,
        )
        scaled = [self._scale(k) * v for k, v in losses.items()]
        priority = sg(jnp.stack(scaled).sum(0))
        features = jnp.concatenate([post.deter, flat_samples(post)], -1)
        more, norms, more_metrics = self._behavior(
            nets, slow, norms, post, features, data, imagine_key
        )
        losses |= more
        total = jnp.stack([self._scale(k) * v.mean() for k, v in losses.items()]).sum()
        final = {k: batch[k][:, -1] for k in self.act_space}
        out = TrainOut(self._latents(State(post.deter, post.stoch)), priority)
        aux = LossOut(losses, norms, Carry(last, final), out, metrics | more_metrics)
        return total, sg(aux)

    def _behavior(self, nets, slow, norms, post, features, data, key):
        """Losses that train policy and value, from the last `imag_last` steps (0 means all)."""
        config = self.config
        batch, length = data.reward.shape
        last = min(config.imag_last or length, length)
        tail = lambda x: x[:, -last:]  # noqa: E731
        flat = lambda x: tail(x).reshape(batch * last, *x.shape[2:])  # noqa: E731
        start = State(flat(post.deter), flat(post.stoch))
        rollout = imagine(nets, slow, start, self.act_space, config.imag_length, key, self.draws)
        losses, bootstrap, norms, metrics = imagined_loss(
            nets, norms, sg(rollout), config, flat(features) if config.ac_grads else None
        )
        losses = {k: v.reshape(batch, last) for k, v in losses.items()}
        if config.repval_loss:
            losses["repval"] = replay_value_loss(
                nets.val,
                slow,
                norms.val,
                tail(features) if config.repval_grad else sg(tail(features)),
                tail(data.reward),
                tail(data.is_last),
                tail(data.is_terminal),
                bootstrap.reshape(batch, last),
                config,
            )
        return losses, norms, metrics

    def align(self, carry: Carry, batch: Batch) -> tuple[Carry, Sequences]:
        """Cuts the replay context off and pairs each step with the action before it.

        The first chunk of a stored sequence starts from the latents stored with its context, a
        later one from the carry of the chunk before it.
        """
        k = self.context
        if k:
            first = batch["consec"] == 0
            stored = State(
                batch[f"{LATENT_PREFIX}deter"][:, k - 1].astype(self.dtype),
                batch[f"{LATENT_PREFIX}stoch"][:, k - 1].astype(jnp.int32),
            )
            state = jax.tree.map(lambda s, c: where_mask(first, s, c), stored, carry.state)
            prevact = {key: batch[key][:, k - 1 : -1] for key in self.act_space}
        else:
            state = carry.state
            prevact = {
                key: jnp.concatenate([carry.prevact[key][:, None], batch[key][:, :-1]], 1)
                for key in self.act_space
            }
        cut = lambda key: batch[key][:, k:]  # noqa: E731
        obs = {key: cut(key) for key in self.obs_space}
        flags = {key: cut(key) for key in ("reward", "is_first", "is_last", "is_terminal")}
        return Carry(state, carry.prevact), Sequences(obs, prevact, **flags)

    def _scale(self, name: str) -> float:
        scales = self.config.loss_scales
        return scales.rec if name.startswith("rec/") else getattr(scales, name)

    def _latents(self, state: State) -> dict[str, Shaped[Array, "..."]]:
        spaces = self.latent_spaces
        values = {f"{LATENT_PREFIX}deter": state.deter, f"{LATENT_PREFIX}stoch": state.stoch}
        return {k: v.astype(spaces[k].dtype) for k, v in values.items()}

"""The DreamerV3 agent as pure functions: state in, state out, explicit keys."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

from reverie.agent.action_mask import masked
from reverie.agent.imagination import action_noise, sample_actions
from reverie.agent.networks import Networks, Spec
from reverie.agent.objectives.base import Metrics
from reverie.agent.objectives.registry import check_heads, loss_scales, make_objectives
from reverie.agent.precision import cast_floats
from reverie.agent.predictions.expect import expectations
from reverie.agent.predictions.preview import predictions
from reverie.agent.sequences import Sequences, observe
from reverie.agent.training import optimizer
from reverie.agent.training.loss_scale import keep_if
from reverie.agent.training.optimizer import OptState
from reverie.config.sections.agent import AgentConfig
from reverie.nn.draws import Draws
from reverie.nn.functional import sg, where_mask
from reverie.nn.initial import drawn_together
from reverie.spaces import LATENT_PREFIX, Space
from reverie.world.features import encode_flat
from reverie.world.rssm import State

Batch = dict[str, Shaped[Array, "b ..."]]
"""A replayed batch [b, K + T, ...]; latent keys hold only the first K rows, `consec` is [b]."""


class AgentState(NamedTuple):
    """Everything that training changes; `states` holds that of every objective by its name."""

    params: Networks
    states: dict[str, Any]
    opt: OptState


class Carry(NamedTuple):
    """What goes from one step (acting) or one chunk (training) to the next."""

    state: State
    prevact: dict[str, Shaped[Array, "b ..."]]


class TrainOut(NamedTuple):
    """What an update gives back to replay, for its T trained steps.

    Attributes:
        latents: `latent/deter` [b, t, D] in the compute dtype, `latent/stoch` [b, t, S].
        priority: Sum of the losses of every step that are the model's.
    """

    latents: dict[str, Shaped[Array, "b t ..."]]
    priority: Float[Array, "b t"]


class LossOut(NamedTuple):
    """Side results of the loss."""

    losses: dict[str, Float[Array, "b _"]]
    states: dict[str, Any]
    carry: Carry
    out: TrainOut
    metrics: Metrics


class Agent:
    """A static description: an encoder, dynamics and a list of objectives; holds no arrays.

    Args:
        config: Sizes, scales and options.
        obs_space: Observation keys, without reward and flags.
        act_space: Action keys.
        context: Replay-context steps K in front of every training batch.
        dtype: Compute dtype, `float32`, `bfloat16` or `float16`, which trains with a dynamic loss
            scale. Parameters and losses stay float32.
        draws: Where samples come from; fixed ones make the agent deterministic in tests.
        remat: Whether updates compute the encoder twice to need less memory, see `observe`.

    Raises:
        ValueError: If there is nothing to observe or to do, a mask fits no action, or (as a
            ConfigError) the objectives do not fit together or to the scales of their losses.
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
        remat: bool = False,
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
        self.draws = draws or Draws()
        self.remat = remat
        self.spec = Spec(config, self.obs_space, self.act_space, self.draws, self.dtype)
        self.masks = self.spec.masks
        self.objectives = make_objectives(self.spec)
        self.scales = loss_scales(self.objectives, config)

    @property
    def latent_spaces(self) -> dict[str, Space]:
        """Spaces of the latents that acting and training write into replay."""
        dyn = self.config.dyn
        # One number more than there are classes: the largest is no class.
        index = "uint8" if dyn.classes < 256 else "uint16"
        deter = Space("continuous", (dyn.deter,), self.dtype.name)
        stoch = Space("discrete", (dyn.stoch,), index, (dyn.classes,) * dyn.stoch)
        return {f"{LATENT_PREFIX}deter": deter, f"{LATENT_PREFIX}stoch": stoch}

    def init(self, key: Key[Array, ""]) -> AgentState:
        """Initial parameters and statistics."""
        heads = {x.name: x.heads for x in self.objectives}
        params = drawn_together(lambda: Networks(self.spec, heads, key=key), key)
        check_heads(self.objectives, params.heads)
        states = {x.name: x.init(params) for x in self.objectives}
        return AgentState(params, states, optimizer.init(params, self.config.opt, self.dtype))

    def init_carry(self, batch: int) -> Carry:
        """The carry before the first step of `batch` rows, for acting and for training.

        It comes from the host: on a device each of its arrays would be a program to compile.
        """
        dyn = self.config.dyn
        deter = np.zeros((batch, dyn.deter), self.dtype)
        stoch = np.full((batch, dyn.stoch), -1, np.int32)
        prevact = {k: s.zeros(batch) for k, s in self.act_space.items()}
        deter, stoch, prevact = jax.device_put((deter, stoch, prevact))
        return Carry(State(deter, stoch), prevact)

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
            key: For all draws.
            mode: `train` samples actions; `eval` takes the most likely one. The latent state is
                sampled in both.

        Returns:
            The next carry, the action of each key, and the latents for replay.
        """
        params = cast_floats(params, self.dtype)
        dyn, reset = params.dyn, obs["is_first"]
        state_key, act_key = jax.random.split(key)
        tokens = params.enc({k: obs[k] for k in self.obs_space}, self.dtype)
        action = encode_flat(carry.prevact, self.act_space, squash=False, batch_ndim=1)
        noise = self.draws.uniform(state_key, (len(reset), 1, dyn.stoch))
        add_time = lambda x: x[:, None]  # noqa: E731
        state, _ = dyn.observe(
            carry.state, add_time(tokens), add_time(action), add_time(reset), noise, self.draws
        )
        masks = {key: obs[name] for key, name in self.masks.items()}
        dists = masked(params.heads["pol"](dyn.features(state)), masks)
        if mode == "eval":
            action = {k: dist.mode() for k, dist in dists.items()}
        else:
            noise = action_noise(self.draws, act_key, self.act_space, (len(reset),))
            action = sample_actions(dists, noise, self.draws)
        action = {k: v.astype(self.act_space[k].dtype) for k, v in action.items()}
        return Carry(state, action), action, self._latents(state)

    def expect(
        self, params: Networks, latents: dict[str, Shaped[Array, "n ..."]]
    ) -> dict[str, Float[Array, " n"]]:
        """What the agent expects at latents that `policy` gave, see `expectations`."""
        nets = cast_floats(params, self.dtype)
        deter, stoch = (latents[f"{LATENT_PREFIX}{name}"] for name in State._fields)
        state = State(deter.astype(self.dtype), stoch.astype(jnp.int32))
        return expectations(nets, nets.dyn.features(state), self.config)

    def train(
        self, state: AgentState, carry: Carry, batch: Batch, key: Key[Array, ""]
    ) -> tuple[AgentState, Carry, TrainOut, Metrics]:
        """One update of all parameters on a batch of sequences.

        In float16 an update whose gradients overflow changes nothing but the loss scale, see
        `optimizer.update`.

        Args:
            state: Of the agent.
            carry: Of the previous consecutive chunk; unused rows where `batch['consec']` is 0.
            batch: K + T replayed rows, see `Batch`.
            key: For all draws.

        Returns:
            New state, carry for the next chunk, what goes back to replay, and scalar metrics.
        """

        def scaled(params):
            loss, aux = self.loss(params, state.states, carry, batch, key)
            return optimizer.scale_loss(loss, state.opt), (loss, aux)

        grads, (loss, aux) = jax.grad(scaled, has_aux=True)(state.params)
        params, opt, metrics = optimizer.update(grads, state.opt, state.params, self.config.opt)
        states = {
            x.name: x.settle(aux.states[x.name], params, opt.updates) for x in self.objectives
        }
        if opt.scale is not None:
            states = keep_if(opt.updates > state.opt.updates, states, state.states)
        metrics = aux.metrics | metrics | {"opt/loss": loss}
        metrics |= {f"loss/{k}": v.mean() for k, v in aux.losses.items()}
        return AgentState(params, states, opt), aux.carry, aux.out, metrics

    def report(
        self, state: AgentState, carry: Carry, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Carry, dict[str, Shaped[Array, "..."]]]:
        """Losses and open-loop predictions on replayed sequences, as `train` but for the update.

        Returns:
            The carry for the next chunk, and per name: metrics such as `loss/<term>`, and where
            there is a decoder what `predictions` gives.
        """
        loss_key, open_key = jax.random.split(key)
        _, aux = self.loss(state.params, state.states, carry, batch, loss_key)
        results = aux.metrics | {f"loss/{k}": v.mean() for k, v in aux.losses.items()}
        if self.config.report and {"dec", "rew", "con", "val", "pol"} <= set(state.params.heads):
            nets = cast_floats(state.params, self.dtype)
            start, data = self.align(carry, batch)
            results |= predictions(self.spec, nets, start.state, data, open_key)
        return aux.carry, results

    def loss(
        self,
        params: Networks,
        states: dict[str, Any],
        carry: Carry,
        batch: Batch,
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], LossOut]:
        """Total loss, `sum_i scale_i * mean(loss_i)`, and its side results."""
        nets = cast_floats(params, self.dtype)
        observe_key, *keys = jax.random.split(key, 1 + len(self.objectives))
        carry, data = self.align(carry, batch)
        last, seen = observe(self.spec, nets, carry.state, data, observe_key, self.remat)
        found = {
            x.name: x.loss(nets, states[x.name], seen, k)
            for x, k in zip(self.objectives, keys, strict=True)
        }
        losses = {k: v for loss in found.values() for k, v in loss.losses.items()}
        total = jnp.stack([self.scales[k] * v.mean() for k, v in losses.items()]).sum()
        model = [self.scales[k] * losses[k] for x in self.objectives if x.model for k in x.scales]
        out = TrainOut(
            self._latents(State(seen.post.deter, seen.post.stoch)),
            sum(model, jnp.zeros_like(data.reward)),
        )
        aux = LossOut(
            losses,
            {name: loss.state for name, loss in found.items()},
            Carry(last, {k: batch[k][:, -1] for k in self.act_space}),
            out,
            {k: v for loss in found.values() for k, v in loss.metrics.items()},
        )
        return total, sg(aux)

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

    def _latents(self, state: State) -> dict[str, Shaped[Array, "..."]]:
        spaces = self.latent_spaces
        values = {f"{LATENT_PREFIX}deter": state.deter, f"{LATENT_PREFIX}stoch": state.stoch}
        return {k: v.astype(spaces[k].dtype) for k, v in values.items()}

"""The world model of one checkpoint: imagine a step, observe one, or tell of a state."""

import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from reverie.agent.action_mask import masked, predicted_masks
from reverie.agent.agent import Agent
from reverie.agent.imagination import action_noise, sample_actions
from reverie.agent.networks import Networks
from reverie.agent.precision import cast_floats
from reverie.agent.predictions.expect import expectations
from reverie.agent.sequences import Sequences, observe
from reverie.config.checks import check_spaces
from reverie.config.schema import Config
from reverie.learner.checkpoints.checkpoint import Checkpointer, CheckpointError
from reverie.learner.compilation.cache import configure_cache
from reverie.learner.compilation.compiler import Compiler
from reverie.learner.compilation.programs import Program, specs, state_shapes
from reverie.learner.placement.devices import choose
from reverie.learner.policy import read_params
from reverie.nn.dists import Categorical
from reverie.nn.functional import split_widths
from reverie.run.load import OpenedRun
from reverie.run.parts import build
from reverie.spaces import Space
from reverie.view.dream.said import Arrays, Chance, Said, Seen
from reverie.view.dream.truth import Step
from reverie.world.features import encode_flat
from reverie.world.rssm import State, entropy, kl

_STATE, _ACT = 0, 1
"""What the noise of a step is for."""


class Model:
    """An agent and its parameters of an environment step, on one device, for one sequence."""

    def __init__(self, agent: Agent, root: str | os.PathLike[str], device: Any, fast_compile: bool):
        self.agent, self.device = agent, device
        self.reload(root)
        self._place = SingleDeviceSharding(device)
        self._shapes = state_shapes(agent).params
        self.decodes = "dec" in self._shapes.heads
        self._compiler = Compiler()
        how = device.platform, fast_compile
        self._imagine = Program("imagine", self._imagined, self._imagine_inputs, *how)
        self._observe = Program("observe", self._observed, self._observe_inputs, *how)
        self._tell = Program("tell", self._told, self._imagine_inputs, *how)

    def reload(self, root: str | os.PathLike[str]) -> None:
        """Takes the parameters of the newest checkpoint in a run folder of this agent."""
        params, saved = read_params(root, self.agent, self.device)
        self._leaves, self.step = jax.device_put(list(params.leaves), self.device), saved.step

    def prepare(self, wait: bool = False) -> None:
        """Starts to compile, in threads, or waits until that is done."""
        obs = {key: space.zeros(1) for key, space in self.agent.obs_space.items()}
        compile = self._compiler.get if wait else self._compiler.prepare
        compile(self._observe, obs)
        compile(self._imagine, {k: x[None] for k, x in self.idle().items()})

    def initial(self) -> State:
        """The state before an episode, on the host."""
        return jax.device_get(self.agent.init_carry(1).state)

    def idle(self) -> Arrays:
        """The action before an episode."""
        return {key: space.zeros() for key, space in self.agent.act_space.items()}

    def imagine(
        self, state: State, action: Mapping[str, np.ndarray], chance: Chance
    ) -> tuple[State, Said]:
        """One step of the prior after an action, without batch axes."""
        act = {key: value[None] for key, value in action.items()}
        program = self._compiler.get(self._imagine, act)
        return self._host(program(self._leaves, state, act, *_numbers(chance)))

    def observe(
        self,
        state: State,
        action: Mapping[str, np.ndarray],
        step: Step,
        chance: Chance,
        dreamt: State | None = None,
    ) -> tuple[State, Said, Seen]:
        """One step of the posterior, without batch axes.

        Args:
            state, action: Those that led to the observation.
            step, chance: Of the observation.
            dreamt: A state whose prediction is compared with the observation.
        """
        seen = {key: np.asarray(step.obs[key])[None] for key in self.agent.obs_space}
        act = {key: value[None] for key, value in action.items()}
        program = self._compiler.get(self._observe, seen)
        other = state if dreamt is None else dreamt
        first = np.array([[step.is_first]])
        return self._host(program(self._leaves, state, act, seen, first, other, *_numbers(chance)))

    def tell(self, state: State, chance: Chance) -> Said:
        """What the heads say about a state."""
        act = {key: value[None] for key, value in self.idle().items()}
        program = self._compiler.get(self._tell, act)
        _, said = self._host(program(self._leaves, state, act, *_numbers(chance)))
        return said

    def _host(self, results: Any) -> Any:
        state, *rest = jax.device_get(results)
        return (state, *jax.tree.map(lambda x: np.array(x[0]), rest))

    def _imagined(self, leaves, state: State, action, seed, step):
        nets = self._networks(leaves)
        keys = _keys(seed, step)
        encoded = encode_flat(action, self.agent.act_space, squash=False, batch_ndim=1)
        noise = self.agent.draws.uniform(keys[_STATE], (1, nets.dyn.stoch))
        carry = nets.dyn.imagine_step(
            nets.dyn.imagine_start(state), encoded, noise, self.agent.draws
        )
        return carry.state, self._say(nets, carry.state, keys[_ACT])

    def _told(self, leaves, state: State, action, seed, step):
        return state, self._say(self._networks(leaves), state, _keys(seed, step)[_ACT])

    def _observed(self, leaves, state: State, action, obs, first, dreamt: State, seed, step):
        agent, nets = self.agent, self._networks(leaves)
        keys = _keys(seed, step)
        add_time = lambda tree: jax.tree.map(lambda x: x[:, None], tree)  # noqa: E731
        nothing = jnp.zeros((1, 1), bool)
        data = Sequences(
            add_time(obs), add_time(action), nothing.astype(jnp.float32), first, nothing, nothing
        )
        last, seen = observe(agent.spec, nets, state, data, keys[_STATE])
        surprise = kl(seen.post.logits[:, 0], nets.dyn.prior(last.deter))
        both = jax.tree.map(lambda *x: jnp.concatenate(x, 0), last, dreamt)
        twice = {key: jnp.concatenate([x, x], 0) for key, x in obs.items()}
        losses = {k: dist.loss(twice[k]) for k, dist in _decode(nets, both).items()}
        errors = [{k: x[i : i + 1] for k, x in losses.items()} for i in range(2)]
        return last, self._say(nets, last, keys[_ACT]), Seen(surprise, *errors)

    def _say(self, nets: Networks, state: State, key) -> Said:
        """What the heads say about a state [1]."""
        agent, features = self.agent, nets.dyn.features(state)
        valid = predicted_masks(nets, state, agent.act_space, agent.masks)
        dists = masked(nets.heads["pol"](features), valid)
        noise = action_noise(agent.draws, key, agent.act_space, (1,))
        expected = expectations(nets, features, agent.config)
        obs = {k: x.pred() for k, x in _decode(nets, state).items()}
        return Said(
            {k: _as_stored(x, agent.obs_space[k]) for k, x in obs.items()},
            expected["reward"],
            jnp.minimum(expected["continue"], 1.0),
            expected["value"],
            entropy(nets.dyn.prior(state.deter)),
            self._typed(sample_actions(dists, noise, agent.draws)),
            self._typed({k: x.mode() for k, x in dists.items()}),
            {k: _summary(x) for k, x in dists.items()},
            valid,
        )

    def _typed(self, actions):
        return {k: x.astype(self.agent.act_space[k].dtype) for k, x in actions.items()}

    def _networks(self, leaves) -> Networks:
        nets = jax.tree.unflatten(jax.tree.structure(self._shapes), leaves)
        return cast_floats(nets, self.agent.dtype)

    def _imagine_inputs(self, action):
        return self._inputs(dict(action))

    def _observe_inputs(self, seen):
        act = {k: space.zeros(1) for k, space in self.agent.act_space.items()}
        return self._inputs(act, dict(seen), np.zeros((1, 1), bool), self.initial())

    def _inputs(self, *given):
        inputs = jax.tree.leaves(self._shapes), self.initial(), *given
        return (*specs(inputs, self._place), *_numbers(Chance(0, 0)))


def load_model(run: OpenedRun) -> Model:
    """The model of the newest valid checkpoint of a run, without its optimizer.

    Raises:
        CheckpointError: If there is none, or it is of an agent with other settings.
        ConfigError: If its networks are code that must not be imported.
    """
    config, (obs_space, act_space) = run.config, run.converter.spaces
    if config.random_agent:
        raise CheckpointError(
            "This run has random_agent true: it acts at random and learns nothing, so there is no "
            "world model to dream with."
        )
    newest_step(config)
    _use_cpu(config.jax.cache_dir)
    check_spaces({**obs_space, **act_space}, config.agent)
    config = build.for_acting(config, obs_space, act_space)
    device = choose(None)
    agent = build.agent(config, obs_space, act_space, device.platform)
    return Model(agent, config.logdir, device, config.jax.fast_compile)


def newest_step(config: Config) -> int:
    """Environment steps of the newest checkpoint in a run folder, which may be damaged.

    Raises:
        CheckpointError: If there is none.
    """
    steps = Checkpointer(pathlib.Path(config.logdir) / "checkpoints").steps()
    if not steps:
        raise CheckpointError(
            "This run has no checkpoint yet; a running one writes the first after "
            f"run.save_every seconds ({config.run.save_every:g})."
        )
    return steps[-1]


@functools.cache
def _use_cpu(cache_dir: str) -> None:
    """Leaves accelerators to the training that may run on them, and keeps compiled programs."""
    if "JAX_PLATFORMS" not in os.environ:
        jax.config.update("jax_platforms", "cpu")
    configure_cache(cache_dir)


def _keys(seed, step):
    """One key per use of noise in a step."""
    return jax.random.split(jax.random.fold_in(jax.random.key(seed), step), 2)


def _numbers(chance: Chance):
    # Of fixed types, so that nothing is compiled anew.
    return np.uint32(chance.seed), np.uint32(chance.step)


def _decode(nets: Networks, state: State) -> dict[str, Any]:
    if "dec" not in nets.heads:
        return {}
    onehot = nets.dyn.flat_onehot(state.stoch, state.deter.dtype)
    return nets.heads["dec"](state.deter, onehot)


def _as_stored(x, space: Space):
    """A prediction with the values of observations."""
    if space.kind == "image":
        return jnp.clip(x * 255, 0, 255).astype(jnp.uint8)
    return x.astype(jnp.float32)


def _summary(dist):
    """Probabilities of a categorical's classes, or the mean of a normal."""
    if not isinstance(dist, Categorical):
        return dist.mean
    logits = dist.logits if dist.valid is None else jnp.where(dist.valid, dist.logits, -jnp.inf)
    return jnp.concatenate([jax.nn.softmax(x, -1) for x in split_widths(logits, dist.classes)], -1)

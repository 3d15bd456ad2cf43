"""Runs in one process share the programs of equal agents: each is traced and compiled once.

That is most of the time of a short run, for an agent that dozens of tests have had before; all else
of it stays as it is. Agents with code of a test are never shared.

All of them compile as with `jax.fast_compile`: what loads the folder of a run, or goes on with it,
would else compile its program a second time, with optimizations. Processes that tests start do.
"""

import contextlib
import threading

import jax
import pytest

from reverie.agent.agent import Agent
from reverie.learner import learner, policy
from reverie.learner.compilation.programs import Program, state_shapes
from reverie.run.parts import build

agents, lowered, shapes = {}, {}, {}


class Shared:
    """A traced program that is compiled once for each folder of compiled programs."""

    def __init__(self, traced):
        self._traced, self._compiled, self._lock = traced, {}, threading.Lock()

    def __getattr__(self, name):
        return getattr(self._traced, name)

    def compile(self):
        folder = jax.config.values["jax_compilation_cache_dir"]
        with self._lock:
            if folder not in self._compiled:
                self._compiled[folder] = self._traced.compile()
            return self._compiled[folder]


@contextlib.contextmanager
def shared_programs():
    """While entered, programs of equal agents that take equal inputs are lowered once."""
    make, init, lower = build.agent, Program.__init__, Program.lower

    def agent(config, obs_space, act_space, platform):
        made = make(config, obs_space, act_space, platform)
        options, parts = made.config.model_dump_json(), made.config
        if ":" in "".join([*parts.objectives, parts.enc.typ, parts.dec.typ]):
            return made  # Code of a test, which may be other code in the next one.
        spaces = repr([made.obs_space, made.act_space])
        return agents.setdefault((options, spaces, made.context, made.dtype, made.remat), made)

    def shapes_once(agent):
        if agent not in agents.values():
            return state_shapes(agent)
        if id(agent) not in shapes:
            shapes[id(agent)] = state_shapes(agent)
        return shapes[id(agent)]

    def remember(program, name, function, inputs, platform, fast=False, **options):
        # A method of the agent, or of what has it, or a function around it.
        cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
        held = [getattr(function, "__self__", None), *cells]
        found = [x for y in held for x in (y, getattr(y, "agent", None)) if isinstance(x, Agent)]
        program.of = found[0] if found else None
        init(program, name, function, inputs, platform, fast or bool(found), **options)

    def lower_once(program, batch):
        agent = getattr(program, "of", None)
        if agent not in agents.values():
            return lower(program, batch)
        leaves, tree = jax.tree.flatten(program._inputs(batch))
        key = program.name, id(agent), tree, tuple(leaves)
        if key not in lowered:
            lowered[key] = Shared(lower(program, batch))
        return lowered[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "agent", agent)
        for user in (learner, policy):
            patch.setattr(user, "state_shapes", shapes_once)
        patch.setattr(Program, "__init__", remember)
        patch.setattr(Program, "lower", lower_once)
        yield

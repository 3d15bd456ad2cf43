"""The agent's functions as programs for its devices: the only place that uses `jax.jit`."""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from reverie.learner.devices import Placement
from reverie.learner.metrics import MetricVector

PyTree = Any
Batch = dict[str, np.ndarray]
Kind = Literal["init", "copy", "train", "report", "act", "evaluate"]
ON_BATCHES: tuple[Kind, ...] = ("train", "report", "act", "evaluate")
"""Programs that take a batch; making and copying a state takes none."""
POLICIES: dict[str, Kind] = {"train": "act", "eval": "evaluate"}
"""Program of each mode of the policy."""
LARGE: tuple[Kind, ...] = ("train", "report")
"""Programs that take long to compile."""


class Programs:
    """What a learner runs, for arrays of known shapes: lowered here, compiled by `Compiler`.

    Programs take and return the agent's state as a list of arrays, because a list can be described
    in a file; the classes of a state cannot always.

    Args:
        agent: Static description with pure functions, as `Learner` takes it.
        placement: Devices.
        fast_compile: Whether to leave optimizations out.
    """

    def __init__(self, agent: Any, placement: Placement, fast_compile: bool = False):
        self.agent = agent
        self.placement = placement
        self.fast_compile = fast_compile
        jit = functools.partial(jax.jit, compiler_options=self.options("train"))
        whole, part = placement.replicated, placement.split
        init = jax.jit(self._init_fn, out_shardings=whole, compiler_options=self.options("init"))
        # The agent's state, as shapes and types.
        self.example = jax.eval_shape(lambda: agent.init(jax.random.key(0)))
        self._structures = jax.tree.structure(self.example), jax.tree.structure(self.example.params)
        train = jit(
            self._train_fn, donate_argnums=(0, 1), out_shardings=(whole, part, part, whole, whole)
        )
        report = jit(self._report_fn)
        copy = jit(lambda leaves: [jnp.copy(leaf) for leaf in leaves])
        self._jitted: dict[Kind, Any] = {
            "init": init, "copy": copy, "train": train, "report": report
        }  # fmt: skip
        for mode, kind in POLICIES.items():
            self._jitted[kind] = jit(functools.partial(self._policy_fn, mode=mode))

    def lower(self, kind: Kind, batch: Mapping[str, Any]) -> jax.stages.Lowered:
        """A program, traced for arrays of the shapes and types of these.

        Args:
            kind: `init`, `copy`, `train` and `report`: the initial state, a copy of a state, an
                update, a report; `act` and `evaluate`: a policy call in the mode `train` or `eval`.
            batch: Arrays by key, or what has their `shape` and `dtype`; none for `init` and `copy`.

        Raises:
            DeviceError: If the training devices cannot share the batch of an update evenly.
        """
        return self._jitted[kind].lower(*self.inputs(kind, batch))

    def inputs(self, kind: Kind, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """Arguments of a program, as shapes and types. Args and errors are those of `lower`."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        if kind == "init":
            return (_specs(key, self.placement.replicated),)
        place = SingleDeviceSharding(self.devices(kind)[0])
        if kind == "copy":
            return (_specs(jax.tree.leaves(self.example), place),)
        size = len(next(iter(batch.values())))
        carry = jax.eval_shape(functools.partial(self.agent.init_carry, size))
        count = np.uint32(0)
        if kind == "train":
            self.placement.check_batch(size)
            whole, part = self.placement.replicated, self.placement.split
            state, key = _specs((jax.tree.leaves(self.example), key), whole)
            return (state, *_specs((carry, batch), part), key, count)
        state = self.example.params if kind in POLICIES.values() else self.example
        return (*_specs((jax.tree.leaves(state), carry, batch, key), place), count)

    def options(self, kind: Kind) -> dict[str, Any]:
        """Options of the compiler for a program."""
        # The initial state is made once: compiling it well would take longer than making it.
        return _compiler_options(self.placement.platform, self.fast_compile or kind == "init")

    def devices(self, kind: Kind) -> tuple[Any, ...]:
        """Devices on which a program runs."""
        if kind in POLICIES.values():
            return (self.placement.policy,)
        return self.placement.training[: 1 if kind in ("report", "copy") else None]

    def state(self, leaves: list[jax.Array]) -> PyTree:
        """The agent's state from the list of its arrays."""
        return jax.tree.unflatten(self._structures[0], leaves)

    def _init_fn(self, key):
        return jax.tree.leaves(self.agent.init(key))

    def _train_fn(self, leaves, carry, batch, key, count):
        key = jax.random.fold_in(key, count)
        state, carry, outputs, metrics = self.agent.train(self.state(leaves), carry, batch, key)
        # Copies keep acting parameters out of the buffers that the next update overwrites.
        acting = [jnp.copy(leaf) for leaf in jax.tree.leaves(state.params)]
        return jax.tree.leaves(state), carry, outputs, MetricVector.pack(metrics), acting

    def _policy_fn(self, acting, carry, obs, key, count, *, mode):
        key = jax.random.fold_in(key, count)
        acting = jax.tree.unflatten(self._structures[1], acting)
        return self.agent.policy(acting, carry, obs, key, mode=mode)

    def _report_fn(self, leaves, carry, batch, key, count):
        key = jax.random.fold_in(key, count)
        return self.agent.report(self.state(leaves), carry, batch, key)


def _specs(tree: PyTree, sharding: Any) -> PyTree:
    """Shapes and types of arrays, placed."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _compiler_options(platform: str, fast_compile: bool) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if platform == "cpu":
        # By default XLA orders operations for concurrency, which at size1m with images holds 2.9
        # GB of intermediate results instead of 0.9, and is no faster.
        options["xla_cpu_scheduler_type"] = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
        # The default takes a fifth longer to compile, for programs that are as fast.
        options["xla_backend_optimization_level"] = 1
    if fast_compile:
        options["xla_backend_optimization_level"] = 0
    return options

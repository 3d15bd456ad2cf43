"""The agent's functions as programs for its devices: the only place that uses `jax.jit`."""

import functools
from collections.abc import Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from reverie.learner.devices import Placement
from reverie.learner.metrics import MetricVector

PyTree = Any
Batch = dict[str, np.ndarray]
Kind = Literal["train", "report", "act", "evaluate"]
KINDS: tuple[Kind, ...] = get_args(Kind)
POLICIES: dict[str, Kind] = {"train": "act", "eval": "evaluate"}
"""Program of each mode of the policy."""


class Programs:
    """What a learner runs. `init` and `snapshot` are the same for all batches.

    The others are lowered here and compiled by `Compiler`, for arrays of known shapes.

    Args:
        agent: Static description with pure functions, as `Learner` takes it.
        placement: Devices.
        fast_compile: Whether to leave optimizations out.
    """

    def __init__(self, agent: Any, placement: Placement, fast_compile: bool = False):
        self.agent = agent
        self.placement = placement
        self.fast_compile = fast_compile
        options = _compiler_options(placement.platform, fast_compile)
        jit = functools.partial(jax.jit, compiler_options=options)
        whole, part = placement.replicated, placement.split
        # Made once, so that compiling it well would take longer than running it.
        quick = _compiler_options(placement.platform, fast_compile=True)
        self.init = jax.jit(agent.init, out_shardings=whole, compiler_options=quick)
        self.snapshot = jit(_copy_leaves)
        # The agent's state, as shapes and types.
        self.example = jax.eval_shape(lambda: agent.init(jax.random.key(0)))
        self._structure = jax.tree.structure(self.example.params)
        large = _compiler_options(placement.platform, fast_compile, large=True)
        jit_large = functools.partial(jax.jit, compiler_options=large)
        self._train = jit_large(
            self._train_fn, donate_argnums=(0, 1), out_shardings=(whole, part, part, whole, whole)
        )
        self._report = jit_large(self._report_fn)
        self._policies = {
            kind: jit(functools.partial(self._policy_fn, mode=mode))
            for mode, kind in POLICIES.items()
        }

    def lower(self, kind: Kind, batch: Mapping[str, Any]) -> jax.stages.Lowered:
        """A program, traced for arrays of the shapes and types of these.

        Args:
            kind: `train` and `report`: an update, a report; `act` and `evaluate`: a policy call in
                the mode `train` or `eval`.
            batch: Arrays by key, or what has their `shape` and `dtype`.

        Raises:
            DeviceError: If the training devices cannot share the batch of an update evenly.
        """
        size = len(next(iter(batch.values())))
        key = jax.eval_shape(lambda: jax.random.key(0))
        carry = jax.eval_shape(functools.partial(self.agent.init_carry, size))
        count = np.uint32(0)
        if kind == "train":
            self.placement.check_batch(size)
            whole, part = self.placement.replicated, self.placement.split
            inputs = (*_specs((carry, batch), part), _specs(key, whole), count)
            return self._train.lower(_specs(self.example, whole), *inputs)
        if kind == "report":
            place = SingleDeviceSharding(self.placement.training[0])
            return self._report.lower(*_specs((self.example, carry, batch, key), place), count)
        place = SingleDeviceSharding(self.placement.policy)
        inputs = _specs((jax.tree.leaves(self.example.params), carry, batch, key), place)
        return self._policies[kind].lower(*inputs, count)

    def _train_fn(self, state, carry, batch, key, count):
        key = jax.random.fold_in(key, count)
        state, carry, outputs, metrics = self.agent.train(state, carry, batch, key)
        # The copy keeps acting parameters out of the buffers that the next update overwrites.
        acting = _copy_leaves(state.params)
        return state, carry, outputs, MetricVector.pack(metrics), acting

    def _policy_fn(self, acting, carry, obs, key, count, *, mode):
        key = jax.random.fold_in(key, count)
        acting = jax.tree.unflatten(self._structure, acting)
        return self.agent.policy(acting, carry, obs, key, mode=mode)

    def _report_fn(self, state, carry, batch, key, count):
        return self.agent.report(state, carry, batch, jax.random.fold_in(key, count))


def _copy_leaves(tree: PyTree) -> list[jax.Array]:
    """Copies of the arrays of a tree; to take a list apart is faster than a tree of modules."""
    return [jnp.copy(leaf) for leaf in jax.tree.leaves(tree)]


def _specs(tree: PyTree, sharding: Any) -> PyTree:
    """Shapes and types of arrays, placed."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _compiler_options(platform: str, fast_compile: bool, large: bool = False) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if platform == "cpu":
        # By default XLA orders operations for concurrency, which at size1m with images holds 2.9
        # GB of intermediate results instead of 0.9, and is no faster.
        options["xla_cpu_scheduler_type"] = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
        if large and not fast_compile:
            # The default takes a fifth longer to compile, for an update that is as fast.
            options["xla_backend_optimization_level"] = 1
    if fast_compile:
        options["xla_backend_optimization_level"] = 0
    return options

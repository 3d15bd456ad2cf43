"""The agent's functions as programs for its devices: the only place that uses `jax.jit`."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from reverie.learner.cache import PREFIX
from reverie.learner.devices import Placement
from reverie.learner.pending import Batch, MetricVector

PyTree = Any
Kind = Literal["init", "copy", "train", "report", "act", "evaluate"]
ON_BATCHES: tuple[Kind, ...] = ("train", "report", "act", "evaluate")
"""Programs that take a batch; making and copying a state takes none."""
POLICIES: dict[str, Kind] = {"train": "act", "eval": "evaluate"}
"""Program of each mode of the policy."""


class Programs:
    """What a learner runs, for arrays of known shapes: lowered here, compiled by `Compiler`.

    Parameters that act are a list of arrays: to take the networks apart at every step would take
    half as long as the step.

    Args:
        agent: Static description with pure functions, as `Learner` takes it.
        placement: Devices.
        fast_compile: Whether to leave optimizations out.
    """

    def __init__(self, agent: Any, placement: Placement, fast_compile: bool = False):
        self.agent = agent
        self.placement = placement
        self.fast_compile = fast_compile
        whole, part = placement.replicated, placement.split
        with _narrow():
            # The agent's state, as shapes and types.
            self.example = jax.eval_shape(lambda: agent.init(jax.random.key(0)))
        self._params = jax.tree.structure(self.example.params)
        self._jitted: dict[Kind, Any] = {
            "init": self._jit("init", agent.init, out_shardings=whole),
            "copy": self._jit("copy", functools.partial(jax.tree.map, jnp.copy)),
            "train": self._jit(
                "train",
                self._train_fn,
                donate_argnums=(0, 1),
                out_shardings=(whole, part, part, whole, whole),
            ),
            "report": self._jit("report", self._report_fn),
        }
        for mode, kind in POLICIES.items():
            policy = functools.partial(self._policy_fn, mode=mode)
            self._jitted[kind] = self._jit(kind, policy)

    def lower(self, kind: Kind, batch: Mapping[str, Any]) -> jax.stages.Lowered:
        """A program, traced for arrays of the shapes and types of these.

        Args:
            kind: `init`, `copy`, `train` and `report`: the initial state, a copy of a state, an
                update, a report; `act` and `evaluate`: a policy call in the mode `train` or `eval`.
            batch: Arrays by key, or what has their `shape` and `dtype`; none for `init` and `copy`.

        Raises:
            DeviceError: If the training devices cannot share the batch of an update evenly.
        """
        with _narrow():
            return self._jitted[kind].lower(*self._inputs(kind, batch))

    def init_carry(self, size: int) -> PyTree:
        """What goes from call to call, before the first one, for batches of a size."""
        with _narrow():
            return self.agent.init_carry(size)

    def _jit(self, kind: Kind, function: Callable[..., Any], **options: Any) -> Any:
        def named(*args):
            return function(*args)

        # The name under which the program is kept.
        named.__name__ = f"{PREFIX}{kind}"
        # The initial state is made once: compiling it well would take longer than making it.
        fast = self.fast_compile or kind == "init"
        return jax.jit(
            named, compiler_options=_compiler_options(self.placement.platform, fast), **options
        )

    def _inputs(self, kind: Kind, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """Arguments of a program, as shapes and types."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        if kind == "init":
            return (_specs(key, self.placement.replicated),)
        acting = kind in POLICIES.values()
        device = self.placement.policy if acting else self.placement.training[0]
        place = SingleDeviceSharding(device)
        if kind == "copy":
            return (_specs(self.example, place),)
        size = next(iter(batch.values())).shape[0]
        carry = jax.eval_shape(functools.partial(self.agent.init_carry, size))
        count = np.uint32(0)
        if kind == "train":
            self.placement.check_batch(size)
            whole, part = self.placement.replicated, self.placement.split
            state, key = _specs((self.example, key), whole)
            return (state, *_specs((carry, batch), part), key, count)
        state = jax.tree.leaves(self.example.params) if acting else self.example
        return (*_specs((state, carry, batch, key), place), count)

    def _train_fn(self, state, carry, batch, key, count):
        key = jax.random.fold_in(key, count)
        state, carry, outputs, metrics = self.agent.train(state, carry, batch, key)
        # Copies keep acting parameters out of the buffers that the next update overwrites.
        acting = [jnp.copy(leaf) for leaf in jax.tree.leaves(state.params)]
        return state, carry, outputs, MetricVector.pack(metrics), acting

    def _policy_fn(self, acting, carry, obs, key, count, *, mode):
        key = jax.random.fold_in(key, count)
        acting = jax.tree.unflatten(self._params, acting)
        return self.agent.policy(acting, carry, obs, key, mode=mode)

    def _report_fn(self, state, carry, batch, key, count):
        key = jax.random.fold_in(key, count)
        return self.agent.report(state, carry, batch, key)


def _narrow() -> Any:
    """Programs are the same in a process that has switched JAX to 64 bits."""
    return jax.enable_x64(False)


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


def local(tree: PyTree) -> PyTree:
    """Arrays as the first of the devices that share them has them."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def size(batch: Batch) -> int:
    """Number of sequences."""
    return len(next(iter(batch.values())))

"""Functions as programs for devices, compiled ahead: the only place that uses `jax.jit`."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from reverie.errors import ConfigError
from reverie.learner.compilation.cache import PREFIX

PyTree = Any
Batch = Mapping[str, Any]
"""Arrays by key with a common first axis, or what has their `shape` and `dtype`."""


class Program:
    """A function as a program for batches of known shapes: lowered here, compiled by `Compiler`.

    Args:
        name: What it is called in messages, and in the cache of compiled programs.
        function: What it computes.
        inputs: Gives the arguments of the function for a batch, as shapes and types that are
            placed on devices.
        platform: Kind of the devices.
        fast: Whether to leave optimizations out, which compiles several times faster, to a slower
            program.
        **options: Of `jax.jit`.

    Raises:
        ConfigError: If JAX is told to compile nothing.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        inputs: Callable[[Batch], tuple[Any, ...]],
        platform: str,
        fast: bool = False,
        **options: Any,
    ):
        self.name = name
        self._inputs = inputs

        def named(*args):
            return function(*args)

        # The name under which the program is kept.
        named.__name__ = f"{PREFIX}{name}"
        if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
            raise ConfigError(
                "JAX_DISABLE_JIT is set (or jax.disable_jit), but programs are compiled before "
                "they are called. Unset it; --run.debug true checks every transition and batch."
            )
        self._jitted = jax.jit(named, compiler_options=compiler_options(platform, fast), **options)

    def lower(self, batch: Batch) -> jax.stages.Lowered:
        """The program, traced for arrays of the shapes and types of these.

        Raises:
            DeviceError: If devices cannot share the batch evenly.
        """
        with standard():
            return self._jitted.lower(*self._inputs(batch))


@contextlib.contextmanager
def standard() -> Iterator[None]:
    """Inside, JAX has 32 bits and promotes types, also in a process with other settings."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


def state_shapes(agent: Any) -> PyTree:
    """The state of an agent as shapes and types, without making one."""
    with standard():
        return jax.eval_shape(lambda: agent.init(jax.random.key(0)))


def specs(tree: PyTree, sharding: Any) -> PyTree:
    """Shapes and types of arrays, placed."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def compiler_options(platform: str, fast: bool) -> dict[str, Any]:
    """Options of XLA for a kind of device, `fast` to leave optimizations out."""
    options: dict[str, Any] = {}
    if platform == "cpu":
        # By default XLA orders operations for concurrency, which at size1m with images holds 2.9
        # GB of intermediate results instead of 0.9, and is no faster.
        options["xla_cpu_scheduler_type"] = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
        # The default takes a fifth longer to compile, for programs that are as fast.
        options["xla_backend_optimization_level"] = 1
    if fast:
        options["xla_backend_optimization_level"] = 0
        if platform == "cpu" and jax.__version_info__ < (0, 11):
            # The default emitters of loops compile twice as long; later versions have no others.
            options["xla_cpu_use_fusion_emitters"] = False
    return options


def size(batch: Batch) -> int:
    """Number of rows of a batch."""
    return next(iter(batch.values())).shape[0]


def local(tree: PyTree) -> PyTree:
    """Arrays as the first of the devices that share them has them."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)

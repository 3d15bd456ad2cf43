"""Where computation runs: platform, precision, compilation cache, and which device does what.

JAX reads most of these settings once, when it first touches a device, so `configure` comes before
anything else that uses JAX in the process.
"""

import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from reverie.extras import install
from reverie.learner.compilation.cache import configure_cache
from reverie.learner.placement.hosts import Hosts
from reverie.machine import cores

MAX_CPU_DEVICES = 8
"""CPU devices that share a batch unless told otherwise; each holds a copy of the agent's state."""

Device = Any
"""A `jax.Device`, which is no class to type checkers."""


class DeviceError(RuntimeError):
    """The devices that the configuration asks for do not exist."""


def configure(
    platform: str = "auto",
    *,
    devices: Sequence[int] = (),
    policy_device: int = 0,
    mock_devices: int = 0,
    batch_size: int = 1,
    shards: int = 1,
    prealloc: bool = True,
    cache_dir: str = "",
    hosts: Hosts | None = None,
) -> "Placement":
    """Sets JAX up for this process and picks the devices.

    A CPU is opened as several devices, of which each computes on a core of its own. Sharing a batch
    keeps all cores busy, where many operations of a whole batch are too small to be divided. One
    more device is opened for the policy when it is asked to share a training device: JAX runs the
    computations of one CPU device one after the other, so that a policy call would otherwise wait
    for the update that is being computed.

    Args:
        platform: `auto`, `cpu`, `cuda` or `tpu`; `auto` takes what JAX prefers.
        devices: Indices of the devices that share every training batch. Empty for the first
            accelerator, or for one CPU device per core: as many as divide the batch evenly, at
            most `MAX_CPU_DEVICES`.
        policy_device: Index of the device that computes actions.
        mock_devices: Number of simulated CPU devices, to try several devices without having them;
            0 for none.
        batch_size: Number of sequences in a batch, over all processes.
        shards: Devices of a process that share one copy of the agent's state, each with an even
            part of it; 1 for a whole copy on every device.
        prealloc: Whether to reserve most of the GPU memory at once, which avoids fragmentation.
        cache_dir: Folder of compiled programs, kept between runs. Empty for the user's cache
            folder, `off` for none.
        hosts: The processes of the run, from `hosts.connect`; one by default. Each trains on its
            devices of the same indices.

    Returns:
        The devices for training and for acting.

    Raises:
        DeviceError: If the platform or one of the devices does not exist.
    """
    hosts = hosts or Hosts()
    batch_size //= hosts.count
    if not prealloc:
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    platform = "cpu" if mock_devices else platform
    if platform != "auto":
        jax.config.update("jax_platforms", platform)
    shares = max(*devices, policy_device) + 1 if devices else _even_shares(batch_size, cores())
    _open_cpu_devices(mock_devices or min(shares, cores()) + 1)
    note = configure_cache(cache_dir)
    anywhere = _find(platform)
    found = [[x for x in anywhere if x.process_index == i] for i in range(hosts.count)]
    each = found[hosts.index]
    wanted = devices or _automatic(min(found, key=len), batch_size)
    selected = [_select(theirs, wanted, "jax.devices") for theirs in found]
    training = selected[hosts.index]
    policy = _select(each, [policy_device], "jax.policy_device")[0]
    if policy.platform == "cpu" and policy in training:
        spare = [device for device in each if device not in training]
        policy = spare[0] if spare else policy
    if len(training) % shards:
        raise DeviceError(
            f"jax.shards is {shards}, but {len(training)} devices train in a process (jax.devices)."
            " Their number has to be a multiple of it."
        )
    return Placement(tuple(itertools.chain(*selected)), policy, note, shards)


def resolve_dtype(compute_dtype: str, platform: str) -> str:
    """Precision of activations: `auto` is float32 on CPU and bfloat16 on accelerators."""
    if compute_dtype != "auto":
        return compute_dtype
    return "float32" if platform == "cpu" else "bfloat16"


def choose(wanted: Device | str | None) -> Device:
    """One device; changes no settings.

    Args:
        wanted: A device or its name, such as `cpu`, `gpu` or `cuda:1`; None for the one that JAX
            prefers.

    Raises:
        DeviceError: If there is none of that name.
    """
    found = _find("auto")
    if wanted is None:
        (device,) = jnp.zeros(()).devices()
        return device
    if isinstance(wanted, jax.Device):
        return wanted
    platform, _, index = str(wanted).partition(":")
    try:
        return jax.devices(platform)[int(index or 0)]
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        here = ", ".join(f"{device.platform}:{device.id}" for device in found)
        raise DeviceError(
            f"device is {wanted!r}, but JAX finds no such device; those here are {here}."
        ) from error


def require_own_process() -> None:
    """Raises DeviceError in a fork: JAX lacks its threads there, and would wait for ever."""
    if _first_process() != os.getpid():
        raise DeviceError(
            "This process is a fork of one in which JAX was used, and JAX does not work in it. "
            "Start processes by multiprocessing.get_context('spawn'), and call reverie.load or "
            "reverie.train in each."
        )


@functools.cache
def _first_process() -> int:
    """The process that was the first to use devices, which its forks inherit."""
    return os.getpid()


@dataclasses.dataclass(frozen=True)
class Placement:
    """The devices of a learner.

    Arrays of a run over several processes have parts on devices that this one cannot read. What is
    called local here are arrays on the devices of this process alone: its rows of a batch, and the
    whole of the state, of which every process has a copy.

    Args:
        training: Devices that split every batch along its first axis; of all processes, those of
            the first one first, and as many of each.
        policy: The device of this process that computes actions.
        note: What the user should know of them, if there is anything.
        shards: Neighbours among the training devices that share one copy of the agent's state.
            They belong to one process, so that a process can put the state together by itself.
    """

    training: tuple[Device, ...]
    policy: Device
    note: str = ""
    shards: int = 1

    @property
    def platform(self) -> str:
        """`cpu`, `gpu` or `tpu`."""
        return self.training[0].platform

    @functools.cached_property
    def here(self) -> tuple[Device, ...]:
        """Training devices of this process."""
        process = self.policy.process_index
        return tuple(device for device in self.training if device.process_index == process)

    @property
    def processes(self) -> int:
        """Number of processes that share a batch."""
        return len(self.training) // len(self.here)

    @functools.cached_property
    def replicated(self) -> NamedSharding:
        """Every training device holds the whole array."""
        return NamedSharding(self._mesh(self.training), PartitionSpec())

    @functools.cached_property
    def split(self) -> NamedSharding:
        """Every training device holds its part of the first axis."""
        axes = "batch" if self.shards == 1 else ("batch", "model")
        return NamedSharding(self._mesh(self.training), PartitionSpec(axes))

    @functools.cached_property
    def sharded(self) -> NamedSharding:
        """Every neighbour holds its part of the first axis, every group of them the whole."""
        return NamedSharding(self._mesh(self.training), PartitionSpec("model"))

    def check_batch(self, rows: int) -> None:
        """Raises DeviceError if the training devices cannot share a batch evenly.

        Args:
            rows: Sequences of this process in a batch.
        """
        if rows % len(self.here):
            raise DeviceError(
                f"batch_size {rows * self.processes} cannot be split evenly over the "
                f"{len(self.training)} training devices of jax.devices. Change one of the two."
            )

    def batch_specs(self, batch: Any) -> Any:
        """Shapes and types of what `put_batch` gives, without values."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                (len(x) * self.processes, *x.shape[1:]), x.dtype, sharding=self.split
            ),
            batch,
        )

    def put_batch(self, batch: Any) -> Any:
        """Copies the rows of this process to its training devices; the copy is asynchronous.

        Returns:
            The batch of all processes.
        """
        if self.processes == 1:
            return jax.device_put(batch, self.split)
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(self.split, np.asarray(x)), batch
        )

    def put_state(self, state: Any, shardings: Any = None) -> Any:
        """Copies agent state, which every process has, to the training devices.

        Args:
            state: Arrays.
            shardings: Where to, for all or for each; by default all of them to every device.
        """
        shardings = shardings or self.replicated
        if self.processes == 1:
            return jax.device_put(state, shardings)
        # JAX would compare what it copies between the processes.
        if isinstance(shardings, NamedSharding):
            shardings = jax.tree.map(lambda _: shardings, state)
        local = jax.device_put(state, jax.tree.map(self.local_sharding, shardings))
        return jax.tree.map(lambda x, where: _view(x, x.shape, where), local, shardings)

    def local(self, tree: Any) -> Any:
        """What lies here of arrays of all processes; copies nothing and waits for nothing."""
        if self.processes == 1:
            return tree

        def view(x: jax.Array) -> jax.Array:
            shape = x.shape
            if shape and x.sharding.is_equivalent_to(self.split, x.ndim):
                shape = (shape[0] // self.processes, *shape[1:])
            return _view(x, shape, self.local_sharding(x.sharding))

        return jax.tree.map(view, tree)

    def local_sharding(self, sharding: Any) -> NamedSharding:
        """As a placement on all training devices, but on those of this process."""
        return NamedSharding(self._mesh(self.here), sharding.spec)

    def _mesh(self, devices: Sequence[Device]) -> Mesh:
        if self.shards == 1:
            return Mesh(np.asarray(devices), ("batch",))
        return Mesh(np.asarray(devices).reshape(-1, self.shards), ("batch", "model"))


def _view(x: jax.Array, shape: tuple[int, ...], sharding: NamedSharding) -> jax.Array:
    """The parts of an array that lie here as one of another shape and placement."""
    parts = [shard.data for shard in x.addressable_shards]
    return jax.make_array_from_single_device_arrays(shape, sharding, parts)


def _automatic(found: Sequence[Device], batch_size: int) -> range:
    """Indices of the training devices where the user named none."""
    if found[0].platform != "cpu":
        return range(1)
    # One device stays free for the policy.
    return range(_even_shares(batch_size, min(cores(), len(found) - 1)))


def _even_shares(batch_size: int, limit: int) -> int:
    """The largest number of devices up to a limit that can share a batch evenly."""
    counts = range(1, min(limit, MAX_CPU_DEVICES) + 1)
    return max((count for count in counts if batch_size % count == 0), default=1)


def _open_cpu_devices(count: int) -> None:
    """Asks for simulated CPU devices, unless JAX has already started or the user chose a number."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    # JAX refuses once it has started, as in a notebook: the devices there are then used instead.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)


def _find(platform: str) -> list[Device]:
    require_own_process()
    try:
        return jax.devices() if platform == "auto" else jax.devices(platform)
    except (RuntimeError, AssertionError) as error:  # JAX asserts that a plugin is installed.
        detail = f" ({error})" if str(error) else ""
        extra = "tpu" if platform == "tpu" else "cuda"
        name, value = "--jax.platform", platform
        if platform == "auto":  # JAX takes a CPU where it is not told what to take.
            name, value = "JAX_PLATFORMS", jax.config.values["jax_platforms"]
        raise DeviceError(
            f"{name} is '{value}', but JAX finds no such device{detail}. Set {name} to cpu, or "
            f"install what JAX needs for it: `{install(extra)}`."
        ) from error


def _select(found: Sequence[Device], indices: Sequence[int], name: str) -> tuple[Device, ...]:
    missing = [index for index in indices if not 0 <= index < len(found)]
    if missing or not indices:
        cpu = found[0].platform == "cpu"
        more = "; a CPU has one for each core, and --jax.mock_devices simulates more" if cpu else ""
        raise DeviceError(
            f"{name} is {list(indices)}, but the devices here are 0..{len(found) - 1} "
            f"({found[0].platform}). Choose existing ones{more}."
        )
    return tuple(found[index] for index in indices)

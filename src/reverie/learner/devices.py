"""Where computation runs: platform, precision, compilation cache, and which device does what.

JAX reads most of these settings once, when it first touches a device, so `configure` comes before
anything else that uses JAX in the process.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from reverie.extras import install
from reverie.learner.cache import configure_cache

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
    prealloc: bool = True,
    cache_dir: str = "",
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
        batch_size: Number of sequences in a batch.
        prealloc: Whether to reserve most of the GPU memory at once, which avoids fragmentation.
        cache_dir: Folder of compiled programs, kept between runs. Empty for the user's cache
            folder, `off` for none.

    Returns:
        The devices for training and for acting.

    Raises:
        DeviceError: If the platform or one of the devices does not exist.
    """
    if not prealloc:
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    platform = "cpu" if mock_devices else platform
    if platform != "auto":
        jax.config.update("jax_platforms", platform)
    shares = max(*devices, policy_device) + 1 if devices else _even_shares(batch_size, _cores())
    _open_cpu_devices(mock_devices or min(shares, _cores()) + 1)
    note = configure_cache(cache_dir)
    found = _find(platform)
    training = _select(found, devices or _automatic(found, batch_size), "jax.devices")
    policy = _select(found, [policy_device], "jax.policy_device")[0]
    if policy.platform == "cpu" and policy in training:
        spare = [device for device in found if device not in training]
        policy = spare[0] if spare else policy
    return Placement(training, policy, note)


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
    if wanted is None:
        (found,) = jnp.zeros(()).devices()
        return found
    if not isinstance(wanted, str):
        return wanted
    platform, _, index = wanted.partition(":")
    try:
        return jax.devices(platform)[int(index or 0)]
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        here = ", ".join(f"{device.platform}:{device.id}" for device in jax.devices())
        raise DeviceError(
            f"device is {wanted!r}, but JAX finds no such device; those here are {here}."
        ) from error


@dataclasses.dataclass(frozen=True)
class Placement:
    """The devices of a learner.

    Args:
        training: Devices that split every batch along its first axis and hold equal copies of the
            agent's state.
        policy: The device that computes actions.
        note: What the user should know of them, if there is anything.
    """

    training: tuple[Device, ...]
    policy: Device
    note: str = ""

    @property
    def platform(self) -> str:
        """`cpu`, `gpu` or `tpu`."""
        return self.training[0].platform

    @functools.cached_property
    def replicated(self) -> NamedSharding:
        """Every training device holds the whole array."""
        return NamedSharding(self._mesh, PartitionSpec())

    @functools.cached_property
    def split(self) -> NamedSharding:
        """Every training device holds its part of the first axis."""
        return NamedSharding(self._mesh, PartitionSpec("batch"))

    @functools.cached_property
    def _mesh(self) -> Mesh:
        return Mesh(np.asarray(self.training), ("batch",))

    def check_batch(self, batch_size: int) -> None:
        """Raises DeviceError if the training devices cannot share a batch evenly."""
        if batch_size % len(self.training):
            raise DeviceError(
                f"batch_size {batch_size} cannot be split evenly over the {len(self.training)} "
                "training devices of jax.devices. Change one of the two."
            )

    def put_batch(self, batch: Any) -> Any:
        """Copies a batch to the training devices; the copy is asynchronous."""
        return jax.device_put(batch, self.split)

    def put_state(self, state: Any) -> Any:
        """Copies agent state to every training device."""
        return jax.device_put(state, self.replicated)


def _automatic(found: Sequence[Device], batch_size: int) -> range:
    """Indices of the training devices where the user named none."""
    if found[0].platform != "cpu":
        return range(1)
    # One device stays free for the policy.
    return range(_even_shares(batch_size, min(_cores(), len(found) - 1)))


def _even_shares(batch_size: int, limit: int) -> int:
    """The largest number of devices up to a limit that can share a batch evenly."""
    counts = range(1, min(limit, MAX_CPU_DEVICES) + 1)
    return max((count for count in counts if batch_size % count == 0), default=1)


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _open_cpu_devices(count: int) -> None:
    """Asks for simulated CPU devices, unless JAX has already started or the user chose a number."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    # JAX refuses once it has started, as in a notebook: the devices there are then used instead.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)


def _find(platform: str) -> list[Device]:
    try:
        return jax.devices() if platform == "auto" else jax.devices(platform)
    except (RuntimeError, AssertionError) as error:  # JAX asserts that a plugin is installed.
        detail = f" ({error})" if str(error) else ""
        extra = "tpu" if platform == "tpu" else "cuda"
        raise DeviceError(
            f"jax.platform is '{platform}', but JAX finds no such device{detail}. Set "
            f"--jax.platform cpu, or install what JAX needs for it: `{install(extra)}`."
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

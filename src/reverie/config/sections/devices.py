"""Options of JAX: devices, processes and compilation."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator

from reverie.options import Bool, Float, Indices, Int, PathText, Section, Text, option

Platform = Annotated[
    Literal["auto", "cpu", "cuda", "tpu"], BeforeValidator(lambda x: "cuda" if x == "gpu" else x)
]
"""A platform; `gpu`, as JAX says too, becomes `cuda`."""


class JaxConfig(Section):
    """Devices, processes and compilation."""

    platform: Platform = option("auto", "Backend; auto: the fastest.")
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto",
        "Type of activations; auto: float32 on CPU, bfloat16 elsewhere.",
        fixed="it sets the type of the latents in replay",
    )
    prealloc: Bool = option(True, "Reserve most of the accelerator's memory at the start.")
    devices: Indices = option(
        (), "Devices that share each batch; empty: one accelerator, or one per CPU core."
    )
    policy_device: Int = option(0, "Device that acts.", ge=0)
    mock_devices: Int = option(0, "Simulated CPU devices, for tests; 0: off.", ge=0, le=64)
    shards: Int = option(
        1, "Neighbours among a process's devices that share one copy of the agent's state.", ge=1
    )
    coordinator: Text = option(
        "",
        "Address of process 0 of a run over several processes; slurm: it, their number and this "
        "one's from SLURM; ray: it and this one's number from a Ray cluster; empty: one process.",
        pattern=r"^(|slurm|ray|\S+:\d{1,5})$",
        expects="HOST:PORT, slurm or ray",
    )
    processes: Int = option(1, "Processes that share each batch, one per host or device.", ge=1)
    process: Int = option(0, "Number of this process, from 0.", ge=0)
    connect_timeout: Float = option(
        120.0, "Seconds in which all processes of a run have to be there.", ge=1
    )
    fast_compile: Bool = option(
        False, "Compile several times faster, to slower programs; for tests and debugging."
    )
    cache_dir: PathText = option(
        "",
        "Persistent compilation cache; empty: JAX_COMPILATION_CACHE_DIR if it is set, else "
        "the user's cache folder, off: none.",
    )


def device_problems(jax: JaxConfig, batch_size: int) -> Iterator[str]:
    """What does not fit together in these options, one text for each mistake."""
    if jax.devices and batch_size % (len(jax.devices) * jax.processes):
        several = f" of jax.processes = {jax.processes} each" if jax.processes > 1 else ""
        yield (
            f"batch_size = {batch_size} must be divisible by the {len(jax.devices)} training "
            f"devices of jax.devices{several}."
        )
    elif batch_size % jax.processes:
        yield (
            f"batch_size = {batch_size} must be divisible by jax.processes = {jax.processes}, "
            "which share every batch."
        )
    if jax.process >= jax.processes and jax.coordinator != "slurm":
        yield (
            f"jax.process = {jax.process} must be below jax.processes = {jax.processes}: the "
            "processes are counted from 0."
        )
    if jax.processes > 1 and not jax.coordinator:
        yield (
            f"jax.processes = {jax.processes} needs jax.coordinator HOST:PORT, the address of "
            "process 0."
        )
    if jax.devices and len(jax.devices) % jax.shards:
        yield (
            f"jax.shards = {jax.shards} must divide the {len(jax.devices)} training devices of "
            "jax.devices."
        )
    if jax.mock_devices and jax.platform != "cpu":
        yield (
            f"jax.mock_devices = {jax.mock_devices} simulates CPU devices: expected jax.platform "
            f"cpu, got {jax.platform}."
        )
    for name, devices in (("devices", jax.devices), ("policy_device", (jax.policy_device,))):
        if jax.mock_devices and max(devices, default=0) >= jax.mock_devices:
            yield (
                f"jax.{name} = {list(devices)} goes beyond the last of jax.mock_devices = "
                f"{jax.mock_devices} devices, which is {jax.mock_devices - 1}."
            )

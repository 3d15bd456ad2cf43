"""Options of JAX: devices and compilation."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from reverie.options import Bool, Indices, Int, PathText, Section, option

Platform = Annotated[
    Literal["auto", "cpu", "cuda", "tpu"], BeforeValidator(lambda x: "cuda" if x == "gpu" else x)
]
"""A platform; `gpu`, as JAX says too, becomes `cuda`."""


class JaxConfig(Section):
    """Devices and compilation."""

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
    fast_compile: Bool = option(
        False, "Compile several times faster, to slower programs; for tests and debugging."
    )
    cache_dir: PathText = option(
        "", "Persistent compilation cache; empty: the user's cache folder, off: none."
    )

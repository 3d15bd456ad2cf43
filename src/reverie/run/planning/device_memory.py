"""A device whose memory is used up, told as what it is."""

import contextlib
import re
from collections.abc import Iterator

import jax

from reverie.config.schema import Config
from reverie.learner.learner import Learner
from reverie.machine import available_ram


class DeviceMemoryError(RuntimeError):
    """A device has not enough memory. What was saved before is whole and stays."""


@contextlib.contextmanager
def explain_device_memory(config: Config, learner: Learner | None = None) -> Iterator[None]:
    """Inside, an error of a device without memory is raised as a `DeviceMemoryError`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DeviceMemoryError(_explanation(config, learner, str(error))) from error


def available(learner: Learner) -> float:
    """Bytes of memory that a training device has for an update, the agent's state among them.

    Where a CPU trains it is what is left beside the state, and the state.
    """
    stats = learner.placement.here[0].memory_stats() or {}
    limit = float(stats.get("bytes_limit", 0))
    copies = _sharing(learner) // learner.placement.shards
    return limit or available_ram() + copies * learner.nbytes


def needed(learner: Learner) -> int:
    """Bytes that an update takes of it, the agent's state among them; 0 before it is compiled."""
    return _sharing(learner) * learner.memory_needs().get("train", 0)


def device_usage(learner: Learner) -> dict[str, float]:
    """Memory of the first training device in GiB, in use and in all; nothing where a CPU trains."""
    stats = learner.placement.here[0].memory_stats() or {}
    names = {"usage/device_gb": "bytes_in_use", "usage/device_limit_gb": "bytes_limit"}
    return {key: stats[name] / 2**30 for key, name in names.items() if name in stats}


def _sharing(learner: Learner) -> int:
    """Training devices here that share one memory: all where a CPU trains."""
    return len(learner.placement.here) if learner.placement.platform == "cpu" else 1


def check_update(config: Config, learner: Learner) -> None:
    """Refuses a compiled update that has no room, before any is made.

    Raises:
        DeviceMemoryError: If it needs more than there is.
    """
    room, need = available(learner), needed(learner)
    if need > room:
        said = f"An update needs {need / 1e9:.1f} GB, and there are {room / 1e9:.1f} GB."
        raise DeviceMemoryError(_explanation(config, learner, said))


def _explanation(config: Config, learner: Learner | None, said: str) -> str:
    found = re.search(r"allocat\w* ([\d.]+ ?(?:[KMGT]iB|bytes)?)", said)
    wanted = f" It could not allocate {found[1].strip()}." if found else f" {said[:300]}"
    device, needs = "The device", ""
    if learner:
        training = learner.placement.here[0]
        limit = (training.memory_stats() or {}).get("bytes_limit", 0)
        device = f"The device {training}" + (f" with {limit / 1e9:.1f} GB" if limit else "")
        listed = [f"{kind} {size / 1e9:.1f} GB" for kind, size in learner.memory_needs().items()]
        needs = f" Its programs need: {', '.join(listed)}." if listed else ""
    agent = config.agent
    lower = [
        f"--batch_size (now {config.batch_size})",
        f"--batch_length ({config.batch_length})",
        f"--agent.imag_last (imagine from the last steps of each sequence alone; "
        f"{agent.imag_last or 'now from all'})",
        f"--report_length ({config.report_length})",
    ]
    return (
        f"{device} has not enough memory for this run.{wanted}{needs} These options need less when "
        f"they are lower: {', '.join(lower)}; in a new run also a smaller model, such as "
        "--configs size12m. If other programs use the device, end them. JAX takes three quarters "
        "of a GPU; XLA_PYTHON_CLIENT_MEM_FRACTION=0.95 in the environment gives it more, and "
        "--jax.prealloc false lets it take memory piece by piece. What was saved before is whole: "
        "the same command with other options goes on from there."
    )

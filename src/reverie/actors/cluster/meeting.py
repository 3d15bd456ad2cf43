"""How the processes of a run find each other through the Ray cluster that they are in."""

import contextlib
import socket
import time

from reverie.actors.cluster.engine.address import join
from reverie.actors.cluster.engine.package import ClusterError, import_ray

PAUSE = 0.2
"""Seconds between two questions whether all are there."""


class Meeting:
    """Numbers those who come, in their order."""

    def __init__(self):
        self._addresses: list[str] = []
        self._told = 0

    def join(self, address: str) -> int:
        """The number of a process that could be reached at an address."""
        self._addresses.append(address)
        return len(self._addresses) - 1

    def first(self, processes: int) -> str:
        """The address of the first, when all are there; empty before."""
        return self._addresses[0] if len(self._addresses) >= processes else ""

    def leave(self) -> None:
        """Is called by each that knows it."""
        self._told += 1

    def over(self, processes: int) -> bool:
        """Whether all do."""
        return self._told >= processes


def meet(name: str, processes: int, seconds: float) -> tuple[str, int]:
    """The address of process 0 and the number of this process, agreed upon in the cluster.

    Args:
        name: Of the run, as all its processes know it.
        processes: How many there are.
        seconds: In which all have to come.

    Raises:
        ClusterError: If there is no cluster, or not all come.
    """
    ray = import_ray("auto")
    join(ray, "auto", "reverie", "jax.coordinator is ray")
    try:
        meeting = ray.remote(Meeting).options(name=name, get_if_exists=True, num_cpus=0).remote()
        number = ray.get(meeting.join.remote(_free_address(ray.util.get_node_ip_address())))
        end = time.monotonic() + seconds
        while not (first := ray.get(meeting.first.remote(processes))):
            if time.monotonic() > end:
                raise ClusterError(
                    f"Not all of the {processes} processes of the run (jax.processes) have come to "
                    f"the Ray cluster within {seconds:g} seconds (jax.connect_timeout)."
                )
            time.sleep(PAUSE)
        ray.get(meeting.leave.remote())
        # It ends with whoever was the first to name it: then all others have left.
        with contextlib.suppress(ray.exceptions.RayActorError):
            while not ray.get(meeting.over.remote(processes)) and time.monotonic() < end:
                time.sleep(PAUSE)
        return first, number
    finally:
        ray.shutdown()


def _free_address(host: str) -> str:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"

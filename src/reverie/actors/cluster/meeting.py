"""How the processes of a run find each other through the Ray cluster that they are in."""

import asyncio
import contextlib
import socket

from reverie.actors.cluster.engine.address import join
from reverie.actors.cluster.engine.package import ClusterError, import_ray


class Meeting:
    """Numbers those who come, in their order, and lets them go together.

    Args:
        processes: How many come.
    """

    def __init__(self, processes: int):
        self._processes, self._addresses, self._leaving = processes, [], 0
        self._all_there, self._all_leave = asyncio.Event(), asyncio.Event()

    async def come(self, address: str) -> tuple[str, int]:
        """The address of the first, and the number of who could be reached at this one."""
        number = len(self._addresses)
        self._addresses.append(address)
        if number + 1 == self._processes:
            self._all_there.set()
        await self._all_there.wait()
        return self._addresses[0], number

    async def leave(self) -> None:
        """Returns when all know what they came for: with the one who made it, it ends."""
        self._leaving += 1
        if self._leaving == self._processes:
            self._all_leave.set()
        await self._all_leave.wait()


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
        how = {"name": name, "get_if_exists": True, "num_cpus": 0}
        meeting = ray.remote(Meeting).options(**how).remote(processes)
        address = _free_address(ray.util.get_node_ip_address())
        found = ray.get(meeting.come.remote(address), timeout=seconds)
        # The one who made it may leave, and with him it ends, when the answers are on their way.
        with contextlib.suppress(ray.exceptions.RayActorError):
            ray.get(meeting.leave.remote(), timeout=seconds)
        return found
    except ray.exceptions.GetTimeoutError:
        raise ClusterError(
            f"Not all of the {processes} processes of the run (jax.processes) have come to the Ray "
            f"cluster within {seconds:g} seconds (jax.connect_timeout)."
        ) from None
    finally:
        ray.shutdown()


def _free_address(host: str) -> str:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"

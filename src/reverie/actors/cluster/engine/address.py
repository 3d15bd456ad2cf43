"""Where a Ray cluster is, asked before Ray tries for minutes."""

import os
import pathlib
import socket

from reverie.actors.cluster.engine.package import ClusterError

SECONDS = 5.0
"""How long an address may take to answer."""

CURRENT = pathlib.Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` writes the address of the cluster on this machine."""


def answering(address: str) -> str:
    """Host and port of a cluster that answers.

    Raises:
        ClusterError: If there is none.
    """
    asked, given = address, os.environ.get("RAY_ADDRESS")
    if address == "auto":
        asked = f"auto, RAY_ADDRESS {given}" if given else address
        try:
            address = given or CURRENT.read_text().strip()
        except OSError:
            raise ClusterError(
                "ray.address is auto, and no Ray cluster runs on this machine: start one by `ray "
                "start --head`, or leave ray.address out for a local one."
            ) from None
    if address.startswith("ray://"):
        raise ClusterError(
            f"ray.address is {asked}: Ray's client cannot pass steps on. Run the command on a "
            "node of the cluster, with auto as the address and without RAY_ADDRESS."
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"ray.address is {asked}: expected HOST:PORT, auto, or nothing.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS).close()
    except (OSError, UnicodeError) as error:  # The latter of names that no host can have.
        raise ClusterError(
            f"ray.address is {asked}, but {address} does not answer ({error}): is a Ray cluster "
            "running there, and reachable from here?"
        ) from None
    return address

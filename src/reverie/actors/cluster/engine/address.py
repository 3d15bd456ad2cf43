"""Where a Ray cluster is, asked before Ray tries for minutes."""

import os
import pathlib
import socket
from typing import Any

from reverie.actors.cluster.engine.package import (
    MODE,
    ClusterError,
    address_given,
    first_line,
    has_token,
    init,
)

SECONDS = 5.0
"""How long an address may take to answer."""

CURRENT = pathlib.Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` writes the address of the cluster on this machine."""


def join(ray: Any, address: str, namespace: str, asked: str = "") -> str:
    """Joins a cluster that runs, and returns its host and port.

    Args:
        address: Host and port, or auto: those of RAY_ADDRESS, or of the cluster on this machine.
        asked: What errors begin with; by default the option and its value.

    Raises:
        ClusterError: If there is none, or it does not let us in.
    """
    asked = asked or f"ray.address is {address}"
    found = _answering(address, asked)
    try:
        init(ray, address=found, namespace=namespace)
    except Exception as error:
        raise ClusterError(
            f"{asked}, which does not work as a Ray cluster: {first_line(error)}{_token_hint()}"
        ) from None
    return found


def _answering(address: str, asked: str) -> str:
    if address == "auto":
        given = address_given()
        asked += f", RAY_ADDRESS {given}" if given else ""
        try:
            address = given or CURRENT.read_text().strip()
        except OSError:
            raise ClusterError(
                f"{asked}, and no Ray cluster runs on this machine: start one by `ray start "
                "--head`, or leave the option out."
            ) from None
    if address.startswith("ray://"):
        raise ClusterError(
            f"{asked}: Ray's client cannot pass steps on. Run the command on a "
            "node of the cluster, with auto as the address and without RAY_ADDRESS."
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"{asked}: expected HOST:PORT, auto, or nothing.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS).close()
    except (OSError, UnicodeError) as error:  # The latter of names that no host can have.
        raise ClusterError(
            f"{asked}, but {address} does not answer ({error}): is a Ray cluster "
            "running there, and reachable from here?"
        ) from None
    return address


def _token_hint() -> str:
    """What to do where the cluster may want the token, which only one at `auto` is shown."""
    if os.environ.get(MODE) or not has_token():
        return ""
    return f" If it was started with the token that is here (~/.ray/auth_token): set {MODE}=token."

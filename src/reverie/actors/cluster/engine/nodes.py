"""Whether all nodes of a cluster can run what is sent to them."""

import sys
from typing import Any

from reverie.actors.cluster.engine.package import ClusterError, first_line


def check_nodes(ray: Any) -> None:
    """Asks every node of the cluster which Python and which version of this package it has.

    Raises:
        ClusterError: If one has others than this process, or does not answer.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from reverie import __version__

    here = (".".join(map(str, sys.version_info[:2])), __version__)
    nodes = {node["NodeID"]: node["NodeName"] for node in ray.nodes() if node["Alive"]}
    look = ray.remote(num_cpus=0, max_retries=0)(_look())
    calls = {
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote():
        name
        for node, name in nodes.items()
    }  # fmt: skip
    done, late = ray.wait(list(calls), num_returns=len(calls), timeout=60.0)
    if late:
        names = ", ".join(calls[call] for call in late)
        raise ClusterError(f"Nodes of the Ray cluster do not start a task: {names}.")
    for call in done:
        try:
            python, version = ray.get(call)
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"A task on node {calls[call]} failed: {first_line(error)}"
            ) from None
        if version is None:
            raise ClusterError(
                f"Node {calls[call]} of the Ray cluster has no package reverie in its Python: "
                "install it there, or a place that all nodes share."
            )
        if (python, version) != here:
            raise ClusterError(
                f"Node {calls[call]} of the Ray cluster has Python {python} and reverie {version}, "
                f"here are Python {here[0]} and reverie {here[1]}: all need the same."
            )


def _look() -> Any:
    """A function that travels whole, to where this package may be missing."""

    def look() -> tuple[str, str | None]:
        import sys

        python = ".".join(map(str, sys.version_info[:2]))
        try:
            import reverie
        except ImportError:
            return python, None
        return python, reverie.__version__

    return look

"""The actors of a run, in a Ray that is started here or joined."""

import contextlib
import dataclasses
import os
import uuid
from collections.abc import Iterator
from typing import Any

from reverie.actors.cluster.actor import EnvActor
from reverie.actors.cluster.engine.address import join
from reverie.actors.cluster.engine.local import kept_up, local_ray
from reverie.actors.cluster.engine.nodes import check_nodes
from reverie.actors.cluster.engine.package import import_ray, init
from reverie.actors.cluster.evaluator import EvalActor
from reverie.actors.cluster.inference.server import InferenceServer
from reverie.config.sections.parallel import RayConfig
from reverie.machine import cores
from reverie.replay.shards.place import here

INFERENCE = "inference"
"""Name of the process that acts for all actors."""


@dataclasses.dataclass(frozen=True)
class Fleet:
    """The actors of a run.

    Args:
        address: Of the Ray that they are in.
        namespace: In which they have their names.
        actors: Those that make steps.
        inference: What acts for them, if they do not do so themselves.
        evaluators: Those that play evaluations.
        notes: What the user should know.
    """

    address: str
    namespace: str
    actors: tuple[Any, ...]
    inference: Any = None
    evaluators: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def open_fleet(options: RayConfig) -> Iterator[Fleet]:
    """Starts or joins Ray and makes the actors, which end with this process or this context.

    A Ray that this process has joined already is used, and left as it is.

    Raises:
        ClusterError: If that is not possible.
    """
    ray = import_ray(options.address)
    with contextlib.ExitStack() as stack:
        notes = []
        namespace = f"reverie-{uuid.uuid4().hex[:12]}"
        if not ray.is_initialized():
            notes += _open(ray, options, namespace, stack)
        local = not options.address
        if not local:
            check_nodes(ray)
        how = {"num_cpus": 0 if local else options.cpus, "max_restarts": -1}
        how |= {"scheduling_strategy": "SPREAD", "namespace": namespace}
        place = here()
        made = [
            [ray.remote(kind).options(name=name, **how).remote(*place) for name in names]
            for kind, names in zip((EnvActor, EvalActor), _names(options), strict=True)
        ]
        server = _server(ray, options, namespace) if options.inference == "server" else None
        stack.callback(_kill, ray, [*made[0], *made[1], *([server] if server else [])])
        address = ray.get_runtime_context().gcs_address
        yield Fleet(address, namespace, tuple(made[0]), server, tuple(made[1]), tuple(notes))


@contextlib.contextmanager
def join_fleet(
    address: str, namespace: str, options: RayConfig, notes: tuple[str, ...] = ()
) -> Iterator[Fleet]:
    """The actors that another process has made."""
    ray = import_ray(address)
    with kept_up(init(ray, address=address, namespace=namespace)), contextlib.ExitStack() as stack:
        stack.callback(ray.shutdown)
        actors, evaluators = (
            tuple(ray.get_actor(name, namespace=namespace) for name in names)
            for names in _names(options)
        )
        server = None
        if options.inference == "server":
            server = ray.get_actor(INFERENCE, namespace=namespace)
        yield Fleet(address, namespace, actors, server, evaluators, notes)


def _names(options: RayConfig) -> tuple[list[str], list[str]]:
    """Of the actors that make steps, and of those that play evaluations."""
    return (
        [f"actor-{index}" for index in range(options.actors)],
        [f"eval-{index}" for index in range(options.eval_actors)],
    )


def _server(ray: Any, options: RayConfig, namespace: str) -> Any:
    """What acts for all actors, on the node of the learner, which is this one."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    return (
        ray.remote(InferenceServer)
        .options(
            name=INFERENCE,
            namespace=namespace,
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=options.actors + 10,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        .remote(*here(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    )


def _open(ray: Any, options: RayConfig, namespace: str, stack: contextlib.ExitStack) -> list[str]:
    if not options.address:
        address, folder = stack.enter_context(local_ray())
        init(ray, address=address, namespace=namespace)
        stack.callback(ray.shutdown)
        notes = [f"A local Ray was started; what its processes write is in {folder}."]
        if options.actors >= (usable := cores()):
            notes.append(
                f"{options.actors} actors and the learner share {usable} cores: more actors help "
                "only where environments wait for something else than this machine's cores."
            )
        return notes
    address = join(ray, options.address, namespace)
    stack.callback(ray.shutdown)
    return [f"Ray cluster at {address}, {len(ray.nodes())} nodes."]


def _kill(ray: Any, actors: list[Any]) -> None:
    for actor in actors:
        with contextlib.suppress(Exception):  # Ray may have ended before.
            ray.kill(actor)

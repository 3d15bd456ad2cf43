"""Ray, started here or joined, and the actors of a run in it."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any

from reverie.actors.cluster.actor import EnvActor
from reverie.actors.cluster.evaluator import EvalActor
from reverie.config.errors import ConfigError
from reverie.config.parallel import RayConfig
from reverie.envs.vector import backend
from reverie.extras import install

OLDEST = (2, 60)
"""The oldest Ray that this is known to work with."""

SECONDS = 5.0
"""How long an address may take to answer."""

LEAST_STORE = 100 << 20
MOST_STORE = 2 << 30
"""Bytes of the object store of a local Ray; what is not used of it takes no memory."""

CURRENT = pathlib.Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` writes the address of the cluster on this machine."""

_ENVIRON = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # No GPU is asked for, and those that are here are not to be hidden.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Processes for tasks that never come would take the first seconds of every core.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # Behind everything else on the machine actors would take minutes to start.
    "RAY_worker_niceness": "0",
}


_SERVE = """
import json, shutil, sys, ray
options = json.loads(sys.argv[1])
for last in (False, True):
    try:
        ray.init(address="local", num_gpus=0, include_dashboard=False, configure_logging=False,
                 log_to_driver=False, **options)
        break
    except Exception:  # It waits for its processes for half a minute: too short on a busy machine.
        ray.shutdown()
        if last:
            raise
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
shutil.rmtree(options["_temp_dir"], ignore_errors=True)
"""


class ClusterError(ConfigError):
    """Ray is not there, too old, out of reach, or does not fit."""


@dataclasses.dataclass(frozen=True)
class Fleet:
    """The actors of a run.

    Args:
        address: Of the Ray that they are in.
        namespace: In which they have their names.
        actors: Those that make steps.
        evaluators: Those that play evaluations.
        notes: What the user should know.
    """

    address: str
    namespace: str
    actors: tuple[Any, ...]
    evaluators: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()


def import_ray(local: bool = False) -> Any:
    """The package, without what it reports about its use to others.

    Args:
        local: Whether a new Ray is to be started. It then has a token, as by default, but without
            a message each time.

    Raises:
        ClusterError: If it is not installed, or too old.
    """
    for name, value in _ENVIRON.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ClusterError(f"script parallel needs the package ray: {install('ray')}") from None
    version = tuple(map(int, ray.__version__.split(".")[:2]))
    if version < OLDEST:
        raise ClusterError(
            f"script parallel needs ray {'.'.join(map(str, OLDEST))} or newer, and ray "
            f"{ray.__version__} is installed: {install('ray')}"
        )
    if local and not ray.is_initialized():
        from ray._raylet import Config  # pyright: ignore[reportAttributeAccessIssue]

        os.environ.setdefault("RAY_AUTH_MODE", "token")
        Config.initialize("")  # As Ray does: whoever has imported it before has no token yet.
    return ray


@contextlib.contextmanager
def open_fleet(options: RayConfig) -> Iterator[Fleet]:
    """Starts or joins Ray and makes the actors, which end with this process or this context.

    A Ray that this process has joined already is used, and left as it is.

    Raises:
        ClusterError: If that is not possible.
    """
    ray = import_ray(local=not options.address)
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
        place = [path for path in sys.path if path], os.getcwd()
        made = [
            [ray.remote(kind).options(name=name, **how).remote(*place) for name in names]
            for kind, names in zip((EnvActor, EvalActor), _names(options), strict=True)
        ]
        stack.callback(_kill, ray, [*made[0], *made[1]])
        address = ray.get_runtime_context().gcs_address
        yield Fleet(address, namespace, tuple(made[0]), tuple(made[1]), tuple(notes))


@contextlib.contextmanager
def join_fleet(
    address: str, namespace: str, options: RayConfig, notes: tuple[str, ...] = ()
) -> Iterator[Fleet]:
    """The actors that another process has made."""
    ray = import_ray()
    _init(ray, address=address, namespace=namespace)
    try:
        actors, evaluators = (
            tuple(ray.get_actor(name, namespace=namespace) for name in names)
            for names in _names(options)
        )
        yield Fleet(address, namespace, actors, evaluators, notes)
    finally:
        ray.shutdown()


def _names(options: RayConfig) -> tuple[list[str], list[str]]:
    """Of the actors that make steps, and of those that play evaluations."""
    return (
        [f"actor-{index}" for index in range(options.actors)],
        [f"eval-{index}" for index in range(options.eval_actors)],
    )


def check_nodes(ray: Any, seconds: float = 60.0) -> None:
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
    done, late = ray.wait(list(calls), num_returns=len(calls), timeout=seconds)
    if late:
        names = ", ".join(calls[call] for call in late)
        raise ClusterError(f"Nodes of the Ray cluster do not start a task: {names}.")
    for call in done:
        try:
            python, version = ray.get(call)
        except ray.exceptions.RayError as error:
            raise ClusterError(f"A task on node {calls[call]} failed: {_first(error)}") from None
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


def _open(ray: Any, options: RayConfig, namespace: str, stack: contextlib.ExitStack) -> list[str]:
    if not options.address:
        address, folder = stack.enter_context(local_ray())
        _init(ray, address=address, namespace=namespace)
        stack.callback(ray.shutdown)
        notes = [f"A local Ray was started; what its processes write is in {folder}."]
        if options.actors >= (cores := backend.cores()):
            notes.append(
                f"{options.actors} actors and the learner share {cores} cores: more actors help "
                "only where environments wait for something else than this machine's cores."
            )
        return notes
    address = _found(options.address)
    try:
        _init(ray, address=address, namespace=namespace)
    except Exception as error:
        raise ClusterError(
            f"ray.address is {options.address}, which does not work as a Ray cluster: "
            f"{_first(error)}"
        ) from None
    stack.callback(ray.shutdown)
    return [f"Ray cluster at {address}, {len(ray.nodes())} nodes."]


@contextlib.contextmanager
def local_ray() -> Iterator[tuple[str, str]]:
    """A Ray on this machine: its address, and the folder of its processes.

    It is started by a process of its own: signals to the group of this one, such as Ctrl-C, would
    end it in the middle of a save, and this way it ends itself when this process is gone.
    """
    shared = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else MOST_STORE
    if shared < LEAST_STORE:
        raise ClusterError(
            f"/dev/shm has {shared / 1e6:.0f} MB free, and Ray needs {LEAST_STORE / 1e6:.0f} MB "
            "there to pass steps and parameters on: give the container more, as with docker run "
            "--shm-size=2g."
        )
    # Paths of sockets in it have to be short.
    with tempfile.TemporaryDirectory(prefix="rv", ignore_cleanup_errors=True) as folder:
        store = min(MOST_STORE, int(0.8 * shared))
        options = json.dumps({"object_store_memory": store, "_temp_dir": folder})
        with (
            open(f"{folder}/errors", "w+") as errors,
            subprocess.Popen(
                [sys.executable, "-c", _SERVE, options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            ) as process,
        ):
            assert process.stdout
            try:
                if not (address := process.stdout.readline().strip()):
                    process.wait()
                    errors.seek(0)
                    lines = errors.read().strip().splitlines()
                    raise ClusterError(f"Ray does not start here: {lines[-1] if lines else ''}")
                yield address, folder
            finally:
                _end(process)


def _end(process: subprocess.Popen) -> None:
    """Lets a local Ray end, or kills it if it does not."""
    try:
        process.communicate("", timeout=20.0)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def _init(ray: Any, **where: Any) -> None:
    """Joins or starts Ray, which leaves logging, and what is printed, alone."""
    ray.init(configure_logging=False, log_to_driver=False, **where)


def _found(address: str) -> str:
    """Host and port of a cluster that answers.

    Ray itself would try for minutes.
    """
    if address.startswith("ray://"):
        raise ClusterError(
            f"ray.address is {address}: Ray's client cannot pass steps on. Run the command on a "
            "node of the cluster, with auto as the address."
        )
    asked = address
    if address == "auto":
        try:
            address = os.environ.get("RAY_ADDRESS") or CURRENT.read_text().strip()
        except OSError:
            raise ClusterError(
                "ray.address is auto, and no Ray cluster runs on this machine: start one by `ray "
                "start --head`, or leave ray.address out for a local one."
            ) from None
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"ray.address is {address}: expected HOST:PORT, auto, or nothing.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"ray.address is {asked}, but {address} does not answer ({error}): is a Ray cluster "
            "running there, and reachable from here?"
        ) from None
    return address


def _kill(ray: Any, actors: list[Any]) -> None:
    for actor in actors:
        with contextlib.suppress(Exception):  # Ray may have ended before.
            ray.kill(actor)


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

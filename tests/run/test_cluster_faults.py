"""Faults in a Ray cluster of two nodes, while the command trains: what counts before and after.

    python -m pytest -m slow -s tests/run/test_cluster_faults.py

prints the table in docs/scale.md. Everything here happens to real processes on this machine.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import psutil
import pytest
from parallel_command import CHUNK, Command
from ray_nodes import Nodes, shared_memory

from reverie.actors.cluster.collector import AHEAD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

OWN = ("EnvActor", "EvalActor", "Shard")
"""Classes of the processes that the command has in the cluster."""


@contextlib.contextmanager
def cluster():
    """Nodes of which nothing is left, in the memory that they share neither."""
    before = shared_memory()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rv"))
    made = Nodes(folder)
    try:
        yield made
    finally:
        every = [x for node in made.nodes for x in node.processes()]
        made.close()
        shutil.rmtree(folder)
    assert psutil.wait_procs(every, timeout=120)[1] == []
    assert shared_memory() <= before


@pytest.fixture(scope="module")
def pair():
    """Two nodes that live through the faults of several tests, with room for an actor each."""
    with cluster() as nodes:
        nodes.add()
        nodes.add()
        yield nodes


@pytest.fixture
def nodes():
    """Those of one test."""
    with cluster() as nodes:
        yield nodes


@pytest.fixture
def train(tmp_path, cache):
    """Starts the command in a cluster, with two actors."""
    made = []

    def start(nodes, *words, cpus=2, prefix=()):
        where = "--ray.address", nodes.address, "--ray.actors", "2", "--ray.cpus", str(cpus)
        words = *where, "--run.train_ratio", "2", *words
        made.append(Command(tmp_path, cache, *words, prefix=prefix))
        return made[0]

    yield start
    for command in made:
        command.close()


def running(command, actors=2, steps=200, streams=4):
    """Waits until so many actors have made so many steps more; returns the counts."""
    first = command.counts()

    def so_far():
        now = command.counts()
        there = (now["running"], now["streams"]) == (actors, streams)
        return there and now["steps"] >= first["steps"] + steps and now["updates"] > 0

    command.wait(so_far)
    return command.counts()


def finish(name, command, nodes, before, after):
    """Ends the run in order, and looks at what is left and what counts; returns the output."""
    code, output, alive = command.end()
    assert code == 128 + signal.SIGTERM, output
    assert alive == []
    end = time.monotonic() + 120
    while left := [x for node in nodes.nodes for kind in OWN for x in node.workers(kind)]:
        assert time.monotonic() < end, left
        time.sleep(0.2)
    assert "Traceback" not in output
    kept, made = command.check_steps()
    last = command.saved.restore().step
    print(f"\n{name}\n  before {before}\n  after  {after}\n  saved  {last} steps")
    for number, steps in sorted(made.items()):
        print(f"  environment {number}: made {steps}, in replay {kept.get(number, 0)}")
        # All but the chunks that were asked for and had not arrived.
        assert steps - kept.get(number, 0) <= AHEAD * CHUNK
    assert after["steps"] == after["replay"]
    assert last >= after["steps"] > before["steps"]
    assert after["updates"] > before["updates"]
    return output


def test_kill_an_actor_on_the_second_node(pair, train):
    second = pair.nodes[1]
    command = train(pair)
    before = running(command)
    (actor,) = second.workers("EnvActor")
    actor.kill()
    command.wait(lambda: command.counts()["restarts"] == 1)
    output = finish("kill -9 an actor", command, pair, before, running(command))
    assert "is restarted, number 1 of at most 3" in output


def test_kill_a_replay_shard(pair, train):
    command = train(pair, "--ray.replay_shards", "2", cpus=1)
    before = running(command)
    shards = [x for node in pair.nodes for x in node.workers("Shard")]
    assert len(shards) == 2
    shards[1].kill()
    command.wait(lambda: "Replay shard" in command.output)
    after = running(command)
    output = finish("kill -9 a replay shard", command, pair, before, after)
    assert "and up to 0 are lost" in output


def test_kill_the_learner(pair, train):
    command = train(pair)
    before = running(command)
    command.learner().kill()
    command.wait(lambda: "Resumed at" in command.output)
    after = running(command)
    output = finish("kill -9 the learner", command, pair, before, after)
    assert "The learner is restarted" in output
    assert len(command.streams()) == 4


def test_a_node_joins_is_removed_and_another_one_joins(nodes, train):
    nodes.add()
    command = train(nodes)
    before = running(command, 1, streams=2)
    second = nodes.add()
    both = running(command)
    assert len(second.workers("EnvActor")) == 1
    second.kill()
    command.wait(lambda: command.counts()["running"] == 1)
    alone = running(command, 1)  # Streams end when the actor is replaced, for it may come back.
    nodes.add()
    after = running(command)
    print("\njoined", both, "\nremoved", alone)
    finish("remove a node, and another one joins", command, nodes, before, after)


@pytest.mark.parametrize(("timeout", "restarts"), [(300, 0), (10, 1)])
def test_stop_an_actor(pair, train, timeout, restarts):
    command = train(pair, "--run.env_timeout", str(timeout))
    before = running(command)
    (actor,) = pair.nodes[1].workers("EnvActor")
    actor.suspend()
    if restarts:
        command.wait(lambda: not actor.is_running())
    else:
        time.sleep(30)
        actor.resume()
    stopped = command.counts()
    assert stopped["steps"] > before["steps"]  # The other one goes on.
    after = running(command, steps=400)
    print("\nstopped", stopped)
    finish(f"stop an actor, with a timeout of {timeout} s", command, pair, before, after)
    assert after["restarts"] == restarts


FILL = """
import sys, time, numpy, ray
ray.init(address=sys.argv[1], configure_logging=False, log_to_driver=False)
held = []
while sum(x.nbytes for x in held) < 3 * int(sys.argv[2]):
    # What is looked at can neither be moved to the disk nor go.
    held.append(ray.get(ray.put(numpy.ones(5_000_000, numpy.uint8))))
print("full", flush=True)
sys.stdin.read()
"""


def test_fill_the_object_store(pair, train):
    command = train(pair)
    before = running(command)
    client = subprocess.Popen(
        [sys.executable, "-c", FILL, pair.address, str(pair.store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert client.stdout.readline() == "full\n"
        full = running(command, steps=400)
        client.communicate("")
    finally:
        client.kill()
    after = running(command, steps=400)
    print("\nfull", full)
    finish("fill the object store", command, pair, before, after)
    assert after["restarts"] == 0


@pytest.fixture
def cable(nodes):
    """Two nodes in network namespaces of their own, and what pulls the cable between them."""
    names = f"reverie-{os.getpid()}-a", f"reverie-{os.getpid()}-b"

    def ip(words):
        subprocess.run(["ip", *words.split()], check=True, capture_output=True)

    try:
        ip(f"netns add {names[0]}")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("Network namespaces need root, and iproute2.")
    try:
        ip(f"netns add {names[1]}")
        ip(f"-n {names[0]} link add cable type veth peer cable netns {names[1]}")
        for name, address in zip(names, ("10.77.0.1", "10.77.0.2"), strict=True):
            ip(f"-n {name} addr add {address}/24 dev cable")
            ip(f"-n {name} link set lo up")
            ip(f"-n {name} link set cable up")
            nodes.add(prefix=["ip", "netns", "exec", name], address=address)
        yield lambda state: ip(f"-n {names[0]} link set cable {state}")
    finally:
        nodes.close()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_cut_the_network(cable, nodes, train):
    command = train(nodes, prefix=nodes.nodes[0].prefix)
    before = running(command)
    (actor,) = nodes.nodes[1].workers("EnvActor")
    cable("down")
    time.sleep(20)
    cut = command.counts()
    cable("up")
    after = running(command, steps=400)
    print("\ncut", cut)
    assert actor.is_running()  # It made steps until it was two chunks ahead, and went on.
    finish("cut the network for 20 s", command, nodes, before, after)
    assert len(command.streams()) == 4

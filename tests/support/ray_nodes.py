"""Nodes of a Ray cluster, all on this machine, each as its own `ray start`."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import psutil

from reverie.actors.cluster.engine.package import import_ray

START = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-gpus", "0"]
START += ["--include-log-monitor", "false"]

START_SECONDS = 600
"""How long a busy machine may take to start a node."""


class Nodes:
    """Starts nodes one by one; the first one is the head.

    Args:
        folder: Short, for the files of all nodes; paths of sockets are in it.
        store: Bytes of the object store of each.
    """

    def __init__(self, folder, store=100 << 20):
        import_ray()  # A token, and no processes in store.
        self._folder, self.store = folder, store
        self.address = ""
        self.nodes = []

    def add(self, cpus=2, prefix=(), address=None):
        """Starts one, behind a prefix of the command, and returns it when Ray says so.

        Args:
            cpus: Cores that it says it has.
            prefix: In front of the command.
            address: Of the node, if it has one of its own.
        """
        words = ["--address", self.address] if self.address else ["--head", "--port", "0"]
        if address:
            words += ["--node-ip-address", address]
        words += ["--num-cpus", str(cpus), "--object-store-memory", str(self.store)]
        if not self.address:
            words += ["--temp-dir", str(self._folder), "--include-dashboard", "false"]
        output = self._folder / f"node-{len(self.nodes)}"
        with output.open("w") as file:
            process = subprocess.Popen(
                [*prefix, *START, *words],
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "RAY_raylet_start_wait_time_s": str(START_SECONDS)},
                start_new_session=True,
            )
        node = Node(process, prefix)
        self.nodes.append(node)
        end = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.1)
        if not self.address:
            (self.address,) = re.findall(r"ray start --address='(\S+)'", output.read_text())
        return node

    def close(self):
        """Kills all nodes."""
        for node in reversed(self.nodes):
            node.kill()


class Node:
    """One of them."""

    def __init__(self, process, prefix):
        self.process, self.prefix = process, prefix

    def processes(self):
        """All of them."""
        try:
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def workers(self, name=""):
        """The processes of actors of a class, or of all."""
        return [x for x in self.processes() if cmdline(x).startswith(f"ray::{name}")]

    def kill(self):
        """Kills all its processes at once, as where a machine loses its power."""
        every = self.processes()
        # Stopped first, so that none has time for a farewell.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in every:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
        self.process.wait()
        psutil.wait_procs(every, timeout=30)


def cmdline(process):
    """The command line of a process; empty if it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def shared_memory():
    """Names in /dev/shm."""
    return set(os.listdir("/dev/shm"))

"""A Ray on this machine, for one run."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from reverie.actors.cluster.engine.package import ClusterError

LEAST_STORE = 100 << 20
MOST_STORE = 2 << 30
"""Bytes of the object store of a local Ray; what is not used of it takes no memory."""

LEARNER = "learner"
"""File in the folder of a Ray's session that a learner locks while it needs this Ray."""

SERVE = """
import fcntl, json, pathlib, shutil, sys, ray
options = json.loads(sys.argv[1])
for last in (False, True):
    try:
        context = ray.init(address="local", num_gpus=0, include_dashboard=False,
                           configure_logging=False, log_to_driver=False, **options)
        break
    except Exception:  # It waits for its processes for half a minute: too short on a busy machine.
        ray.shutdown()
        if last:
            raise
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
with (pathlib.Path(context.address_info["session_dir"]) / sys.argv[2]).open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)  # A learner saves.
ray.shutdown()
shutil.rmtree(options["_temp_dir"], ignore_errors=True)
"""


@contextlib.contextmanager
def local_ray() -> Iterator[tuple[str, str]]:
    """A Ray on this machine: its address, and the folder of its processes.

    It is started by a process of its own: signals to the group of this one, such as Ctrl-C, would
    end it in the middle of a save, and this way it ends itself when this process is gone and no
    learner needs it.
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
                [sys.executable, "-c", SERVE, options, LEARNER],
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


@contextlib.contextmanager
def kept_up(folder: str) -> Iterator[None]:
    """A local Ray, whose session has this folder, outlives who has started it until this ends."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # The folder of a cluster may be another user's.
            file = stack.enter_context(open(f"{folder}/{LEARNER}", "w"))
            fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _end(process: subprocess.Popen) -> None:
    """Lets a local Ray end, or kills it if it does not."""
    try:
        process.communicate("", timeout=20.0)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)

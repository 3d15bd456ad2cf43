"""A Ray that tests of one file share, in a process of its own."""

import subprocess
import sys

import pytest

from reverie.actors.cluster.fleet import import_ray

SERVE = """
import ray
ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, configure_logging=False,
         log_to_driver=False, object_store_memory=150 << 20)
print(ray.get_runtime_context().gcs_address, flush=True)
input()
"""


@pytest.fixture(scope="module")
def ray_address():
    """One Ray for all that this process does, which uses it and leaves it alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        ray = import_ray()
        command = [sys.executable, "-W", "ignore", "-c", SERVE]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            address = process.stdout.readline().strip()
            ray.init(address=address, configure_logging=False, log_to_driver=False)
            yield address
            ray.shutdown()
            process.communicate("\n", timeout=60)

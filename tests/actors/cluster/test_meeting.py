"""Processes that find each other in a real Ray."""

import os
import subprocess
import sys

import pytest

from reverie.actors.cluster.engine.local import local_ray
from reverie.actors.cluster.engine.package import import_ray

CODE = """
import sys
from reverie.actors.cluster.engine.package import ClusterError
from reverie.actors.cluster.meeting import meet
try:
    print(*meet(sys.argv[1], 2, float(sys.argv[2])))
except ClusterError as error:
    print(error)
"""


@pytest.fixture
def come():
    """Starts a process that comes to a meeting of two; returns what it says."""
    import_ray()
    with local_ray() as (address, _):

        def start(name, seconds=200):
            words = [sys.executable, "-c", CODE, name, str(seconds)]
            env = {**os.environ, "RAY_ADDRESS": address}
            return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True)

        yield start


def test_processes_agree_on_the_first_and_on_their_numbers(come):
    processes = [come(name) for name in ("one", "one", "two", "two")]
    lonely = come("lonely", 1)
    said = [process.communicate()[0].split() for process in processes]
    for pair in said[:2], said[2:]:
        assert sorted(number for _, number in pair) == ["0", "1"]
        assert len({address for address, _ in pair}) == 1
    assert said[0][0] != said[2][0]
    assert "Not all of the 2 processes of the run (jax.processes) have" in lonely.communicate()[0]

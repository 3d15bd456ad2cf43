import resource
import subprocess
import sys

import pytest

from reverie.learner.allocator import LARGE

PROGRAM = """
import resource, sys
import numpy as np
from reverie.learner.allocator import keep_memory, use_one_heap
if sys.argv[1] != "default":
    assert use_one_heap()
    assert keep_memory(int(sys.argv[1]))
def touch():
    np.full(200_000_000, 1, np.uint8)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is the allocator of Linux")
def test_large_blocks_are_reused_instead_of_mapped_again():
    pages = 200_000_000 // resource.getpagesize()
    kept = faults("0")
    assert kept < pages // 100
    # Huge pages may make mapping cheaper, but not free.
    assert kept < faults("default")
    assert kept < faults(str(LARGE))

"""`reverie train` keeps the working memory of small updates."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, types
import numpy as np
from reverie.run.allocator import memory_keeper

def touch():
    np.full(100_000_000, 1, np.uint8)

keep = memory_keeper()
keep(types.SimpleNamespace(learner=None))
needs = int(sys.argv[1])
learner = types.SimpleNamespace(memory_needs=lambda: {"train": needs} if needs else {})
for _ in range(2):
    keep(types.SimpleNamespace(learner=learner))
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(needs: int) -> int:
    command = [sys.executable, "-c", PROGRAM, str(needs)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


FREED = """
import ctypes, types
import psutil
from reverie.run.allocator import memory_keeper

libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(1000) for _ in range(200_000)]
for block in blocks:
    ctypes.memset(block, 1, 1000)
for block in blocks[:-1]:  # The last one keeps glibc from giving the others back by itself.
    libc.free(block)
before = psutil.Process().memory_info().rss
learner = types.SimpleNamespace(memory_needs=lambda: {"train": 2**27})
memory_keeper()(types.SimpleNamespace(learner=learner))
print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is the allocator of Linux")
def test_what_compiling_has_left_is_given_back():
    command = [sys.executable, "-c", FREED]
    freed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(freed) > 150_000_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is the allocator of Linux")
def test_blocks_of_small_updates_are_kept_and_those_of_large_ones_mapped():
    kept, mapped, unknown = faults(2**27), faults(2**30), faults(0)
    assert kept < mapped // 10
    assert kept < unknown // 10

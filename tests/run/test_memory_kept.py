"""A run keeps the working memory of small updates, and gives it back at its end."""

import inspect
import resource
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="glibc is the allocator of Linux"
)

KEPT = """
import resource, sys
import numpy as np
from reverie.run.allocator import keep_memory, memory_given_back

exec(sys.argv[1])
with memory_given_back():
    keep_memory(int(sys.argv[2]))
    print(faults())
print(faults())
"""

FREED = """
import ctypes
import psutil
from reverie.run.allocator import keep_memory

libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(1000) for _ in range(200_000)]
for block in blocks:
    ctypes.memset(block, 1, 1000)
for block in blocks[:-1]:  # The last one keeps glibc from giving the others back by itself.
    libc.free(block)
before = psutil.Process().memory_info().rss
keep_memory(2**27)
print(before - psutil.Process().memory_info().rss)
"""


RUNS = """
import sys
import numpy as np
import psutil
import reverie

def stays():
    # Bytes that the process still has of a block that nobody uses any more.
    before = psutil.Process().memory_info().rss
    np.full(100_000_000, 1, np.uint8)
    return psutil.Process().memory_info().rss - before

for name in "first", "second":
    seen = []
    reverie.train(
        "CartPole-v1", "debug", logdir=f"{sys.argv[1]}/{name}", run={"steps": 60},
        logger={"outputs": ["jsonl"]}, jax={"cache_dir": sys.argv[2]},
        callbacks=[lambda run: seen.append(stays()) if run.updates and not seen else None],
    )
    print(seen[0], stays())
"""


def faults():
    """Pages of new memory that a block takes each time that it is used."""

    def touch():
        np.full(100_000_000, 1, np.uint8)

    touch()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        touch()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 5


def printed(program, *words):
    command = [sys.executable, "-c", program, *words]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [int(number) for number in text.split()]


def test_what_compiling_has_left_is_given_back():
    (freed,) = printed(FREED)
    assert freed > 150_000_000


def test_blocks_of_small_updates_are_kept_and_those_of_large_ones_mapped():
    code = inspect.getsource(faults)
    kept, after_kept = printed(KEPT, code, str(2**27))
    mapped, after_mapped = printed(KEPT, code, str(2**30))
    assert kept < min(mapped, after_kept, after_mapped) // 10


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TOP_PAD_", str(2**17)), ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=65536")],
)
def test_who_sets_malloc_keeps_it_so(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    during, after = printed(KEPT, inspect.getsource(faults), str(2**27))
    assert during > after // 2


def test_runs_from_python_keep_them_until_they_end(tmp_path, cache):
    # In a process of its own: what other tests have left in the heap of this one is memory too.
    during, after, again, at_last = printed(RUNS, str(tmp_path), cache)
    assert min(during, again) > 90_000_000
    assert max(after, at_last) < 10_000_000

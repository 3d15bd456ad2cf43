"""Facts about the machine and the process, and the unit of time."""

import os
import subprocess
import sys

import jax
import machine
import numpy as np
import pytest
from machine import cores, describe_machine
from product import SHORTEST, Product


def in_process(script):
    """The numbers that a script prints, run in a process of its own."""
    folder = os.path.dirname(machine.__file__)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=folder
    )
    return [int(word) for word in done.stdout.split()]


def test_peak_memory_is_that_of_the_process_alone():
    ballast = np.ones(2**27, np.uint8)  # The parent's memory must not show in the child's.
    before, after, freed = in_process(
        "from machine import peak_memory\n"
        "print(peak_memory())\n"
        "block = bytearray(b'x') * 2**27\n"
        "print(peak_memory())\n"
        "del block\n"
        "print(peak_memory())\n"
    )
    assert before < ballast.size
    assert 0.9 * 2**27 < after - before < 1.3 * 2**27
    assert freed > 0.99 * after  # The kernel counts in batches of pages.


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="binding a process to a core is Linux only"
)
def test_bound_process_has_one_core():
    core, *left = in_process(
        "from machine import bind_to_one_core, cores\nprint(bind_to_one_core(), *cores())\n"
    )
    assert left == [core]
    assert core in cores()


def test_machine_is_described():
    facts = describe_machine()
    assert facts["cores"] >= 1
    assert facts["jax"] == jax.__version__
    assert facts["cpu"]


def test_short_products_are_timed_many_at_once():
    product = Product(jax.devices()[0], side=64)
    assert product.flops == 2 * 64**3
    assert 0 < product.seconds() < SHORTEST / 2


def test_larger_products_take_longer():
    small, large = (Product(jax.devices()[0], side) for side in (128, 512))
    fastest = lambda product: min(product.seconds() for _ in range(5))  # noqa: E731
    assert fastest(large) > 8 * fastest(small)

"""What a process may have of the machine, within the limits of a container."""

import collections
import os

import psutil
import pytest

from reverie import machine


@pytest.fixture
def group(monkeypatch, tmp_path):
    """The folder of a container's control group."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    return tmp_path


def test_the_memory_of_a_container_counts(group, monkeypatch):
    memory = collections.namedtuple("Memory", "available")(20e9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    (group / "memory.max").write_text("max\n")
    assert machine.available_ram() == 20e9
    (group / "memory.max").write_text("8000\n")
    (group / "memory.current").write_text("5000\n")
    (group / "memory.stat").write_text("anon 4000\nactive_file 300\ninactive_file 200\n")
    assert machine.available_ram() == 3500


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", 16), ("400000 100000", 4), ("250000 100000", 2), ("50000 100000", 1)],
)
def test_the_time_of_a_container_counts_in_whole_cores(group, monkeypatch, limit, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    assert machine.cores() == 16
    (group / "cpu.max").write_text(f"{limit}\n")
    assert machine.cores() == cores

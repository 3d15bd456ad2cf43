"""The tables, from records with known numbers."""

import io

import pytest
from rich.console import Console
from table import render

MACHINE = {
    "cpu": "Some CPU", "cores": 2, "load": 0.0, "system": "Linux x86_64", "python": "3.11.7",
    "reverie": "0.1.0", "jax": "0.10.2", "jaxlib": "0.10.2",
}  # fmt: skip
TRAIN = {
    "name": "size1m image", "dtype": "float32", "platform": "cpu", "device": "cpu",
    "parameters": 687875, "g_s": 0.04, "update_s": 1.5, "update_g": 37.5, "limit_g": 5.0,
    "share": 0.1333, "flops": 85.9e9, "flops_s": 57.3e9,
    "compile_s_cold": 9.04, "compile_s_warm": 0.51, "memory_bytes_cold": 2.5e9,
    "memory_bytes_warm": 1.25e9, "device_memory_bytes": None,
}  # fmt: skip
RUN = {"first_step_s": 3.04, "first_update_s": 12.5, "steps": 1042, "g_s": 0.04}


@pytest.fixture
def show():
    """The lines of the rendered results."""

    def lines(**results):
        console = Console(file=io.StringIO(), width=120)
        empty = {"machine": MACHINE, "train": [], "policy": [], "startup": []}
        console.print(render({**empty, **results}))
        return console.file.getvalue().splitlines()

    return lines


def cells(lines, start):
    (line,) = [line for line in lines if line.startswith(f"│ {start} ")]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_train_row(show):
    assert cells(show(train=[TRAIN]), "size1m image") == [
        "size1m image", "687,875", "85.9", "1.5", "37.5", "5", "13%", "0.0573", "9.0 / 0.5",
        "2.50 / 1.25",
    ]  # fmt: skip


def test_accelerator_shows_its_memory_and_the_share_of_its_peak(show):
    on_gpu = {"platform": "gpu", "device": "Some GPU", "device_memory_bytes": 3e9}
    lines = show(train=[TRAIN | on_gpu | {"peak_flops_s": 573e9}])
    assert "Device: Some GPU (gpu)" in lines
    assert cells(lines, "size1m image")[-1] == "2.50 / 1.25 / 3.00"
    assert cells(lines, "float32")[7] == "10% of peak"


def test_policy_and_startup_rows(show):
    call = {"name": "size1m vector, 1 env", "platform": "cpu", "call_s": 5e-4, "call_min_s": 4e-4}
    startup = {"size": "size12m", "cold": RUN, "warm": RUN | {"first_update_s": 4.0}}
    lines = show(policy=[call], startup=[startup])
    assert cells(lines, "size1m vector, 1 env")[1:] == ["0.5", "0.4"]
    (warm,) = [line for line in lines if " warm " in line]
    shown = ["size12m", "warm", "3.0", "4.0", "100", "1,042", "40", "ms"]
    assert warm.replace("│", "").split() == shown


def test_a_busy_machine_is_mentioned(show):
    assert not any("Other programs" in line for line in show())
    assert any("load 1.5" in line for line in show(machine=MACHINE | {"load": 1.5}))

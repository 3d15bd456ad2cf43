"""The real agent on four simulated devices, against the same updates on one."""

import json
import math
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).with_name("several_devices.py")
COUNTS = (1, 4)

EPSILON = float(np.finfo(np.float32).eps)

TOLERANCE = 32 * EPSILON
"""Devices change the order of sums and nothing else. A gradient is a sum of up to a thousand
terms (8 sequences x 4 starts x 5 imagined states, or 48 steps x 16 pixels), and the rounding of a
sum grows with the root of their number."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Arrays and facts of the same updates, by number of devices."""
    folders = {count: tmp_path_factory.mktemp(f"devices{count}") for count in COUNTS}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(count), str(folder)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for count, folder in folders.items()
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    results = {}
    for count, folder in folders.items():
        with np.load(folder / "arrays.npz") as saved:
            arrays = dict(saved)
        results[count] = arrays, json.loads((folder / "facts.json").read_text())
    return results


def assert_close(one, four, name):
    """Asserts that two arrays differ by rounding, in the norm of the first."""
    assert one.dtype == four.dtype
    error = np.linalg.norm(np.float64(four) - np.float64(one))
    assert error <= TOLERANCE * np.linalg.norm(np.float64(one)), name


def test_the_batch_is_split_and_the_policy_has_its_own_device(runs):
    assert runs[1][1]["rows"] == [8]
    assert runs[4][1]["rows"] == [2, 2, 2, 2]
    assert runs[1][1]["policy"] == runs[4][1]["policy"] == 4


def test_samples_do_not_depend_on_the_number_of_devices(runs):
    (one, _), (four, _) = runs[1], runs[4]
    names = [name for name in one if name.endswith("latent/stoch")]
    assert len(names) == 3
    for name in names:
        assert len(np.unique(one[name])) > 1
        np.testing.assert_array_equal(four[name], one[name])


BEHAVIOR = "state/states/actor_critic"


@pytest.mark.parametrize(
    "part", ["state/params", "state/opt", f"{BEHAVIOR}/slow", f"{BEHAVIOR}/norms", "out"]
)
def test_results_are_equal_to_rounding(runs, part):
    (one, _), (four, _) = runs[1], runs[4]
    names = [name for name in one if re.match(rf"\d/{part}/", name)]
    assert names
    assert sorted(one) == sorted(four)
    for name in names:
        assert_close(one[name], four[name], name)


def test_gradients_are_equal_to_rounding(runs):
    """The second moments after one update are the squares of the clipped gradients."""
    (one, _), (four, _) = runs[1], runs[4]
    (name,) = [name for name in one if name.startswith("0/state/opt/") and name.endswith("/nu")]
    assert_close(np.sqrt(one[name]), np.sqrt(four[name]), name)


def test_metrics_are_equal_to_rounding(runs):
    (one, _), (four, _) = runs[1], runs[4]
    names = [name for name in one if "/metric/" in name]
    assert {"0/metric/loss/value", "2/metric/opt/grad_norm", "1/metric/adv_std"} <= set(names)
    for name in names:
        # A mean may cancel to less than its terms, which are of order one.
        np.testing.assert_allclose(
            four[name], one[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name
        )


def collectives(program, kind):
    """Shapes of the results of all collective operations of a kind, as lists of sizes."""
    shapes = []
    for line in program.splitlines():
        found = re.search(rf" = (.*?) {kind}(-start)?\(", line)
        if found:
            sizes = re.findall(r"\w+\[([\d,]*)\]", found[1])
            shapes += [[int(n) for n in size.split(",") if n] for size in sizes]
    return shapes


def test_devices_share_the_work_and_exchange_gradients(runs):
    one, four = runs[1][1], runs[4][1]
    # What is not a quarter: the optimizer and the statistics of returns.
    assert four["flops"] < 0.3 * one["flops"]
    parameters = sum(v.size for k, v in runs[4][0].items() if k.startswith("0/state/params/"))
    reduced = sum(math.prod(shape) for shape in collectives(four["program"], "all-reduce"))
    assert reduced >= parameters > 10_000
    assert "all-reduce" not in one["program"]


def test_only_the_returns_are_gathered(runs):
    """Percentiles need all returns on every device; everything else stays where it is."""
    program = runs[4][1]["program"]
    gathered = sum(math.prod(shape) for shape in collectives(program, "all-gather"))
    moved = [collectives(program, kind) for kind in ("all-to-all", "collective-permute")]
    # 4 imagined steps from the last 4 steps of 8 sequences.
    assert gathered == 4 * 4 * 8
    assert moved == [[], []]

"""The real agent on four simulated devices, of one process or two, against the same on one."""

import json
import math
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from ports import held_port

SCRIPT = pathlib.Path(__file__).with_name("several_devices.py")

RUNS = {
    "one": (1, 1, 1),
    "four": (1, 4, 1),
    "cut": (1, 4, 2),
    "hosts": (2, 2, 1),
    "both": (2, 2, 2),
}
"""Processes, training devices of each, and devices that share one copy of the state."""

QUICK = ["both"]
OTHERS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
OTHERS = OTHERS[1:]

EPSILON = float(np.finfo(np.float32).eps)

TOLERANCE = 32 * EPSILON
"""Devices change the order of sums and nothing else. A gradient is a sum of up to a thousand
terms (8 sequences x 4 starts x 5 imagined states, or 48 steps x 16 pixels), and the rounding of a
sum grows with the root of their number."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Arrays and facts of the same updates, by kind of run, each made when it is asked for."""
    return Runs(lambda kind: run(tmp_path_factory, *RUNS[kind]))


class Runs(dict):
    def __init__(self, make):
        self.make = make

    def __missing__(self, kind):
        return self.setdefault(kind, self.make(kind))


def run(tmp_path_factory, processes, devices, shards, report=""):
    """Arrays of all processes together, and the facts of the first one."""
    folders = [tmp_path_factory.mktemp(f"devices{i}") for i in range(processes)]
    with held_port() as held:
        coordinator = f"127.0.0.1:{held.getsockname()[1]}"
        hosts = [
            [coordinator, str(processes), str(i)] if processes > 1 else [] for i in range(processes)
        ]
        command = [sys.executable, str(SCRIPT), str(devices), str(shards)]
        started = [
            subprocess.Popen(
                [*command, str(folder), report, *more],
                stderr=subprocess.PIPE,
                text=True,
            )
            for folder, more in zip(folders, hosts, strict=True)
        ]
        errors = [process.communicate(timeout=500)[1] for process in started]
    assert [process.returncode for process in started] == [0] * processes, errors
    found = []
    for folder in folders:
        with np.load(folder / "arrays.npz") as saved:
            found.append(dict(saved))
    together = {}
    for name, first in found[0].items():
        each = [arrays[name] for arrays in found]
        if re.match(r"\d/out/", name):
            together[name] = np.concatenate(each)
        elif not name.startswith("report/"):
            # Every process has all of the state, to the bit.
            assert all(np.array_equal(first, other) for other in each[1:]), name
            together[name] = first
        elif processes == 1:
            together[name] = first
    return together, json.loads((folders[0] / "facts.json").read_text())


def assert_close(one, four, name):
    """Asserts that two arrays differ by rounding, in the norm of the first."""
    assert one.dtype == four.dtype
    error = np.linalg.norm(np.float64(four) - np.float64(one))
    assert error <= TOLERANCE * np.linalg.norm(np.float64(one)), name


@pytest.mark.parametrize("kind", ["one", *OTHERS])
def test_the_batch_is_split_and_the_policy_has_its_own_device(runs, kind):
    facts, (processes, devices, _) = runs[kind][1], RUNS[kind]
    assert facts["rows"] == [8 // (processes * devices)] * devices
    assert facts["policy"] == 4


@pytest.mark.parametrize("kind", ["one", *OTHERS])
def test_neighbours_hold_even_parts_of_the_state(runs, kind):
    facts, shards = runs[kind][1], RUNS[kind][2]
    # But for small arrays.
    part = facts["home"] / (facts["state"] / shards)
    assert part == 1 if shards == 1 else 1 < part < 1.1


@pytest.mark.parametrize("kind", OTHERS)
def test_samples_do_not_depend_on_the_number_of_devices(runs, kind):
    (one, _), (four, _) = runs["one"], runs[kind]
    names = [name for name in one if name.endswith("latent/stoch")]
    assert len(names) == 3
    for name in names:
        assert len(np.unique(one[name])) > 1
        np.testing.assert_array_equal(four[name], one[name])


BEHAVIOR = "state/states/actor_critic"


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize(
    "part", ["state/params", "state/opt", f"{BEHAVIOR}/slow", f"{BEHAVIOR}/norms", "out", "acting"]
)
def test_results_are_equal_to_rounding(runs, part, kind):
    (one, _), (four, _) = runs["one"], runs[kind]
    names = [name for name in one if re.match(rf"\d/{part}/", name)]
    assert names
    assert set(one) <= set(four)
    for name in names:
        assert_close(one[name], four[name], name)


@pytest.mark.parametrize("kind", OTHERS)
def test_gradients_are_equal_to_rounding(runs, kind):
    """The second moments after one update are the squares of the clipped gradients."""
    (one, _), (four, _) = runs["one"], runs[kind]
    (name,) = [name for name in one if name.startswith("0/state/opt/") and name.endswith("/nu")]
    assert_close(np.sqrt(one[name]), np.sqrt(four[name]), name)


@pytest.mark.parametrize("kind", OTHERS)
def test_metrics_are_equal_to_rounding(runs, kind):
    (one, _), (four, _) = runs["one"], runs[kind]
    names = [name for name in one if "/metric/" in name]
    assert {"0/metric/loss/value", "2/metric/opt/grad_norm", "1/metric/adv_std"} <= set(names)
    for name in names:
        # A mean may cancel to less than its terms, which are of order one.
        np.testing.assert_allclose(
            four[name], one[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name
        )


@pytest.mark.parametrize("kind", OTHERS)
def test_parameters_that_act_are_those_of_the_state(runs, kind):
    arrays, _ = runs[kind]
    acting = {name: x for name, x in arrays.items() if name.startswith("2/acting/")}
    assert len(acting) > 20
    for name, x in acting.items():
        np.testing.assert_array_equal(x, arrays[name.replace("acting", "state/params")], name)


@pytest.mark.slow
def test_a_cut_state_reports_as_a_whole_one(tmp_path_factory):
    one, cut = (run(tmp_path_factory, *RUNS[kind], report="too")[0] for kind in ("four", "cut"))
    names = [name for name in one if name.startswith("report/openloop/")]
    assert names
    for name in names:
        np.testing.assert_allclose(cut[name], one[name], rtol=1e-4, atol=1e-4, err_msg=name)


def collectives(program, kind):
    """Shapes of the results of all collective operations of a kind, as lists of sizes."""
    shapes = []
    for line in program.splitlines():
        found = re.search(rf" = (.*?) {kind}(-start)?\(", line)
        if found:
            sizes = re.findall(r"\w+\[([\d,]*)\]", found[1])
            shapes += [[int(n) for n in size.split(",") if n] for size in sizes]
    return shapes


@pytest.mark.parametrize("kind", OTHERS)
def test_devices_share_the_work(runs, kind):
    # What is not a quarter: the optimizer and the statistics of returns, and more with a cut state;
    # devices of one copy that did the same work would make it a half and more.
    most = 0.3 if RUNS[kind][2] == 1 else 0.45
    assert runs[kind][1]["flops"] < most * runs["one"][1]["flops"]


@pytest.mark.slow
def test_devices_exchange_gradients(runs):
    one, four = runs["one"][1], runs["four"][1]
    parameters = sum(v.size for k, v in runs["four"][0].items() if k.startswith("0/state/params/"))
    reduced = sum(math.prod(shape) for shape in collectives(four["program"], "all-reduce"))
    assert reduced >= parameters > 10_000
    assert "all-reduce" not in one["program"]


@pytest.mark.slow
def test_only_the_returns_are_gathered(runs):
    """Percentiles need all returns on every device; everything else stays where it is."""
    program = runs["four"][1]["program"]
    gathered = sum(math.prod(shape) for shape in collectives(program, "all-gather"))
    moved = [collectives(program, kind) for kind in ("all-to-all", "collective-permute")]
    # 4 imagined steps from the last 4 steps of 8 sequences.
    assert gathered == 4 * 4 * 8
    assert moved == [[], []]

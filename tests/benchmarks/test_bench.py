"""Measurements of a tiny agent, in real processes."""

import json
import os
import subprocess
import sys

import bench
import jax
import pytest
from cases import SPACES, BenchError, PolicyCase, TrainCase
from processes import run_child
from startup import measure_startup

from reverie.agent.agent import Agent

TINY = ("--configs", "debug")


def run(*words):
    """Runs a program to its end; returns its output and messages."""
    env = {**os.environ, "REVERIE_DEBUG": "", "PYTHONWARNINGS": "error"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=env)


@pytest.fixture(scope="module")
def document():
    """What the script prints for one row of train steps."""
    options = ["--size", "size1m", "--obs", "vector", "--updates", "3", "--json"]
    done = run(bench.__file__, *options, *TINY, "--dtype", "bfloat16")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_document_holds_the_row_and_the_machine(document):
    assert sorted(document) == ["machine", "policy", "startup", "train"]
    assert document["policy"] == document["startup"] == []
    assert document["machine"]["jax"] == jax.__version__
    (row,) = document["train"]
    facts = {
        "name": "size1m vector", "dtype": "bfloat16", "platform": "cpu", "devices": [0],
        "batch_size": 2, "batch_length": 8, "context": 1, "updates": 3,
        "device_memory_bytes": None,
    }  # fmt: skip
    assert {key: row[key] for key in facts} == facts


@pytest.mark.slow
def test_parameters_are_those_of_the_agent(document):
    config = TrainCase("size1m", "vector", 1, TINY).config()
    agent = Agent(config.agent, *SPACES["vector"], context=1)
    params = jax.eval_shape(agent.init, jax.random.key(0)).params
    (row,) = document["train"]
    assert row["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(params))
    # Every parameter takes part in 16 trained steps: a product forward and two backward.
    assert row["flops"] > 16 * 6 * 0.5 * row["parameters"]


@pytest.mark.slow
def test_figures_fit_together(document):
    (row,) = document["train"]
    assert 0 < row["update_min_s"] <= row["update_s"]
    assert row["update_g"] == pytest.approx(row["update_s"] / row["g_s"])
    assert row["limit_g"] == pytest.approx(row["flops"] / (2 * 2048**3))
    assert row["share"] == pytest.approx(row["limit_g"] / row["update_g"])
    assert row["flops_s"] == pytest.approx(row["flops"] / row["update_s"])
    assert row["programs_found_cold"] == 0 < row["programs_found_warm"]
    assert all(row[f"compile_s_{state}"] > 0 for state in ("cold", "warm"))
    assert all(10e6 < row[f"memory_bytes_{state}"] < 100e9 for state in ("cold", "warm"))


@pytest.mark.slow
def test_policy_calls_run_on_one_core():
    case = PolicyCase("size1m", "image", 3, calls=5, words=TINY)
    record = run_child("policy", case)
    assert record["calls"] == 5
    assert 0 < record["call_min_s"] <= record["call_s"] < 60
    if hasattr(os, "sched_getaffinity"):
        assert record["core"] in os.sched_getaffinity(0)


@pytest.mark.slow
def test_several_devices_share_the_batch():
    case = TrainCase("size1m", "vector", 1, (*TINY, "--jax.devices", "0,1"))
    record = run_child("train", case)
    assert record["devices"] == [0, 1]
    assert record["update_s"] > 0


@pytest.mark.slow
def test_startup_is_timed_with_an_empty_and_a_filled_cache():
    record = measure_startup(words=(*TINY, "--task", "dummy_disc"))
    assert record["command"].endswith("crafter size1m --configs debug --task dummy_disc")
    for state in ("cold", "warm"):
        assert 0 < record[state]["first_step_s"] < record[state]["first_update_s"]
        assert 0 < record[state]["g_s"] < 10
    # Two sequences of nine steps are needed for a batch of the preset.
    assert record["cold"]["steps"] >= 18
    assert record["warm"]["first_update_s"] < record["cold"]["first_update_s"]


def test_failing_run_is_explained(monkeypatch):
    monkeypatch.setattr("startup.measure_product", lambda words: 1.0)
    with pytest.raises(BenchError, match="start-up failed with exit code 2") as caught:
        measure_startup(words=(*TINY, "--task", "gym_Nothing-v0"))
    assert "Nothing" in caught.value.trace


def test_failing_process_is_explained():
    with pytest.raises(BenchError, match="measured size0m vector failed") as caught:
        run_child("train", TrainCase("size0m", "vector", 1))
    assert "Unknown block 'size0m'" in caught.value.trace


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--updates", "0"], "--updates is 0"),
        (["--obs", "sound"], "--obs is sound"),
        (["--size", "size2m"], "size2m"),
        (["fast"], "fast"),
    ],
)
def test_wrong_options_are_one_line_with_exit_code_2(words, message, capsys):
    assert bench.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_help_shows_how_it_is_started():
    done = run(bench.__file__, "--help")
    assert done.returncode == 0
    assert "python benchmarks/speed/bench.py --size size1m" in done.stdout

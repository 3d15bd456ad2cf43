"""A whole run on four simulated devices, gone on with on two, as its own processes."""

import subprocess
import sys

import numpy as np
import pytest

from reverie.learner.checkpoints.checkpoint import Checkpointer

WORDS = [
    "--configs", "debug",
    "--task", "dummy_disc",
    "--env.dummy.size", "16", "16",
    r"--.*\.mults", "2,4",
    "--batch_size", "4",
    "--run.log_every", "0.2",
    "--run.eval_every", "0",
    "--logger.outputs", "terminal",
]  # fmt: skip


def train(logdir, *words):
    command = [sys.executable, "-m", "reverie", "train", *WORDS, "--logdir", str(logdir), *words]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_a_run_on_four_devices_goes_on_with_two(tmp_path):
    cache = ["--jax.cache_dir", str(tmp_path / "compiled")]
    four = ["--jax.mock_devices", "4", "--jax.devices", "0,1,2,3", "--jax.policy_device", "3"]
    done = train(tmp_path / "run", *cache, *four, "--run.steps", "60")
    assert done.returncode == 0, done.stderr
    assert "Run finished after 60 environment steps" in done.stdout
    checkpoints = Checkpointer(tmp_path / "run" / "checkpoints")
    before = checkpoints.restore().arrays
    assert before["opt/updates"] > 0

    two = ["--jax.mock_devices", "3", "--jax.devices", "0,1", "--jax.policy_device", "2"]
    done = train(tmp_path / "run", *cache, *two, "--run.steps", "80", "--run.report_every", "0")
    assert done.returncode == 0, done.stderr
    assert "Resumed at 60 environment steps" in done.stdout
    after = checkpoints.restore().arrays
    assert after["opt/updates"] > before["opt/updates"]
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in before.items()}
    assert all(np.isfinite(v).all() for v in after.values())


@pytest.mark.parametrize("devices", ["0,1,2", pytest.param("0,1,2,3,4", marks=pytest.mark.slow)])
def test_a_batch_that_cannot_be_split_is_refused_before_any_work(tmp_path, devices):
    done = train(tmp_path / "run", "--jax.mock_devices", "8", "--jax.devices", devices)
    assert done.returncode == 2
    count = devices.count(",") + 1
    assert f"batch_size = 4 must be divisible by the {count} training devices" in done.stderr
    assert "jax.devices from flag --jax.devices" in done.stderr
    assert not (tmp_path / "run").exists()

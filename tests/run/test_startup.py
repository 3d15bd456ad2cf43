"""Runs start whatever the machine does meanwhile: bound to one core, with and without a cache."""

import os
import pathlib
import subprocess
import sys

import pytest

WORDS = [
    "--configs", "debug",
    "--task", "gym_CartPole-v1",
    "--run.steps", "60",
    "--run.report_every", "0",
    "--run.eval_every", "0",
]  # fmt: skip


def start(folder: pathlib.Path, name: str, *words: str) -> str:
    """Trains for a moment on one core; returns what was said."""
    command = [sys.executable, "-m", "reverie", "train", *WORDS, "--logdir", str(folder / name)]
    command += words
    command += ["--jax.cache_dir", str(folder / "cache")]
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        ["taskset", "-c", str(core), *command], capture_output=True, text=True, timeout=500
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Run finished after 60 environment steps" in said
    return said


def programs(folder: pathlib.Path) -> dict[str, str]:
    """Files of programs, and what each does."""
    names = [path.name for path in folder.rglob("jit_reverie_*-cache")]
    return {name: name.split("-")[0] for name in names}


def test_a_run_starts_on_one_core_with_an_empty_and_a_filled_cache(tmp_path):
    start(tmp_path, "first")
    kept = programs(tmp_path / "cache")
    assert {"jit_reverie_act", "jit_reverie_train"} <= set(kept.values())
    start(tmp_path, "second")
    # What compiles in a tenth of a second is kept where that has taken longer.
    again = {k: x for k, x in programs(tmp_path / "cache").items() if x in kept.values()}
    assert again == kept


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_run_starts_ten_times_in_a_row_on_one_core(tmp_path):
    for number in range(10):
        start(tmp_path / f"empty-{number}", "run")
    for number in range(10):
        start(tmp_path / "filled", f"run-{number}")


def test_a_run_without_a_place_for_programs_says_so_and_goes_on(tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    # It compiles what acts, but no update.
    said = start(tmp_path, "run", "--run.train_ratio", "0")
    assert said.count("Compiled programs cannot be kept in") == 1

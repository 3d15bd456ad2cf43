"""docs/metrics.md explains what runs log, and nothing else."""

import pathlib
import re

import pytest

from reverie.config.load import load
from reverie.run.scripts import launch
from reverie.track.sinks.jsonl import read_jsonl

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
EXPLAINED = {
    name
    for row in PAGE.splitlines()
    if row.startswith("| `")
    for name in re.findall(r"`([^`]+)`", row.split("|")[1])
}
OF_OTHERS = {"train/opt/grad_scale", "train/opt/grad_overflow"}  # Of float16.
OF_OTHERS |= {"usage/device_gb", "usage/device_limit_gb"}  # Of accelerators.
OF_OTHERS |= {"achievement/rate/KEY", "achievement/score"}  # Of Crafter.
OF_OTHERS |= {f"epstats/log/KEY/{kind}" for kind in ("avg", "max", "sum")}
PATTERNS = [re.compile(name.replace("KEY", ".+")) for name in EXPLAINED]


@pytest.fixture(scope="module")
def logged(tmp_path_factory, cache):
    """Names that a run with an evaluation writes."""
    folder = tmp_path_factory.mktemp("logged") / "run"
    words = ["--configs", "debug", "--task", "gym_CartPole-v1", "--logger.outputs", "jsonl"]
    words += ["--run.steps", "120", "--run.final_eval_eps", "2", "--jax.cache_dir", cache]
    launch(load([*words, "--logdir", str(folder)]))
    files = [folder / "metrics.jsonl", folder / "scores.jsonl"]
    return {name for file in files for record in read_jsonl(file) for name in record}


def test_every_metric_of_a_run_is_explained(logged):
    known = {"step", "time"}
    assert len(logged) > 40
    for name in logged - known:
        if not name.startswith(("report/", "eval/report/")):
            assert any(pattern.fullmatch(name) for pattern in PATTERNS), name


def test_what_is_explained_is_logged(logged):
    for name in EXPLAINED - OF_OTHERS:
        pattern = re.compile(name.replace("KEY", ".+"))
        assert any(pattern.fullmatch(each) for each in logged), name

"""docs/metrics.md explains what runs log, and nothing else."""

import re

import pytest

from reverie import cli
from reverie.commands.metrics import entries, pattern
from reverie.config.load import load
from reverie.run.scripts import launch
from reverie.track.sinks.jsonl import read_jsonl

EXPLAINED = {name for entry in entries() for name in entry.names}
OF_OTHERS = {"train/opt/grad_scale", "train/opt/grad_overflow"}  # Of float16.
OF_OTHERS |= {"usage/device_gb", "usage/device_limit_gb"}  # Of accelerators.
OF_OTHERS |= {"env/frames"}  # Of runs that repeat actions.
OF_OTHERS |= {"achievement/rate/KEY", "achievement/score"}  # Of Crafter.
OF_OTHERS |= {f"epstats/log/KEY/{kind}" for kind in ("avg", "max", "sum")}
OF_OTHERS |= {"eval/report/KEY"}  # Of runs that keep episodes for it.
OF_OTHERS |= {"report/ahead/KEY/N", "report/ahead/KEY/N/last"}  # Of larger batches.
# Of script parallel.
OF_OTHERS |= {f"actors/{name}" for name in ("running", "restarts", "batch", "lag", "ahead")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache):
    """A run with an evaluation."""
    folder = tmp_path_factory.mktemp("logged") / "run"
    words = ["--configs", "debug", "--task", "gym_CartPole-v1", "--logger.outputs", "jsonl"]
    words += ["--run.steps", "120", "--run.final_eval_eps", "2", "--jax.cache_dir", cache]
    launch(load([*words, "--logdir", str(folder)]))
    return folder


@pytest.fixture(scope="module")
def logged(folder):
    """Names that it has written."""
    files = [folder / "metrics.jsonl", folder / "scores.jsonl"]
    return {name for file in files for record in read_jsonl(file) for name in record}


def test_every_metric_of_a_run_is_explained(logged):
    assert len(logged) > 40
    for name in logged - {"step", "time"}:
        assert any(pattern(each).fullmatch(name) for each in EXPLAINED), name


def test_what_is_explained_is_logged(logged):
    for name in EXPLAINED - OF_OTHERS:
        assert any(pattern(name).fullmatch(each) for each in logged), name


def test_the_command_explains_all_metrics_and_those_of_a_run(folder, capsys):
    def printed(*words):
        assert cli.main(["metrics", *words]) == 0
        return capsys.readouterr().out

    text = printed()
    assert all(name in text for name in EXPLAINED)
    text = printed("rand/", "train")
    assert "train/rand/KEY" in text
    assert "stopped exploring" in text
    assert "train/ent" not in text
    assert "train/rand/KEY" in printed("train/rand/action")
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 120, "time": 0, "mine/answer": 42.5}\n')
    text = printed(str(folder))
    assert re.search(r"\nreplay/steps +120 +steps held", text)
    assert re.search(r"\nmine/answer +42.5 +not explained", text)
    assert re.search(r"\nreport/loss/rew +", text)
    assert "KEY" not in text
    for words in (["frob"], ["--frob"], [str(folder), "frob"]):
        assert cli.main(["metrics", *words]) == 2
        assert "frob" in capsys.readouterr().err
    assert cli.main(["metrics", f"{folder}x", "rand"]) == 2
    assert "and there is no folder of a run" in capsys.readouterr().err

"""The experiments of the results page: their commands, and what is made of their scores."""

import json
import pathlib
import sys

import curves
import pytest

from reverie.config.load import load
from reverie.config.syntax.flags import split


def test_every_training_has_a_valid_configuration():
    count = 0
    for name, experiment in curves.EXPERIMENTS.items():
        for task in experiment.tasks:
            words = curves.command(experiment, task, 3, pathlib.Path("logdir") / name)
            presets, flags = split(words[words.index("train") + 1 :])
            options = [word for flag in flags for word in (f"--{flag.key}", *flag.tokens)]
            config = load(options, configs=presets)
            assert (config.task, config.seed) == (task, 3)
            assert config.logdir.endswith(f"/logdir/{name}/{curves.short(task)}-3")
            assert config.run.steps == experiment.tasks[task]
            count += 1
    assert count > 20


def test_a_training_that_fails_ends_the_program_with_its_code(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "command", lambda *_: [sys.executable, "-c", "exit(130)"])
    with pytest.raises(SystemExit) as end:
        curves.train(curves.EXPERIMENTS["quickstart"], "gym_CartPole-v1", 0, tmp_path)
    assert end.value.code == 130


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("gym_tasks:Catch-v0", "Catch"),
        ("bsuite_memory_len/3", "memory_len-3"),
        ("gym_minigrid:MiniGrid-Empty-8x8-v0", "MiniGrid-Empty-8x8"),
        ("dmc_reacher_easy", "reacher_easy"),
    ],
)
def test_names_of_folders(task, name):
    assert curves.short(task) == name


def test_runs_are_collected_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "HERE", tmp_path)
    monkeypatch.setattr(curves, "DOCS", tmp_path)
    folder = tmp_path / "logdir" / "quickstart" / "CartPole-4"
    folder.mkdir(parents=True)
    scores = [(500, 10.0), (1000, 20.0), (1001, 400.0)]
    records = [{"step": step, "episode/score": score} for step, score in scores]
    (folder / "scores.jsonl").write_text("".join(json.dumps(x) + "\n" for x in records))
    (folder / "evaluation.json").write_text(json.dumps({"scores": [499.0, 501.0]}))
    (tmp_path / "results.md").write_text("before\n<!-- quickstart -->\nold\n<!-- end -->\nafter")
    words = ["curves.py", "collect", "quickstart", "--folder", str(tmp_path / "logdir")]
    for _ in range(2):  # The second time replaces what the first one wrote.
        monkeypatch.setattr(sys, "argv", words)
        curves.main()
    monkeypatch.setattr(sys, "argv", ["curves.py", "draw", "quickstart"])
    curves.main()
    assert (tmp_path / "scores.csv").read_text().splitlines() == [
        "experiment,task,seed,env_steps,score,episodes",
        "quickstart,gym_CartPole-v1,4,1000,15,2",
        "quickstart,gym_CartPole-v1,4,2000,400,1",
    ]
    assert (tmp_path / "results.md").read_text().splitlines()[-3:] == [
        "| CartPole | 4 | 2,000 | 15 | 400 | 400 | 500 +- 1 | 499 |",
        "<!-- end -->",
        "after",
    ]
    assert (tmp_path / "images" / "quickstart.png").stat().st_size > 5000

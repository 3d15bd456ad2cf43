"""Which outputs an evaluation of a run folder writes to."""

import importlib

import pytest

from reverie import cli
from reverie.config.load import load
from reverie.config.saved_runs import foreign

# The package has a function of the same name.
eval_only = importlib.import_module("reverie.run.eval_only")


@pytest.mark.parametrize(
    ("words", "outputs"),
    [
        ([], ("jsonl",)),
        (["--logger.outputs", "terminal", "scope"], ("terminal", "scope")),
        (["--seed", "2"], ("jsonl",)),
    ],
)
def test_viewers_of_the_run_get_an_evaluation_only_if_named(tmp_path, monkeypatch, words, outputs):
    def play(config, **_):
        found.append(config.logger.outputs)
        raise KeyboardInterrupt

    found = []
    config = load(["--logger.outputs", "jsonl", "wandb", "--logdir", str(tmp_path)])
    config.to_yaml(tmp_path / "config.yaml")
    foreign.sign(tmp_path)  # As a run does for its user.
    monkeypatch.setattr(eval_only, "eval_only", play)
    assert cli.main(["eval", str(tmp_path), *words]) == 130
    assert found == [outputs]

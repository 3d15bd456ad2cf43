"""Sinks and callbacks of the user in a run, as the examples show them."""

import csv
import errno
import importlib.util
import io
import pathlib

import numpy as np
import pytest

import reverie
from reverie.actors.collector import Rollout
from reverie.actors.inspected import CollectorError
from reverie.errors import ConfigError
from reverie.spaces import FLAGS
from reverie.track.sinks.background import Background
from reverie.track.sinks.jsonl import read_jsonl

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
RANDOM = {"configs": "debug", "random_agent": True, "run.steps": 200, "run.envs": 2}


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_sink_of_ones_own_gets_episodes_and_notes(tmp_path, capfd):
    path = tmp_path / "scores.csv"
    example("own_sink").main(path, **RANDOM, logdir=tmp_path / "run")
    rows = list(csv.reader(path.read_text().splitlines()))
    logged = read_jsonl(tmp_path / "run" / "scores.jsonl")
    assert [float(row[1]) for row in rows] == [record["episode/score"] for record in logged]
    assert "NOTE Run folder: " in capfd.readouterr().out


def test_a_sink_that_raises_is_switched_off(tmp_path, caplog):
    table = example("own_sink").ScoreTable(tmp_path / "scores.csv")
    table.close()
    outcome = reverie.train("CartPole-v1", sinks=[table], **RANDOM, logdir=tmp_path / "run")
    assert outcome.steps == 200
    assert "ScoreTable failed and is switched off" in caplog.text


class Broken:
    """A sink that can do nothing."""

    def fail(self, *_):
        raise RuntimeError("broken")

    write = episode = note = close = fail


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text):
        raise OSError(errno.EIO, "Input/output error")


def test_a_run_whose_outputs_all_fail_ends_as_usual(tmp_path, caplog, monkeypatch):
    for name in ("tensorboardX", "wandb", "scope"):
        pytest.importorskip(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    # A run waits four seconds for what is not written yet, which a busy machine may exceed.
    monkeypatch.setattr(Background.__init__, "__defaults__", (400.0,))
    monkeypatch.setattr("tensorboardX.event_file_writer.EventsWriter", Broken().fail)
    monkeypatch.setattr("sys.stdout", Gone())
    folder = tmp_path / "run"
    (folder / "wandb_id.txt").mkdir(parents=True)
    (folder / "scope").write_text("a file in the place of a folder")
    outputs = ["terminal", "jsonl", "tensorboard", "wandb", "scope"]
    options = {**RANDOM, "logger.outputs": outputs, "logdir": folder}
    outcome = reverie.train("CartPole-v1", sinks=[Broken()], **options)
    assert outcome.steps == 200
    for name in ("TerminalSink", "Broken", "tensorboard", "wandb", "scope"):
        assert caplog.text.count(f"The output {name} failed and is switched off") == 1
    assert read_jsonl(folder / "metrics.jsonl")[-1]["step"] == 200
    assert len(read_jsonl(folder / "scores.jsonl")) > 3


def test_callbacks_see_the_run_after_every_step(tmp_path, capfd):
    options = {**RANDOM, "run.log_every": 1e-3, "logger.outputs": ["jsonl"]}
    example("own_callback").main(0, **options, logdir=tmp_path / "run")
    assert "The loop went round 100 times." in capfd.readouterr().out
    records = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert records[-1]["own/updates_per_step"] == 0


@pytest.mark.parametrize("script", ["train", "train_eval"])
def test_a_run_trains_on_what_a_collector_of_ones_own_gives(tmp_path, capfd, script, cache):
    options = {"run.steps": 600, "run.train_ratio": 1, "run.log_every": 1e-3, "script": script}
    options |= {"run.eval_every": 1e-3, "run.eval_eps": 1, "run.eval_envs": 1, "run.debug": True}
    outcome = example("own_collector").main(
        **options, configs="debug", logdir=tmp_path / "run", **{"jax.cache_dir": cache}
    )
    assert outcome.steps >= 600
    assert outcome.updates > 0
    scores = read_jsonl(tmp_path / "run" / "scores.jsonl")
    played = [x["episode/score"] for x in scores if "episode/score" in x]
    # One that acts at random reaches 20.
    assert np.mean(played) > 100
    assert any("eval/episode/score" in x for x in scores) == (script == "train_eval")
    assert "Steps come from <" in capfd.readouterr().out


def test_a_collector_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="without collect, set_params, close: expected an object"):
        reverie.train("CartPole-v1", collector=3, **RANDOM, logdir=tmp_path / "run")


def test_a_collector_that_gives_no_steps_ends_the_run(tmp_path):
    class Idle:
        def collect(self):
            flags = {key: np.zeros((0, 1), bool) for key in FLAGS}
            obs, reward = np.zeros((0, 1, 4), np.float32), np.zeros((0, 1), np.float32)
            steps = {"obs": obs, "reward": reward, "action": np.zeros((0, 1), np.int32), **flags}
            return Rollout(steps, (0,))

        def set_params(self, params):
            pass

        def close(self):
            pass

    options = {**RANDOM, "run.env_timeout": 0.05, "logdir": tmp_path / "run"}
    with pytest.raises(CollectorError, match="no steps for 0 seconds"):
        reverie.train("CartPole-v1", collector=Idle(), **options)


def test_an_error_in_a_callback_ends_the_run_saved(tmp_path):
    def fail(run):
        if run.steps == 40:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        reverie.train("CartPole-v1", callbacks=[fail], **RANDOM, logdir=tmp_path / "run")
    outcome = reverie.train("CartPole-v1", **RANDOM, logdir=tmp_path / "run")
    assert outcome.steps == 200


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ({"callbacks": [60]}, "callbacks has 60 in it: expected functions that take the run"),
        ({"callbacks": print}, r"callbacks is <.*print>: expected a list"),
        ({"callbacks": map(str, [])}, "callbacks is <map .* expected a list"),
        ({"sinks": None}, r"sinks is None: expected a list, such as sinks=\[mine\]"),
        ({"sinks": [print]}, "without write, episode, note, close"),
        ({"callbacks": [print], "script": "eval_only"}, "script is eval_only"),
    ],
)
def test_what_cannot_be_called_is_refused(tmp_path, extras, message):
    with pytest.raises(ConfigError, match=message):
        reverie.train("CartPole-v1", **{**RANDOM, **extras}, logdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()

"""What goes into the logger and what sinks get from it."""

import ml_dtypes
import numpy as np
import pytest

from reverie.track.logger import Logger
from reverie.track.sinks.jsonl import JsonlSink, read_jsonl
from reverie.track.sinks.media import MediaSink
from reverie.track.sinks.registry import make_sinks
from reverie.track.sinks.terminal import TerminalSink


class Recorder:
    """A sink that remembers its calls."""

    def __init__(self):
        self.calls = []

    def write(self, step, metrics):
        self.calls.append(("write", step, dict(metrics)))

    def episode(self, step, metrics):
        self.calls.append(("episode", step, dict(metrics)))

    def note(self, text):
        self.calls.append(("note", text))

    def close(self):
        self.calls.append(("close",))


class Broken(Recorder):
    def write(self, step, metrics):
        raise OSError(28, "No space left on device")


def test_write_hands_everything_over_once():
    sink, step = Recorder(), 7
    logger = Logger([sink], lambda: step)
    logger.add({"loss/dyn": 1.5, "phase": "warmup"}, prefix="train")
    logger.add({"replay/items": 12})
    step = 9
    logger.write()
    logger.write()
    metrics = {"train/loss/dyn": 1.5, "train/phase": "warmup", "replay/items": 12}
    assert sink.calls == [("write", 9, metrics), ("write", 9, {})]


def test_numbers_are_averaged_and_the_last_of_others_is_kept():
    sink = Recorder()
    logger = Logger([sink], lambda: 0)
    for number, image in [(1, 10), (2, 20), (6, 30)]:
        logger.add({"x": number, "who": f"n{number}", "image": np.full((2, 2, 3), image, np.uint8)})
    logger.write()
    ((_, _, metrics),) = sink.calls
    assert metrics["x"] == 3.0
    assert metrics["who"] == "n6"
    assert metrics["image"].tolist() == np.full((2, 2, 3), 30).tolist()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, 1),
        (np.True_, 1),
        (np.int64(2**40), 2**40),
        (10**30, 10**30),
        (np.float32(0.5), 0.5),
        (np.float64(0.25), 0.25),
        (np.array(3), 3),
        (ml_dtypes.bfloat16(1.5), 1.5),
        (np.array(2.5, ml_dtypes.bfloat16), 2.5),
        (np.str_("abc"), "abc"),
    ],
)
def test_scalars_become_plain_python_values(value, expected):
    sink = Recorder()
    logger = Logger([sink], lambda: 0)
    logger.add({"x": value})
    logger.write()
    result = sink.calls[0][2]["x"]
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(3, np.int32),
        np.zeros(0, np.float32),
        np.zeros((3, 4), np.float32),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
        None,
        b"text",
        1 + 2j,
        ["a", "b"],
    ],
)
def test_other_values_are_refused_by_name_and_nothing_is_kept(value):
    sink = Recorder()
    logger = Logger([sink], lambda: 0)
    with pytest.raises(ValueError, match="'report/bad'"):
        logger.add({"good": 1.0, "bad": value}, prefix="report")
    logger.write()
    assert sink.calls == [("write", 0, {})]


@pytest.mark.parametrize("name", ["step", "time", ""])
def test_reserved_names_are_refused(name):
    with pytest.raises(ValueError, match="reserved"):
        Logger([], lambda: 0).add({name: 1.0})


@pytest.mark.parametrize("prefix", ["", "eval"])
def test_episodes_reach_sinks_at_once_without_other_metrics(prefix):
    sink = Recorder()
    logger = Logger([sink], lambda: 42)
    logger.add({"episode/score": 3.0, "episode/length": 10, "epstats/log/x/avg": 1.0}, prefix)
    root = f"{prefix}/episode" if prefix else "episode"
    assert sink.calls == [("episode", 42, {f"{root}/score": 3.0, f"{root}/length": 10})]


def test_close_writes_what_is_left_and_only_once():
    sink = Recorder()
    with Logger([sink], lambda: 1) as logger:
        logger.note("hello")
        logger.add({"x": 1.0})
    logger.close()
    assert sink.calls == [("note", "hello"), ("write", 1, {"x": 1.0}), ("close",)]


def test_every_sink_is_closed_when_one_fails():
    broken, sink = Broken(), Recorder()
    logger = Logger([broken, sink], lambda: 1)
    logger.add({"x": 1.0})
    with pytest.raises(OSError, match="No space left"):
        logger.close()
    assert broken.calls == [("close",)]
    assert sink.calls == [("close",)]


def test_sinks_are_made_by_name(tmp_path, capsys):
    sinks = make_sinks(["terminal", "jsonl"], tmp_path / "run", step=lambda: 5, total_steps=10)
    assert {type(s) for s in sinks} == {TerminalSink, JsonlSink, MediaSink}
    assert make_sinks([], tmp_path / "other", step=lambda: 0) == []
    with Logger(sinks, lambda: 5) as logger:
        logger.add({"episode/score": 1.0, "episode/length": 2})
        logger.add({"image": np.zeros((4, 4, 3), np.uint8)})
    assert [r["step"] for r in read_jsonl(tmp_path / "run/scores.jsonl")] == [5]
    assert [r["step"] for r in read_jsonl(tmp_path / "run/metrics.jsonl")] == [5]
    assert (tmp_path / "run/images/image_000000005.png").is_file()
    assert "step 5/10 (50%)" in capsys.readouterr().out
    assert not (tmp_path / "other").exists()


def test_wrong_outputs_are_explained(tmp_path):
    with pytest.raises(ValueError, match=r"'jsonlines'.*Did you mean 'jsonl'"):
        make_sinks(["jsonlines"], tmp_path, step=lambda: 0)
    with pytest.raises(ValueError, match="twice"):
        make_sinks(["jsonl", "jsonl"], tmp_path, step=lambda: 0)
    with pytest.raises(ValueError, match=r"filter '\('"):
        make_sinks(["terminal"], tmp_path, step=lambda: 0, filter="(")

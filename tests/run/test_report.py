"""Reports: numbers, videos and plots."""

import importlib
import types

import numpy as np
import pytest

from reverie.run.reports.report import plots, report
from reverie.track.logger import Logger
from reverie.track.sinks.base import Sink


class Memory(Sink):
    """Keeps what it is told."""

    def __init__(self):
        self.metrics = {}

    def write(self, step, metrics):
        self.metrics = dict(metrics)


class Model:
    """Reports the number of the batch, a video and a vector."""

    def report(self, batch, source):
        assert source == "report"
        value = np.full((2, 4, 3), batch["n"], np.float32)
        return {
            "loss/rew": np.float32(batch["n"]),
            "openloop/image/true": np.full((1, 4, 8, 8, 3), batch["n"], np.uint8),
            "openloop/image/pred": np.full((1, 4, 8, 8, 3), batch["n"], np.uint8),
            "openloop/deep/vector/true": value,
            "openloop/deep/vector/pred": value + 1,
        }


class Batches:
    """Numbered batches."""

    def __init__(self):
        self.count = 0

    def next(self):
        self.count += 1
        return types.SimpleNamespace(batch={"n": self.count})


def test_numbers_are_averaged_and_the_last_batch_is_shown(tmp_path):
    memory, batches = Memory(), Batches()
    with Logger([memory], lambda: 0) as logger:
        report(Model(), batches, logger, tmp_path, batches=3)
        logger.write()
    assert batches.count == 3
    assert memory.metrics["report/loss/rew"] == 2.0
    video = memory.metrics["report/openloop/image"]
    # As many frames again hold the last one; the images are enlarged.
    assert len(video) == 8
    assert (video[4:] == video[3]).all()
    assert (video[:, 200] == 3).all(-1).any()
    # Two sequences, two steps that were not observed, three dimensions.
    assert memory.metrics["report/openloop/deep/vector/error"].tolist() == [1.0] * 12
    assert (tmp_path / "openloop" / "deep-vector.png").read_bytes().startswith(b"\x89PNG")


ODD = {
    "dollars": "pnl_$_net_$",
    "formula": r"$\frac{",
    "percent": "share_%s_%(x)d",
    "lines": "two\nlines\tand \x1b[31m",
    "upwards": "../../outside",
    "absolute": "/tmp/outside",
    "dots": "..",
    "empty part": "a//b",
    "letters": "größe_ü/λ",
    "half a letter": "a\udc80",
    "nothing": "a\0b",
    "long": "very_long_" * 60,
    "braces": "{x!r}<b>&amp;",
}


@pytest.mark.parametrize("key", ODD.values(), ids=ODD)
def test_any_key_becomes_a_picture_in_the_folder(tmp_path, key):
    value = np.random.default_rng(0).normal(size=(2, 4, 1))
    folder = tmp_path / "run"
    (file,) = plots({f"openloop/{key}/true": value, f"openloop/{key}/pred": value}, folder)
    assert file.parent == folder / "openloop"
    assert file.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_alike_keys_have_pictures_of_their_own(tmp_path):
    value = np.zeros((1, 2, 1))
    keys = ["a/b", "a-b", "a b", "a$b", "a%b", "a_b", "A_b"]
    pairs = {f"openloop/{key}/{part}": value for key in keys for part in ("true", "pred")}
    assert len(set(plots(pairs, tmp_path))) == len(keys)


def test_a_camera_may_be_called_true(tmp_path):
    images = np.zeros((1, 4, 8, 8, 3), np.uint8)
    assert plots({f"openloop/cam/true/{x}": images for x in ("true", "pred")}, tmp_path) == []


def test_a_picture_that_cannot_be_drawn_is_told_and_stops_nothing(tmp_path, monkeypatch):
    class Notes(Memory):
        def note(self, text):
            notes.append(text)

    notes, memory = [], Notes()
    module = importlib.import_module("reverie.run.reports.report")
    monkeypatch.setattr(module, "openloop_plot", lambda *args, **options: 1 / 0)
    with Logger([memory], lambda: 0) as logger:
        assert report(Model(), Batches(), logger, tmp_path) == []
        logger.write()
    assert memory.metrics["report/loss/rew"] == 1.0
    (note,) = notes
    assert "goes on without it: ZeroDivisionError: division by zero" in note

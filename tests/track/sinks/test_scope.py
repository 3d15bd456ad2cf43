"""What Scope reads of a run."""

import numpy as np
import pytest

from reverie.track.logger import Logger
from reverie.track.sinks.registry import make_sinks

scope = pytest.importorskip("scope", reason="needs the extra scope")


def write(folder, records, first_step=0, **options):
    """Logs metrics by step."""
    step = first_step
    sinks = make_sinks(
        ["scope"], folder, step=lambda: step, filter="", first_step=first_step, **options
    )
    with Logger(sinks, lambda: step) as logger:
        for step, metrics in records.items():  # noqa: B007 The logger reads it.
            logger.add(metrics)
            logger.write()


def clip():
    video = np.full((6, 20, 300, 3), 20, np.uint8)
    video[3:] = 220
    return video


def test_all_kinds_come_back(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    records = {
        5: {"train/loss/dyn": 1.5, "report/image": image, "report/openloop/video": clip()},
        6: {"train/loss/dyn": float("nan"), "phase": "wärm", "error": np.ones(3)},
    }
    write(tmp_path, records, options={"agent": {"units": [1, 2]}})
    reader = scope.Reader(tmp_path)
    assert set(reader.keys()) == {
        *("train/loss/dyn", "report/image", "report/openloop/video", "phase", "config")
    }
    steps, values = reader["train/loss/dyn"]
    assert steps.tolist() == [5, 6]
    np.testing.assert_array_equal(values, [1.5, np.nan])
    steps, (file,) = reader["report/image"]
    assert steps.tolist() == [5]
    np.testing.assert_array_equal(
        reader.load("report/image", file.relative_to(reader.logdir)), image
    )
    _, (file,) = reader["report/openloop/video"]
    video = reader.load("report/openloop/video", file.relative_to(reader.logdir))
    assert video.shape == clip().shape
    assert [int(frame.mean() > 120) for frame in video] == [0, 0, 0, 1, 1, 1]
    _, (file,) = reader["phase"]
    assert reader.load("phase", file.relative_to(reader.logdir)) == "wärm"
    _, (file,) = reader["config"]
    assert file.read_text() == "agent.units: [1, 2]"


def test_grey_and_transparent_pictures(tmp_path):
    metrics = {"grey": clip()[..., :1], "alpha": np.full((4, 4, 4), 9, np.uint8)}
    write(tmp_path, {1: metrics})
    reader = scope.Reader(tmp_path)
    _, (file,) = reader["alpha"]
    assert reader.load("alpha", file.relative_to(reader.logdir)).shape == (4, 4, 3)
    assert reader.length("grey") == 1


def test_a_resume_replaces_what_was_not_saved(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    write(tmp_path, {step: {"x": step, "image": image} for step in (10, 20, 30, 40)})
    # As after a kill within a write.
    with (tmp_path / "scope/x.float").open("ab") as file:
        file.write(b"torn")
    write(tmp_path, {step: {"x": -step, "image": image} for step in (30, 50)}, first_step=20)
    reader = scope.Reader(tmp_path)
    assert [x.tolist() for x in reader["x"]] == [[10, 20, 30, 50], [10, 20, -30, -50]]
    assert reader["image"][0].tolist() == [10, 20, 30, 50]


def test_odd_names_are_told_apart(tmp_path):
    names = ["Loss", "loss", "a-b", "a/b", "a$b", "a.b", "../x", "/a", "n\nl", "ü", "x" * 500]
    write(tmp_path, {1: {name: float(i) for i, name in enumerate(names)}})
    reader = scope.Reader(tmp_path)
    values = sorted(float(reader[key][1][0]) for key in reader.keys())  # noqa: SIM118
    assert values == list(range(len(names)))
    assert {"loss", "a/b"} < set(reader.keys())
    assert [path.name for path in tmp_path.iterdir()] == ["scope"]


def test_a_run_that_begins_anew_leaves_no_empty_columns(tmp_path):
    write(tmp_path, {5: {"x": 1.0, "image": np.zeros((4, 4, 3), np.uint8)}})
    write(tmp_path, {5: {"y": 2.0}})
    reader = scope.Reader(tmp_path)
    assert reader.keys() == ("y",)
    assert reader["y"][0].tolist() == [5]


def test_texts_that_are_no_unicode(tmp_path):
    write(tmp_path, {1: {"text": "a\udcff"}}, options={"logdir": "/runs/\udcff"})
    reader = scope.Reader(tmp_path)
    assert [reader[key][1][0].read_text() for key in ("text", "config")] == [
        r"a\udcff",
        r"logdir: /runs/\udcff",
    ]

"""What TensorBoard reads of a run."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from reverie.track.logger import Logger
from reverie.track.sinks.registry import make_sinks

pytest.importorskip("tensorboardX", reason="needs the extra tensorboard")
accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator",
    reason="needs the extra tensorboard",
)


def write(folder, steps, **options):
    """Logs the step itself as a loss."""
    step = steps[0]
    options = {"filter": "", "first_step": 0, **options}
    sinks = make_sinks(["tensorboard"], folder, step=lambda: step, **options)
    with Logger(sinks, lambda: step) as logger:
        for step in steps:
            logger.add({"train/loss/dyn": step})
            logger.write()


def read(folder):
    events = accumulator.EventAccumulator(str(folder), {"scalars": 0, "images": 0, "tensors": 0})
    return events.Reload()


def scalars(folder, tag="train/loss/dyn"):
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def text(events, tag):
    return [t.tensor_proto.string_val[0].decode() for t in events.Tensors(f"{tag}/text_summary")]


def test_all_kinds_come_back(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 12, 3), np.uint8)
    video = rng.integers(0, 256, (5, 8, 12, 1), np.uint8)
    sinks = make_sinks(["tensorboard"], tmp_path, step=lambda: 7, filter="", fps=10)
    with Logger(sinks, lambda: 7) as logger:
        logger.note("Saved.")
        logger.add({"loss": 1.5, "bad": float("nan"), "count": 2, "phase": "warm"}, prefix="train")
        logger.add({"image": image, "openloop/video": video, "error": rng.normal(size=1000)})
        logger.write()
    events = read(tmp_path)
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(7, 1.5)]
    assert np.isnan(events.Scalars("train/bad")[0].value)
    assert events.Scalars("train/count")[0].value == 2
    assert text(events, "train/phase") == ["warm"]
    assert text(events, "notes") == ["Saved."]
    shown = Image.open(io.BytesIO(events.Images("image")[0].encoded_image_string))
    np.testing.assert_array_equal(np.asarray(shown), image)
    (event,) = events.Images("openloop/video")
    shown = Image.open(io.BytesIO(event.encoded_image_string))
    assert (shown.format, shown.n_frames, shown.size) == ("GIF", 5, (event.width, event.height))
    histogram = events.Histograms("error")[0].histogram_value
    assert histogram.num == 1000
    assert sum(histogram.bucket) == 1000


@pytest.mark.parametrize("values", [[np.inf, 1.0, np.nan], [0.0, 1e30], [-3.4e38, 3.4e38]])
def test_a_histogram_of_extremes(tmp_path, values):
    with Logger(make_sinks(["tensorboard"], tmp_path, step=lambda: 1, filter=""), lambda: 1) as log:
        log.add({"error": np.array(values, np.float32), "none": np.full(3, np.nan)})
        log.write()
    events = read(tmp_path)
    assert events.Histograms("error")[0].histogram_value.num == np.isfinite(values).sum()
    assert events.Tags()["histograms"] == ["error"]


def test_options_are_text_and_hyperparameters(tmp_path):
    options = {"task": "dummy_disc", "agent": {"opt": {"lr": 4e-5}, "units": [1, 2], "x": True}}
    write(tmp_path, [1], options=options)
    events = read(tmp_path)
    assert text(events, "config") == [
        "    task: dummy_disc\n    agent.opt.lr: 4e-05\n    agent.units: [1, 2]\n    agent.x: True"
    ]
    from tensorboard.plugins.hparams import metadata

    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    found = metadata.parse_session_start_info_plugin_data(content).hparams
    assert found["agent.opt.lr"].number_value == pytest.approx(4e-5)
    assert found["task"].string_value == "dummy_disc"
    assert found["agent.x"].bool_value


def test_a_resume_hides_what_was_not_saved(tmp_path):
    write(tmp_path, [10, 20, 30, 40])
    write(tmp_path, [30, 50], first_step=20)
    assert scalars(tmp_path) == [(10, 10), (20, 20), (30, 30), (50, 50)]


def test_a_file_that_a_kill_has_cut_hides_nothing_else(tmp_path):
    write(tmp_path, [10, 20, 30])
    (path,) = tmp_path.glob("events.*")
    path.write_bytes(path.read_bytes()[:-7])
    write(tmp_path, [30, 40], first_step=20)
    assert scalars(tmp_path) == [(10, 10), (20, 20), (30, 30), (40, 40)]


def test_an_evaluation_hides_nothing(tmp_path):
    write(tmp_path, [10, 20])
    write(tmp_path, [10], first_step=None)
    assert [step for step, _ in scalars(tmp_path)] == [10, 20, 10]


def test_a_clock_that_was_set_back_changes_nothing(tmp_path, monkeypatch):
    write(tmp_path, [10])
    monkeypatch.setattr("time.time", lambda: 1e9)
    write(tmp_path, [20], first_step=10)
    write(tmp_path, [30], first_step=20)
    assert [step for step, _ in scalars(tmp_path)] == [10, 20, 30]


def test_odd_names_are_told_apart(tmp_path):
    names = ["a$b", "a%b", "a\nb", "../x", "ü", "a\udc80", "x" * 500, "/a", "{}"]
    with Logger(make_sinks(["tensorboard"], tmp_path, step=lambda: 1, filter=""), lambda: 1) as log:
        log.add({name: float(i) for i, name in enumerate(names)})
        log.write()
    events = read(tmp_path)
    assert sorted(events.Scalars(t)[0].value for t in events.Tags()["scalars"]) == list(range(9))


def test_no_deep_learning_framework_is_imported(tmp_path):
    import subprocess
    import sys

    program = (
        "import sys, json; from reverie.track.sinks.registry import make_sinks;"
        f"make_sinks(['tensorboard'], {str(tmp_path)!r}, step=lambda: 0)[0].close();"
        "print(json.dumps([m for m in ('torch', 'tensorflow', 'jax') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(done.stdout) == []


def test_infinite_options_are_no_warning(tmp_path, caplog):
    write(tmp_path, [1], options={"initial": float("inf")})
    assert text(read(tmp_path), "config") == ["    initial: inf"]
    assert caplog.records == []


def test_texts_that_are_no_unicode(tmp_path):
    options = {"logdir": "/runs/\udcff"}
    sinks = make_sinks(["tensorboard"], tmp_path, step=lambda: 1, options=options)
    with Logger(sinks, lambda: 1) as logger:
        logger.note("Run folder: /runs/\udcff")
    events = read(tmp_path)
    assert text(events, "config") == [r"    logdir: /runs/\udcff"]
    assert text(events, "notes") == [r"Run folder: /runs/\udcff"]

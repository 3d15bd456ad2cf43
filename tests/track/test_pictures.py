"""Learning curves and open-loop plots, judged by their pixels."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from reverie.track.pictures import openloop, style
from reverie.track.pictures.curve import learning_curve
from reverie.track.pictures.openloop import openloop_plot
from reverie.track.runs.aggregate import interquartile
from reverie.track.runs.compare import Comparison, Experiment
from reverie.track.runs.compare_picture import draw_comparison
from reverie.track.runs.published import Curve, published_curve

SEED = np.random.default_rng(0)


def write_scores(folder, records, key="episode/score"):
    folder.mkdir(exist_ok=True)
    with (folder / "scores.jsonl").open("a") as file:
        for step, score in records:
            file.write(json.dumps({"step": step, "time": 0.0, key: score}) + "\n")
    return folder


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def count(image, color):
    """Number of pixels of exactly a colour, which only solid lines have."""
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((image == rgb).all(-1).sum())


def rising(n=200, total=10_000):
    return [(int(s), 100 * s / total + SEED.normal()) for s in np.linspace(100, total, n)]


def test_curve_goes_to_the_run_folder(tmp_path):
    logdir = write_scores(tmp_path / "run", rising())
    path = learning_curve(logdir)
    assert path == logdir / "scores.png"
    image = pixels(path)
    assert image.shape[1] >= 1000
    assert count(image, style.BLUE) > 500
    assert count(image, style.ORANGE) == 0
    assert [p.name for p in logdir.iterdir() if p.name.startswith(".")] == []
    other = learning_curve(logdir, output=tmp_path / "docs/curve.png", title="Another title")
    assert other == tmp_path / "docs/curve.png"
    assert (pixels(other) != image).any()


def test_the_line_rises_with_the_scores(tmp_path):
    image = pixels(learning_curve(write_scores(tmp_path, rising())))
    rgb = [int(style.BLUE[i : i + 2], 16) for i in (1, 3, 5)]
    rows, columns = np.nonzero((image == rgb).all(-1))
    # Below the legend, the line climbs from bottom left to top right.
    left, right = rows[columns < 400].max(), rows[columns > 1000].min()
    assert left - right > 300


def test_evaluation_gets_its_own_colour(tmp_path):
    write_scores(tmp_path, rising())
    write_scores(tmp_path, [(5000, 60.0), (10_000, 110.0)], "eval/episode/score")
    assert count(pixels(learning_curve(tmp_path)), style.ORANGE) > 200


def test_only_what_a_resumed_run_did_is_drawn(tmp_path):
    before, lost, after = (
        rising()[:100],
        [(s, -500.0) for s in range(6000, 9000, 100)],
        rising()[101:],
    )
    killed = write_scores(tmp_path / "killed", before + lost + after)
    clean = write_scores(tmp_path / "clean", before + after)
    pictures = [pixels(learning_curve(folder, title="run")) for folder in (killed, clean)]
    assert (pictures[0] == pictures[1]).all()


def test_an_evaluation_of_an_old_checkpoint_hides_no_training(tmp_path):
    logdir = write_scores(tmp_path, rising())
    before = count(pixels(learning_curve(logdir)), style.BLUE)
    write_scores(logdir, [(200, 3.0)], "eval/episode/score")
    assert count(pixels(learning_curve(logdir)), style.BLUE) > 0.8 * before


@pytest.mark.parametrize(
    "records",
    [
        [],
        [(0, 1.0)],
        [(500, 1.0)],
        [(500, 1.0), (500, 2.0)],
        [(1, 5.0), (2, 5.0)],
        [(1, float("nan")), (5, 2.0)],
        [(i, 1e9 + i % 2) for i in range(20_000)],
    ],
)
def test_unusual_runs_give_a_picture_too(tmp_path, records):
    image = pixels(learning_curve(write_scores(tmp_path, records)))
    drawn = count(image, style.BLUE) > 5
    assert drawn == bool(records)


def test_curve_arguments_are_checked(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"scores\.jsonl"):
        learning_curve(tmp_path)
    write_scores(tmp_path, rising())
    with pytest.raises(ValueError, match="smooth"):
        learning_curve(tmp_path, smooth=0)


def test_published_curves_are_found():
    curve = published_curve("dmc_proprio", "dmc_walker_walk")
    assert curve.label == "DreamerV3, published (5 seeds)"
    assert curve.steps[0] == 10_000
    assert (np.diff(curve.steps) > 0).all()
    assert ((curve.low <= curve.score) & (curve.score <= curve.high)).all()
    assert curve.score[-1] > 800


@pytest.mark.parametrize("benchmark", ["atari100k", "dmc_proprio", "dmc_vision", "procgen"])
def test_every_published_table_can_be_read(benchmark):
    tasks = {"atari100k": "atari_pong", "procgen": "procgen_bigfish"}
    curve = published_curve(benchmark, tasks.get(benchmark, "dmc_cartpole_balance"))
    assert len(curve.steps) == len(curve.score) > 3
    assert np.isfinite([curve.score, curve.low, curve.high]).all()


def test_unknown_published_curves_name_the_nearest():
    with pytest.raises(ValueError, match=r"benchmark 'dmc'.*dmc_vision"):
        published_curve("dmc", "dmc_walker_walk")
    with pytest.raises(ValueError, match=r"'walker_walk'.*dmc_walker_walk"):
        published_curve("dmc_proprio", "walker_walk")


def vectors(batch=2, time=20, dims=3):
    steps = np.arange(time)[None, :, None] + np.arange(batch)[:, None, None]
    return np.sin(0.3 * steps * (1 + np.arange(dims)))


def test_openloop_plot_shows_all_three_lines(tmp_path):
    true = vectors()
    path = openloop_plot(true, true + 0.1, 10, tmp_path / "new/openloop.png")
    assert path == tmp_path / "new/openloop.png"
    image = pixels(path)
    for color in (style.INK, style.BLUE, style.ORANGE):
        assert count(image, color) > 300


def test_openloop_plot_marks_where_observation_ends(tmp_path):
    true = vectors(batch=1, dims=1)
    edges = []
    for observed in (5, 15):
        path = openloop_plot(true, true, observed, tmp_path / f"{observed}.png")
        rgb = [int(style.ORANGE[i : i + 2], 16) for i in (1, 3, 5)]
        plot = pixels(path)[:-90]
        edges.append(np.nonzero((plot == rgb).all(-1))[1].min())
    # Ten of twenty steps, which are four and a half inches wide.
    assert edges[1] - edges[0] == pytest.approx(0.5 * 4.5 * style.DPI, rel=0.1)


def test_the_first_step_of_every_sequence_is_drawn(tmp_path):
    bits = np.zeros((2, 20, 1))
    bits[0, 10:] = 1
    path = openloop_plot(bits, bits + 0.5, 10, tmp_path / "a.png")
    without = count(pixels(path), style.INK)
    bits[1, 0] = 1
    path = openloop_plot(bits, bits + 0.5, 10, tmp_path / "b.png")
    assert count(pixels(path), style.INK) > without + 200  # The way down to the next step.


@pytest.mark.parametrize("observed", [0, 1, 20])
def test_openloop_plot_at_the_ends(tmp_path, observed):
    true = vectors()
    image = pixels(openloop_plot(true, true, observed, tmp_path / "a.png"))
    predicted = count(image[:-80], style.ORANGE)
    assert predicted > 300 or observed == 20


def test_openloop_plot_limits_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(openloop, "MOST_SEQUENCES", 1)
    monkeypatch.setattr(openloop, "MOST_DIMENSIONS", 2)
    true = vectors(batch=8, dims=40)
    true[:, :, 20:] = 1.0
    path = openloop_plot(true, true, 10, tmp_path / "a.png")
    fewer = openloop_plot(true[:1, :, :2], true[:1, :, :2], 10, tmp_path / "b.png")
    assert pixels(path).shape == pixels(fewer).shape


def test_openloop_plot_survives_broken_predictions(tmp_path):
    true = vectors(batch=1)
    wild = true.copy()
    wild[:, 12:] = [[1e30, np.nan, -np.inf]]
    hidden = np.full_like(true, np.nan)
    calm = count(pixels(openloop_plot(true, true + 0.3, 10, tmp_path / "a.png")), style.INK)
    for name, pred in (("wild", wild), ("hidden", hidden)):
        image = pixels(openloop_plot(true, pred, 10, tmp_path / f"{name}.png"))
        assert count(image, style.INK) > 0.3 * calm
    openloop_plot(hidden[..., :1], true[..., :1], 10, tmp_path / "nothing.png")
    openloop_plot(np.ones((1, 1, 1)), np.ones((1, 1, 1)), 1, tmp_path / "one.png")


@pytest.mark.parametrize("missing", [-np.inf, np.inf, np.nan])
def test_missing_values_do_not_count_as_variation(tmp_path, missing, monkeypatch):
    monkeypatch.setattr(openloop, "MOST_DIMENSIONS", 1)
    true = vectors()
    true[:, :, 1:] = 1.0
    calm = pixels(openloop_plot(true, true, 10, tmp_path / "a.png"))
    true[:, 3:5, 1] = missing
    true[:, :, 2] = missing
    assert (pixels(openloop_plot(true, true, 10, tmp_path / "b.png")) == calm).all()


@pytest.mark.parametrize(
    ("true", "pred", "observed", "message"),
    [
        ((2, 5, 3), (2, 5, 2), 2, r"\(2, 5, 3\) and \(2, 5, 2\)"),
        ((5, 3), (5, 3), 2, "one shape"),
        ((2, 5, 0), (2, 5, 0), 2, "at least one entry"),
        ((2, 5, 3), (2, 5, 3), 6, "observed=6"),
    ],
)
def test_openloop_plot_arguments_are_checked(tmp_path, true, pred, observed, message):
    with pytest.raises(ValueError, match=message):
        openloop_plot(np.zeros(true), np.zeros(pred), observed, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_drawing_needs_no_pyplot_and_no_display(tmp_path):
    write_scores(tmp_path, [(1, 1.0), (2, 2.0)])
    code = (
        "import sys, reverie.track.pictures.curve as t; t.learning_curve(sys.argv[1]);"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={
            "PYTHONPATH": os.environ["PYTHONPATH"],
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "False\n"


@pytest.mark.parametrize("name", ["costs_$1_$2", r"\$", "new\nline", "x" * 300, "$", r"a\_b^{"])
def test_names_are_no_formulas(tmp_path, name):
    logdir = write_scores(tmp_path / "run", rising(20))
    assert pixels(learning_curve(logdir, title=name)).shape[1] >= 1000
    seeds = {"0": np.array([[1.0, 2.0], [3.0, 4.0]])}
    experiment = Experiment(name, seeds, interquartile(seeds))
    curve = Curve(name, *interquartile(seeds))
    path = draw_comparison([Comparison(name, [experiment], curve)], tmp_path / "y.png")
    assert pixels(path).shape[1] >= 1000
    value = np.zeros((1, 4, 1))
    assert pixels(openloop_plot(value, value, 2, tmp_path / "x.png", title=name)).size


def test_dollars_are_drawn(tmp_path):
    def drawn(title):
        logdir = write_scores(tmp_path / "run", [(10, 1.0)])
        return pixels(learning_curve(logdir, title=title, output=tmp_path / "x.png"))

    assert (drawn("a $b$") != drawn("a b")).any()
    assert (drawn("a $b$") != drawn(r"a \$b\$")).any()


def has(frame, color):
    return (frame == [int(color[i : i + 2], 16) for i in (1, 3, 5)]).all(-1).any()


@pytest.mark.parametrize("shape", [(2, 4, 16, 16, 1), (6, 4, 40, 24, 3), (1, 2, 300, 200, 4)])
def test_openloop_videos_tell_what_is_seen_and_what_imagined(shape):
    true = np.full(shape, 100, np.uint8)
    pred = np.full(shape, 50, np.uint8)
    video = openloop.openloop_video(true, pred, shape[1] // 2, "camera, run step 10")
    half, length = shape[1] // 2, shape[1]
    for step, frame in enumerate(video):
        seen = step < half
        assert has(frame, openloop.SEEN) == seen
        assert has(frame, openloop.IMAGINED) != seen
        for value in (100, 50, 102):  # Truth, model, and their difference around grey.
            assert (frame == value).all(-1).mean() > 0.1
    assert (video[length:] == video[length - 1]).all()
    assert (video[0] != video[1]).any() or half < 2  # Which step it is.
    alone = openloop.openloop_video(None, pred, half)
    assert alone.shape[1] < video.shape[1]
    assert not (alone[0] == 100).all(-1).any()


def test_predictions_stay_in_the_picture_up_to_a_distance(tmp_path):
    true = vectors(batch=1, dims=1)
    near = count(pixels(openloop_plot(true, true, 10, tmp_path / "a.png")), style.ORANGE)
    off = count(pixels(openloop_plot(true, true + 4, 10, tmp_path / "b.png")), style.ORANGE)
    assert off > 0.6 * near
    far = pixels(openloop_plot(true, true + 1000, 10, tmp_path / "c.png"))[:-90]
    rgb = [int(style.ORANGE[i : i + 2], 16) for i in (1, 3, 5)]
    rows = np.nonzero((far == rgb).all(-1))[0]
    # Arrows at the upper edge say where they are.
    assert len(rows) > 100
    assert rows.max() < 0.5 * len(far)


def test_bits_are_drawn_as_steps(tmp_path):
    bits = (vectors(batch=1, dims=1) > 0).astype(float)
    image = pixels(openloop_plot(bits, bits, 20, tmp_path / "a.png"))
    rgb = [int(style.BLUE[i : i + 2], 16) for i in (1, 3, 5)]
    blue = (image[:-90] == rgb).all(-1)
    # Lines go along the axes alone: what is blue lies in few rows or in few columns.
    columns = blue.sum(0) > 100
    rest = blue[:, ~columns]
    assert (rest.sum(1) > 0).sum() < 12


def test_errors_by_horizon_are_drawn(tmp_path):
    errors = {"a": {1: (0.1, 0.2), 4: (0.3, 0.9)}, "b": {1: (0.5, float("nan"))}}
    image = pixels(openloop.horizon_plot(errors, tmp_path / "a.png"))
    assert count(image, style.ORANGE) > 100
    assert count(image, style.GREY) > 100

"""Curves of several runs: pictures, the page, and what belongs together."""

import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from reverie import cli
from reverie.config.load import load
from reverie.track.pictures import style
from reverie.track.runs.aggregate import interquartile, middle
from reverie.track.runs.compare import NothingToPlot, compare, read_runs
from reverie.track.runs.compare_picture import draw_comparison
from reverie.track.runs.published import original_curve, published_curve, published_for

CHROMIUM = "/usr/bin/chromium"


def write_run(folder, *words, top=100.0, times=None, task="gym_CartPole-v1"):
    """A run folder with 100 episodes whose scores rise to a number."""
    load(["--configs", "small", "--task", task, "--logdir", str(folder), *words]).to_yaml(
        folder / "config.yaml"
    )
    (folder / "spaces.json").write_text("{}")
    steps = np.arange(100, 10_100, 100)
    times = 36.0 * np.arange(1, 101) if times is None else times
    with (folder / "scores.jsonl").open("w") as file:
        for step, time in zip(steps, times, strict=True):
            record = {"step": int(step), "time": time, "episode/score": top * step / 10_000}
            file.write(json.dumps(record) + "\n")
    return folder


@pytest.fixture
def runs(tmp_path):
    """Three seeds of one experiment, two of another one, and a run of another task."""
    folder = tmp_path / "runs"
    for seed, top in enumerate((80.0, 100.0, 120.0)):
        words = ["--seed", str(seed), "--run.steps", f"{seed + 1}e4"]
        write_run(folder / "a" / str(seed), *words, top=top)
    for seed in (0, 1):
        write_run(folder / f"b{seed}", "--seed", str(seed), "--agent.opt.lr", "0.001", top=50.0)
    write_run(folder / "other", task="gym_my_envs:Target")
    return folder


def test_seeds_are_one_experiment_and_others_differ_by_their_options(runs):
    found, notes = compare(read_runs([runs])[0])
    assert notes == []
    cartpole, target = found
    assert (cartpole.title, target.title) == ("CartPole-v1", "Target")
    slow, fast = cartpole.experiments
    assert (slow.label, fast.label) == ("opt.lr=0.0003", "opt.lr=0.001")
    assert list(slow.seeds) == ["seed 0", "seed 1", "seed 2"]
    assert slow.middle[:, -1] == pytest.approx([10_000, 100, 80, 120], rel=0.02)
    assert [x.label for x in target.experiments] == [""]


def test_a_run_that_is_given_twice_counts_once(runs):
    (runs.parent / "link").symlink_to(runs)
    again = runs / "a" / ".." / "b0"
    found, notes = read_runs([runs / "b0", runs, again, runs.parent / "link" / "b0"])
    assert len(found) == 6
    assert notes == []


def test_frames_count_repeated_actions_and_published_curves_in_them(tmp_path):
    write_run(tmp_path / "a", task="atari100k_pong")
    (run,), _ = read_runs([tmp_path])
    np.testing.assert_array_equal(run.frames, 4 * run.steps)
    ((frames,), _), ((steps,), _) = (compare([run], x, "published") for x in ("frames", "steps"))
    assert frames.experiments[0].middle[0, -1] == 4 * steps.experiments[0].middle[0, -1]
    assert frames.baseline
    assert steps.baseline
    np.testing.assert_allclose(frames.baseline.steps, 4 * steps.baseline.steps)
    assert cli.main(["plot", str(tmp_path), "--x", "frames"]) == 0
    assert "frames" in (tmp_path / "curves.html").read_text()


def test_hours_leave_out_the_pause_before_a_resume(tmp_path):
    times = 36.0 * np.arange(1, 101)
    times[50:] += 1e6
    (run,), _ = read_runs([write_run(tmp_path / "run", times=times)])
    assert run.hours[-1] == pytest.approx(1.0, abs=0.03)


def test_runs_without_an_episode_are_told_and_left_out(runs):
    (runs / "b0" / "scores.jsonl").unlink()
    found, (note,) = read_runs([runs])
    assert len(found) == 5
    assert note == f"Left out: {runs / 'b0'} has no finished episode yet."
    with pytest.raises(NothingToPlot, match="b0 has no finished episode yet"):
        read_runs([runs / "b0"])


def test_damaged_runs_and_what_is_no_folder_are_told_and_left_out(runs):
    (runs / "b0" / "scores.jsonl").write_text("[1]\n{}\n")
    (runs / "b1" / "config.yaml").write_text("task: [")
    (runs / "curves.png").touch()
    found, notes = read_runs(sorted(runs.iterdir()))
    assert len(found) == 4
    picture, scores, config = notes
    assert picture == f"Left out {runs / 'curves.png'}: Not a directory"
    assert scores.startswith(f"Left out {runs / 'b0'}: ")
    assert "scores.jsonl, line 1 is not a JSON object" in scores
    assert config.startswith(f"Left out {runs / 'b1'}: ")


def test_an_option_that_a_run_does_not_have_is_the_default(runs):
    path = runs / "b0" / "config.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "mults:" not in line))
    (found,), _ = compare(read_runs([runs / "b0", runs / "b1"])[0])
    assert [(x.label, len(x.seeds)) for x in found.experiments] == [("", 2)]


def test_published_curves_count_steps_as_the_run_does():
    options = {"task": "dmc_walker_walk", "env.dmc.image": False, "env.dmc.repeat": 2}
    curve = published_curve("dmc_proprio", "dmc_walker_walk")
    np.testing.assert_array_equal(published_for(options).steps, curve.steps / 2)
    pong = published_for({"task": "atari100k_pong", "env.atari100k.repeat": 4})
    assert pong.steps[-1] == pytest.approx(100_000, rel=0.1)
    with pytest.raises(ValueError, match=r"no published curve of 'gym_CartPole-v1'.*dmc_vision"):
        published_for({"task": "gym_CartPole-v1"})


def test_the_original_curve_is_the_middle_of_its_seeds():
    curve = original_curve("gym_CartPole-v1")
    assert curve.label == "DreamerV3, original code (3 seeds)"
    assert curve.score[-1] == 500
    assert (curve.low <= curve.score).all()
    with pytest.raises(ValueError, match="was not run on 'gym_Nothing', only on gym_CartPole-v1"):
        original_curve("gym_Nothing")


def test_the_baseline_is_drawn_beside_ours(runs):
    pictures = []
    for baseline in ("", "original"):
        found, _ = compare(read_runs([runs])[0], baseline=baseline)
        path = draw_comparison(found[:1], runs / "x.png")
        with Image.open(path) as image:
            pictures.append(np.asarray(image.convert("RGB")).astype(int))
    ink = [int(style.INK[i : i + 2], 16) for i in (1, 3, 5)]
    without, beside = ((picture == ink).all(-1).sum() for picture in pictures)
    assert beside > without + 500


def test_a_folder_of_runs_is_plotted_into_it(runs, capsys):
    assert cli.main(["plot", str(runs), "--baseline", "original"]) == 0
    out, err = capsys.readouterr()
    assert out.split() == [str(runs / "curves.png"), str(runs / "curves.html")]
    assert "Target: The original implementation was not run on" in err
    with Image.open(runs / "curves.png") as image:
        assert image.width >= 1000
    page = (runs / "curves.html").read_text()
    # Nothing is loaded from anywhere.
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)", page)
    assert "opt.lr=0.001, 2 seeds" in page


def test_a_run_alone_keeps_its_scores_picture(runs, capsys):
    assert cli.main(["plot", str(runs / "b0")]) == 0
    assert capsys.readouterr().out.strip() == str(runs / "b0" / "scores.png")


def test_several_runs_are_plotted_into_the_current_folder(runs, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plot", "runs/a/0", "runs/b1", "--x=hours"]) == 0
    assert capsys.readouterr().out.split() == ["curves.png", "curves.html"]
    assert cli.main(["plot", "runs/a/0", "--logdir", "runs/b1", "--output", "new/x.png"]) == 0
    assert (tmp_path / "new" / "x.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "reverie plot needs the folder of a run"),
        (["a", "b"], "There is no folder a."),
        ([".", "--x", "time"], "--x is time; expected steps, frames or hours."),
        ([".", "--baseline", "mine"], "--baseline is mine; expected published or original."),
        ([".", "--x", "hours", "--baseline", "original"], "over steps, not over hours"),
        (["runs", "--output", "x.pdf"], "--output is x.pdf; expected a name that ends in .png"),
        (["runs/b0", "--output", "x.pdf"], "--output is x.pdf; expected a name that ends in .png"),
        (["a", "--smooth", "3"], "reverie plot does not know --smooth"),
        (["empty", "empty"], "There is no run with a finished episode in empty, empty."),
    ],
)
def test_what_cannot_be_plotted_is_said(runs, words, message, monkeypatch, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plot", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_page_tells_values_and_switches_curves(runs):
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not pathlib.Path(CHROMIUM).exists():
        pytest.skip("There is no chromium.")
    assert cli.main(["plot", str(runs), "--output", str(runs / "page.html")]) == 0
    said = []
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((runs / "page.html").as_uri())
        plot = page.locator("section").first
        assert plot.locator("h2").inner_text() == "CartPole-v1"
        area = plot.locator(".u-over").bounding_box()
        page.mouse.move(area["x"] + area["width"] - 2, area["y"] + 20)
        keys = plot.locator(".keys button")
        assert keys.nth(0).inner_text().split("\n")[0].startswith("opt.lr=0.0003, 3 seeds")
        plot.locator(".at", has_text="environment steps 10,000").wait_for(timeout=90_000)
        assert keys.nth(0).locator("b").inner_text() == "99.50"
        keys.nth(1).click()
        assert keys.nth(1).get_attribute("aria-pressed") == "false"
        browser.close()
    assert said == []


def test_the_middle_leaves_out_the_lowest_and_the_highest_quarter():
    assert middle(np.array([100.0, 2, 4, -50])) == 3
    assert middle(np.array([1.0, 2])) == 1.5


def test_seeds_count_from_their_first_point_to_their_last():
    seeds = {"0": np.array([[10.0, 20, 30], [1, 2, 3]]), "1": np.array([[20.0], [4]])}
    steps, mean, low, high = interquartile(seeds)
    np.testing.assert_array_equal(steps, [10, 20, 30])
    np.testing.assert_array_equal(mean, [1, 3, 3])
    np.testing.assert_array_equal(low, [1, 2, 3])
    np.testing.assert_array_equal(high, [1, 4, 3])

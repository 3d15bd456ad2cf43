"""The page Episodes."""

import json
import re
import shutil

import jax
import numpy as np
import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
testclient = pytest.importorskip("starlette.testclient", reason="the extra view is not installed")

from reverie.replay.files import format  # noqa: E402
from reverie.replay.files.archive import path_of, serials  # noqa: E402
from reverie.run.eval_only import eval_run  # noqa: E402
from reverie.run.load import load_policy, open_saved  # noqa: E402
from reverie.run.saved.folder import RunFolder  # noqa: E402
from reverie.view.app import make_app  # noqa: E402
from reverie.view.dream.recording import episodes  # noqa: E402
from reverie.view.folders import Folders  # noqa: E402
from reverie.view.models import Models  # noqa: E402


@pytest.fixture(scope="module")
def app(trained):
    return make_app(Folders(trained))


@pytest.fixture(scope="module")
def client(app):
    return testclient.TestClient(app, base_url="http://localhost")


def place(episode):
    return {key: episode[key] for key in ("source", "serial", "begin", "end")}


def steps_of(client, run, episode):
    answer = client.get("/api/episode", params={"run": run, **place(episode)})
    assert answer.status_code == 200, answer.text
    about, *steps = map(json.loads, answer.text.splitlines())
    return about, steps


def test_episodes_are_those_of_replay(client, trained):
    found = client.get("/api/episodes?run=cartpole").json()
    whole = next(episode for episode in found if episode["whole"])
    about, steps = steps_of(client, "cartpole", whole)
    _, rows = format.read(path_of(trained / "cartpole" / "replay", whole["serial"], "chunk"))
    part = slice(whole["begin"], whole["end"])
    assert len(steps) == whole["end"] - whole["begin"] > 5
    assert sum(step["reward"] for step in steps) == whole["score"]
    observed = [step["observed"]["obs"] for step in steps]
    np.testing.assert_allclose(observed, rows["obs"][part], rtol=1e-4, atol=1e-6)
    done = [step["action"] for step in steps]
    assert done[:-1] == [{"action": [x]} for x in rows["action"][part][:-1].tolist()]
    assert (done[-1], steps[-1]["last"]) == (None, True)
    assert about["actions"]["action"]["classes"] == [2]
    for key in ("value", "expected", "continue", "surprise", "entropy"):
        assert all(np.isfinite(step[key]) for step in steps), key
    assert all(step["surprise"] >= 0 and 0 <= step["continue"] <= 1 for step in steps)
    assert all(abs(sum(step["policy"]["action"]) - 1) < 1e-3 for step in steps)


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """A copy of the run that was evaluated after training, and that evaluation."""
    folder = tmp_path_factory.mktemp("evaluated")
    shutil.copytree(trained / "cartpole", folder / "cartpole")
    result = eval_run(str(folder / "cartpole"), ["--run.eval_eps", "3"]).evaluation
    assert result
    return folder, result


def test_episodes_of_the_last_evaluation_come_first(evaluated, client):
    folder, result = evaluated
    before = client.get("/api/episodes?run=cartpole").json()
    assert {episode["source"] for episode in before} == {"replay"}
    app = make_app(Folders(folder))
    with testclient.TestClient(app, base_url="http://localhost") as after:
        found = after.get("/api/episodes?run=cartpole").json()
        _, steps = steps_of(after, "cartpole", found[0])
    assert found[3:] == before
    assert all(e["source"] == "evaluation" and e["whole"] for e in found[:3])
    assert sorted(e["score"] for e in found[:3]) == sorted(result.scores)
    assert sum(step["reward"] for step in steps) == found[0]["score"]
    # The likeliest action is taken, and not one that is drawn.
    likely = [int(np.argmax(step["policy"]["action"])) for step in steps[:-1]]
    assert [step["action"]["action"][0] for step in steps[:-1]] == likely


def test_another_evaluation_has_other_numbers(evaluated, tmp_path):
    shutil.copytree(evaluated[0] / "cartpole", tmp_path / "cartpole")
    app = make_app(Folders(tmp_path))
    with testclient.TestClient(app, base_url="http://localhost") as client:
        first, *_ = client.get("/api/episodes?run=cartpole").json()
        eval_run(str(tmp_path / "cartpole"), ["--run.eval_eps", "3"])
        again, *_ = client.get("/api/episodes?run=cartpole").json()
        old = client.get("/api/episode", params={"run": "cartpole", **place(first)})
        steps_of(client, "cartpole", again)
    assert "no longer there" in old.json()["error"]


def test_what_is_shown_of_an_evaluation_is_what_acted(evaluated):
    """Latents are those of the policy: drawn again, they would be others."""
    folder = evaluated[0]
    app = make_app(Folders(folder))
    with testclient.TestClient(app, base_url="http://localhost") as client:
        found, *_ = client.get("/api/episodes?run=cartpole").json()
        _, steps = steps_of(client, "cartpole", found)
    replay = folder / "cartpole" / "eval" / "replay"
    kept = format.read(path_of(replay, found["serial"], "latents"))[1]
    run = open_saved(folder / "cartpole")
    policy, _ = load_policy(run.config, *run.converter.spaces, jax.devices()[0])
    latents = {key: value[: len(steps)] for key, value in kept.items()}
    # Not the value: that of a young agent is a difference of large numbers.
    expected = np.minimum(policy.expect(latents)["continue"], 1.0)
    np.testing.assert_allclose([step["continue"] for step in steps], expected, rtol=1e-4)


def test_an_evaluation_in_a_browser_and_a_dream_from_it(evaluated, open_page):
    folder, result = evaluated
    page = open_page(make_app(Folders(folder)), "#/episodes?run=cartpole")
    page.get_by_text("Last evaluation").wait_for()
    page.get_by_text("Training, saved replay").wait_for()
    assert page.locator(".episodelist .episode b").first.inner_text() in [
        f"{score:g}" for score in result.scores
    ]
    page.locator(".plots .uplot").nth(5).wait_for()
    page.get_by_role("button", name="Dream from here").click()
    chosen = page.get_by_label("Recorded episode")
    chosen.wait_for()
    assert "source=evaluation" in page.url
    assert chosen.evaluate("list => list.selectedOptions[0].parentNode.label") == "Last evaluation"
    page.get_by_role("button", name="Begin at this step").click()
    page.get_by_role("button", name="Recording").wait_for()


def test_what_cannot_be_shown_is_explained(runs):
    client = testclient.TestClient(make_app(Folders(runs)), base_url="http://localhost")
    run = runs / "cartpole"

    def refused(**asked):
        asked = {"run": "cartpole", "source": "replay", "serial": 0, "begin": 0, "end": 9} | asked
        answer = client.get("/api/episode", params=asked)
        assert answer.status_code == 400, answer.text
        return answer.json()["error"]

    assert "['evaluation', 'replay']" in refused(source="elsewhere")
    assert "whole numbers" in refused(begin="x")
    assert "no longer there" in refused(serial=77)
    assert "is not in chunk" in refused(begin=10**6)
    assert "no run 'other'" in refused(run="other")
    # Of another machine, with an encoder that is code.
    config = run / "config.yaml"
    text = config.read_text()
    (run / "signature").unlink()
    config.write_text(text.replace("typ: simple", "typ: 'evil:Encoder'", 1))
    assert "--trust" in refused()
    config.write_text(text)
    shutil.rmtree(run / "checkpoints")
    assert "no checkpoint yet" in refused()
    for path in (run / "replay").iterdir():
        path.unlink()
    assert client.get("/api/episodes?run=cartpole").json() == []


def test_a_file_that_is_deleted_meanwhile_is_left_out(runs):
    client = testclient.TestClient(make_app(Folders(runs)), base_url="http://localhost")
    replay = runs / "cartpole" / "replay"
    first, *rest = serials(replay)
    path_of(replay, first, "chunk").write_bytes(b"torn")
    found = {episode["serial"] for episode in client.get("/api/episodes?run=cartpole").json()}
    assert found == set(rest)


def test_a_newer_checkpoint_is_for_who_asks_then(runs):
    models = Models(Folders(runs))
    _, before = models.load("cartpole")
    *_, saved = sorted((runs / "cartpole" / "checkpoints").iterdir())
    shutil.copytree(saved, saved.with_name("000000000999"))
    assert (models.load("cartpole")[1].step, before.step) == (999, 120)


def test_a_damaged_step_is_told_after_those_before_it(open_page, hybrid, tmp_path):
    pytest.importorskip("lz4", reason="lz4 is not installed")
    shutil.copytree(hybrid, tmp_path / "runs")
    replay = tmp_path / "runs" / "hybrid" / "replay"
    episode = next(x for x in episodes(RunFolder(replay.parent)) if x.whole)
    path = path_of(replay, episode.serial, "chunk")
    fields, arrays = format.read(path)
    arrays["image"] = np.zeros_like(arrays["image"])  # Not all can be compressed as they are.
    format.write(path, fields, arrays, compress=["image"])
    file = format.File(path)
    start = file.arrays["image"]["bounds"][(episode.end - 1) // file.arrays["image"]["rows"]]
    with open(path, "r+b") as damaged:
        damaged.seek(file.position["image"] + start)
        damaged.write(bytes(64))
    where = f"run=hybrid&episode=replay-{episode.serial}-{episode.begin}"
    page = open_page(make_app(Folders(tmp_path / "runs")), f"#/episodes?{where}")
    page.get_by_role("alert").get_by_text("has a damaged array 'image'").wait_for()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_an_episode_in_a_browser_by_keyboard(open_page, app, width, dark):
    page = open_page(app, "#/episodes?run=cartpole", width, dark=dark)
    place = page.locator(".controls .place")
    page.locator(".plots .uplot").nth(5).wait_for()
    page.get_by_text("discounted return that followed").wait_for()
    expect(place).not_to_have_text("0 / 0")
    page.locator("h2").click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(place).to_have_text(re.compile("^2 /"))
    surprise = page.locator(".now div", has_text="Surprise").inner_text()
    page.keyboard.press("Home")
    assert page.locator(".now div", has_text="Surprise").inner_text() != surprise
    page.keyboard.press("Space")
    expect(place).to_have_text(re.compile(r"^([4-9]|\d\d+) /"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_images_are_shown_beside_their_reconstruction(open_page, hybrid):
    page = open_page(make_app(Folders(hybrid)), "#/episodes")
    pictures = page.locator(".pictures img")
    pictures.nth(1).wait_for()
    expect(pictures.nth(1)).to_have_attribute("src", re.compile("^data:image/png"))
    truth, seen = (pictures.nth(i).get_attribute("src") for i in range(2))
    assert truth != seen
    assert pictures.nth(0).evaluate("image => image.decode().then(() => image.naturalWidth)") == 16


def test_an_error_is_shown_to_the_user(open_page, runs):
    for path in (runs / "cartpole" / "checkpoints").rglob("agent.safetensors"):
        path.write_bytes(b"damaged")
    page = open_page(make_app(Folders(runs)), "#/episodes?run=cartpole")
    page.get_by_role("alert").wait_for()
    assert "checkpoint" in page.get_by_role("alert").inner_text()
    # The browser tells of the refused request, and nothing else.
    assert all("400 (Bad Request)" in text for text in open_page.messages)
    open_page.messages.clear()

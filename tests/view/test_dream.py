"""The page Dream in a browser, and what its server answers."""

import io
import json
import shutil
import struct

import numpy as np
import pytest

testclient = pytest.importorskip("starlette.testclient", reason="the extra view is not installed")

from PIL import Image  # noqa: E402

from reverie.view.app import make_app  # noqa: E402
from reverie.view.dream import routes  # noqa: E402
from reverie.view.folders import Folders  # noqa: E402


class Line:
    """A websocket as the page uses it."""

    def __init__(self, socket):
        self.socket = socket
        self.about = self.receive()[0]

    def receive(self):
        data = self.socket.receive_bytes()
        (size,) = struct.unpack_from("<I", data)
        content, start, blobs = json.loads(data[4 : 4 + size]), 4 + size, []
        for length in content["blobs"]:
            blobs.append(data[start : start + length])
            start += length
        assert start == len(data)
        return content, blobs

    def ask(self, op, **words):
        self.socket.send_text(json.dumps({"op": op, **words}))
        return self.receive()


@pytest.fixture
def connect():
    """Opens websockets: `connect(folder, run)`."""

    def open_line(folder, run):
        client = testclient.TestClient(make_app(Folders(folder)), base_url="http://localhost")
        return client.websocket_connect(f"ws://localhost/api/dream?run={run}")

    return open_line


def middle(episodes):
    """A step of replay with steps of its episode on both sides."""
    found = next(e for e in episodes if e["end"] - e["begin"] > 12)
    return {"source": "replay", "serial": found["serial"], "row": found["begin"] + 5}


def test_server_dreams_with_every_kind_of_space(hybrid, connect):
    with connect(hybrid, "hybrid") as socket:
        line = Line(socket)
        kinds = {x["key"]: x["entries"] for x in line.about["actions"]}
        assert kinds["choice"] == [{"classes": 5, "start": 0}]
        assert kinds["force"] == [{"low": -2.0, "high": 3.0}] * 3
        assert kinds["switches"] == [{"classes": 2, "start": 0}] * 2
        begun, blobs = line.ask("replay", **middle(line.about["episodes"]), observed=3)
        assert [f["horizon"] for f in begun["frames"]] == [0, 0, 0]
        assert begun["frames"][0]["pictures"] == [["dream", "image"], ["truth", "image"]]
        assert Image.open(io.BytesIO(blobs[0])).size == (16, 16)
        action = {"choice": [2], "force": [0.5, -1, 1], "switches": [1, 0]}
        content, _ = line.ask("step", at=2, driver="you", action=action)
        (frame,) = content["frames"]
        assert frame["action"] == {"choice": [2], "force": [0.5, -1, 1], "switches": [1, 0]}
        assert (frame["parent"], frame["horizon"], frame["known"]) == (2, 1, None)
        assert len(frame["policy"]["choice"]) == 5
        assert sum(frame["policy"]["choice"]) == pytest.approx(1, abs=1e-3)
        assert len(frame["dream"]["vector"]) == 7
        look, (picture,) = line.ask("look", **middle(line.about["episodes"]))
        assert look["pictures"] == ["image"]
        assert Image.open(io.BytesIO(picture)).size == (16, 16)


@pytest.mark.parametrize("format", ["mp4", "gif"])
def test_films_show_a_path_frame_by_frame(hybrid, connect, format):
    if format == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    with connect(hybrid, "hybrid") as socket:
        line = Line(socket)
        line.ask("replay", **middle(line.about["episodes"]), observed=3)
        for at in (2, 3, 4):
            line.ask("step", at=at, driver="policy")
        content, (film,) = line.ask("film", at=4, format=format, fps=20)
    assert content["name"] == f"dream-hybrid-{line.about['step']}.{format}"
    if format == "mp4":
        assert film[4:8] == b"ftyp"
        return
    frames = Image.open(io.BytesIO(film))
    assert frames.n_frames == 5
    assert frames.info["duration"] == 50
    assert frames.width > 500
    first = np.asarray(frames.convert("RGB"))
    frames.seek(4)
    assert (first != np.asarray(frames.convert("RGB"))).any()


def test_server_says_what_is_wrong_and_goes_on(hybrid, connect, monkeypatch):
    monkeypatch.setattr("reverie.track.encoding.video.GIF_FRAMES", 2)
    with connect(hybrid, "hybrid") as socket:
        line = Line(socket)
        for words, says in [
            ({"op": "fly"}, "The request 'fly' is unknown"),
            ({"op": "step", "at": 0, "driver": "policy"}, "No dream has begun"),
            (
                {"op": "replay", "source": "replay", "serial": 0, "row": 3, "observed": 0},
                "from 1 to 64",
            ),
            (
                {"op": "replay", "source": "replay", "serial": 77, "row": 3, "observed": 1},
                "no longer there",
            ),
            ({"op": "film", "at": 0}, "No dream has begun"),
            ({"op": "film", "at": 0, "format": "avi"}, "expected mp4 or gif"),
        ]:
            assert says in line.ask(**words)[0]["error"]
        line.ask("replay", **middle(line.about["episodes"]), observed=3)
        assert "Frame 9 does not exist" in line.ask("step", at=9, driver="policy")[0]["error"]
        wrong = line.ask("step", at=0, driver="you", action={"choice": [7]})[0]["error"]
        assert wrong.startswith("The action 'choice' is [7]: expected class indices below (5,)")
        long = line.ask("film", at=2, format="gif")[0]["error"]
        assert "as gif has up to 2 frames, and up to here there are 3" in long
        assert "frames" in line.ask("step", at=2, driver="policy")[0]
        # A dream that cannot begin leaves the one before it.
        assert (
            "no longer there"
            in line.ask("replay", source="replay", serial=77, row=3, observed=1)[0]["error"]
        )
        assert "frames" in line.ask("step", at=1, driver="policy")[0]


def test_dreams_are_few_at_a_time(trained, connect, monkeypatch):
    monkeypatch.setattr(routes, "MOST", 1)
    client = testclient.TestClient(make_app(Folders(trained)), base_url="http://localhost")
    where = "ws://localhost/api/dream?run=cartpole"
    with client:  # One event loop for both.
        with client.websocket_connect(where) as socket:
            assert Line(socket).about["task"] == "gym_CartPole-v1"
            with client.websocket_connect(where) as second:
                assert "1 dreams already" in Line(second).about["error"]
        with client.websocket_connect(where) as socket:
            assert "error" not in Line(socket).about


def test_an_environment_that_cannot_be_made_is_told(runs, connect):
    config = runs / "cartpole" / "config.yaml"
    config.write_text(config.read_text().replace("gym_CartPole-v1", "custom_make"))
    with connect(runs, "cartpole") as socket:
        line = Line(socket)
        error = line.ask("reset", observed=3)[0]["error"]
        assert "cannot be made here, so dream from a step of replay instead" in error
        assert "passed from Python" in error
        assert "frames" in line.ask("replay", **middle(line.about["episodes"]), observed=3)[0]


def begin(page, name="Begin beside the environment"):
    page.get_by_role("button", name=name).click()
    page.locator(".dream-badge").wait_for()


def badge(page, text):
    page.locator(".dream-badge", has_text=text).wait_for()


def frames(page, count):
    page.get_by_text(f"{count} frames, room for").wait_for()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_dream_is_driven_by_keys(open_page, trained, width):
    page = open_page(make_app(Folders(trained)), "#/dream?run=cartpole", width=width)
    page.get_by_label("Steps to watch").first.fill("2")
    begin(page)
    badge(page, "Awake")
    for count in (1, 2, 3):
        page.keyboard.press("ArrowRight")
        badge(page, f"Asleep for {count} step")
    right = page.locator(".dream-choice", has_text="1").first
    assert "done" in right.get_attribute("class")
    page.keyboard.press("Backspace")
    badge(page, "Asleep for 2 steps")
    # The same action leads to the frame of before, another one to a branch.
    page.keyboard.press("ArrowRight")
    badge(page, "Asleep for 3 steps")
    frames(page, 5)
    page.keyboard.press(",")
    page.keyboard.press("ArrowLeft")
    badge(page, "Asleep for 3 steps")
    frames(page, 6)
    page.get_by_role("slider", name="Frame of the dream").press("Home")
    badge(page, "Awake")
    page.keyboard.press("End")
    badge(page, "Asleep for 3 steps")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_policy_takes_over_and_gives_back(open_page, trained):
    page = open_page(make_app(Folders(trained)), "#/dream?run=cartpole")
    begin(page)
    page.keyboard.press("p")
    assert page.get_by_role("button", name="Policy").get_attribute("aria-pressed") == "true"
    page.get_by_label("Steps per second").select_option("30")
    page.get_by_role("button", name="Play").click()
    page.locator(".dream-rate", has_text="steps/s").wait_for()
    page.get_by_text("the policy drove").wait_for()
    page.keyboard.press("ArrowRight")  # Whoever acts drives.
    page.get_by_text("you drove").wait_for()
    assert page.get_by_role("button", name="You").get_attribute("aria-pressed") == "true"
    # At once, for a dream that ends pauses by itself.
    page.evaluate("document.querySelector('button[aria-label=Pause]')?.click()")
    page.get_by_role("button", name="Play").wait_for()
    with page.expect_download() as saved:
        page.get_by_label("Format of the film").select_option("gif")
        page.get_by_role("button", name="Save film").click()
    assert saved.value.suggested_filename.startswith("dream-cartpole-")
    assert saved.value.path().read_bytes()[:4] == b"GIF8"


def test_sliders_and_several_actions_and_waking(open_page, hybrid):
    page = open_page(make_app(Folders(hybrid)), "#/dream?run=hybrid", dark=True)
    begin(page)
    assert page.get_by_role("slider", name="force").count() == 3
    page.get_by_role("slider", name="force 1").press("End")
    page.get_by_role("group", name="choice").get_by_role("button", name="3", exact=False).click()
    page.get_by_role("group", name="switches 0").get_by_role("button", name="1").click()
    page.get_by_role("button", name="One step").click()
    badge(page, "Asleep for 1 step")
    assert page.locator(".dream-choice.done", has_text="3").count() == 1
    assert page.get_by_text("3", exact=True).count() > 0  # What End is in units of the action.
    shown = page.locator(".dream-picture:not(.unknown)")
    assert shown.count() == 3
    page.get_by_role("button", name="Awake").click()
    page.keyboard.press("Enter")
    badge(page, "Awake")


def test_the_recording_drives_until_another_action_is_taken(open_page, hybrid):
    page = open_page(make_app(Folders(hybrid)), "#/episodes?run=hybrid")
    page.get_by_role("button", name="Dream from here").click()
    page.get_by_text("step 0 of 20").wait_for()
    page.get_by_label("Step of the episode").fill("6")
    begin(page, "Begin at this step")
    page.get_by_role("button", name="Recording").click()
    page.keyboard.press("Enter")
    badge(page, "Asleep for 1 step")
    assert page.locator(".dream-picture.unknown").count() == 0
    page.get_by_role("button", name="You").click()
    page.keyboard.press("Enter")
    badge(page, "Asleep for 2 steps")
    page.get_by_text("nobody knows what really follows").wait_for()
    assert page.locator(".dream-picture.unknown").count() == 2
    page.get_by_role("button", name="Recording").click()
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("The recording is of no use here").wait_for()


def test_a_newer_checkpoint_is_offered_and_loaded(open_page, runs):
    saved = sorted((runs / "cartpole" / "checkpoints").iterdir())
    newer = shutil.move(saved[-1], runs / saved[-1].name)
    if len(saved) == 1:  # The first of them may have been removed.
        older = saved[0].with_name("000000000007")
        shutil.copytree(newer, older)
    page = open_page(make_app(Folders(runs)), "#/dream?run=cartpole")
    begin(page)
    offer = page.get_by_role("button", name="Load the checkpoint of step 120")
    assert offer.count() == 0
    shutil.move(newer, saved[-1])
    shutil.rmtree(runs / "cartpole" / "replay")
    page.get_by_role("button", name="New dream").click()
    page.get_by_text("No episode was saved yet").wait_for()
    begin(page)
    offer.click()
    page.get_by_text("checkpoint of step 120", exact=True).wait_for()
    page.keyboard.press("ArrowRight")
    badge(page, "Asleep for 1 step")


def test_what_is_missing_or_does_not_fit_is_told(open_page, runs):
    run = runs / "cartpole"
    shutil.move(run / "checkpoints", runs / "kept")
    page = open_page(make_app(Folders(runs)), "#/dream?run=cartpole")
    page.get_by_role("alert").get_by_text("This run has no checkpoint yet").wait_for()
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("deter: 32", "deter: 48"))
    shutil.move(runs / "kept", run / "checkpoints")
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("alert").get_by_text("does not fit").wait_for()
    (run / "config.yaml").write_text(config)
    page.get_by_role("button", name="Try again").click()
    begin(page)

"""The page Runs."""

import asyncio
import concurrent.futures
import json
import os
import re
import shutil

import httpx
import pytest

testclient = pytest.importorskip("starlette.testclient", reason="the extra view is not installed")

from reverie.track.sinks.jsonl import JsonlSink  # noqa: E402
from reverie.view.app import make_app  # noqa: E402
from reverie.view.folders import Folders  # noqa: E402


@pytest.fixture
def client(runs, patient):
    return testclient.TestClient(make_app(Folders(runs)), base_url="http://localhost")


def test_list_tells_states_also_of_damaged_runs(client, runs):
    shutil.copytree(runs / "cartpole", runs / "deep" / "er" / "copy")
    (runs / "damaged").mkdir()
    (runs / "damaged" / "config.yaml").write_text("task: [")
    (runs / "damaged" / "metrics.jsonl").touch()
    (runs / "senseless").mkdir()
    (runs / "senseless" / "config.yaml").write_text("run: {steps: [1]}")
    (runs / "senseless" / "metrics.jsonl").touch()
    answer = client.get("/api/runs").json()
    found = {run["name"]: run for run in answer["runs"]}
    assert found.keys() == {"cartpole", "deep/er/copy", "damaged", "senseless"}
    assert found["cartpole"]["state"] == found["deep/er/copy"]["state"] == "finished"
    assert (found["cartpole"]["steps"], found["cartpole"]["left"]) == (120, None)
    assert "not valid YAML" in found["damaged"]["error"]
    assert found["senseless"]["error"]


def test_records_config_and_notes(client, runs):
    JsonlSink(runs / "cartpole").note("Something happened.")
    scores = client.get("/api/records", params={"run": "cartpole", "file": "scores"}).json()
    assert len(scores["columns"]["episode/score"]) == len(scores["columns"]["step"]) > 0
    notes = client.get("/api/records", params={"run": "cartpole", "file": "notes"}).json()
    assert notes["texts"][-1][1:] == ["note", "Something happened."]
    answer = client.get("/api/records", params={"run": "cartpole", "file": "../config.yaml"})
    assert (answer.status_code, "file is none of" in answer.json()["error"]) == (400, True)
    config = client.get("/api/config", params={"run": "cartpole"}).json()
    assert config["options"]["run.steps"] == "120"
    assert {"run.steps", "task"} <= set(config["changed"]) < set(config["options"])


def test_published_curves_of_tasks_that_have_one(client, runs):
    def curve(task):
        path = runs / "cartpole" / "config.yaml"
        path.write_text(path.read_text().replace("gym_CartPole-v1", task))
        found = client.get("/api/published", params={"run": "cartpole"}).json()
        path.write_text(path.read_text().replace(task, "gym_CartPole-v1"))
        return found

    assert curve("gym_CartPole-v1") is None
    # 400k frames, of which an agent step takes 4.
    assert curve("atari100k_pong")["steps"][-1] == 100_000
    assert "published" in curve("dmc_walker_walk")["label"]


def test_media_are_pictures_and_films_alone(client, runs):
    run = runs / "cartpole"
    (run / "videos").mkdir(exist_ok=True)
    (run / "videos" / "a.mp4").write_bytes(bytes(1000))
    (run / "page.html").write_text("<script>")
    (run / "passwords.png").symlink_to("/etc/passwd")
    (run / "checkpoints" / "x.png").touch()
    (run / os.fsdecode(b"bad\xff.png")).touch()
    files = [entry["file"] for entry in client.get("/api/media?run=cartpole").json()]
    assert "videos/a.mp4" in files
    assert not any("bad" in file for file in files)
    assert not {"page.html", "checkpoints/x.png"} & set(files)
    answer = client.get("/api/file?run=cartpole&file=videos/a.mp4", headers={"range": "bytes=0-9"})
    assert (answer.status_code, len(answer.content)) == (206, 10)
    for file in ("page.html", "config.yaml", "passwords.png", "none.png", "../x.png", ""):
        answer = client.get("/api/file", params={"run": "cartpole", "file": file})
        assert (answer.status_code, "root:" in answer.text) == (400, False), file


async def _at_once(app, path):
    """Two answers to a question that is asked twice."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as line:
        return await asyncio.gather(line.get(path), line.get(path))


def test_doctor_is_asked_on_demand(client, runs):
    shutil.rmtree(runs / "cartpole" / "checkpoints")  # What its agent predicts takes long.
    # The browser's tests leave an event loop running in this thread.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        asked = thread.submit(lambda: asyncio.run(_at_once(client.app, "/api/doctor?run=cartpole")))
        answers = asked.result()
    assert sorted(answer.status_code for answer in answers) == [200, 400]
    verdict, busy = (x.json() for x in sorted(answers, key=lambda answer: answer.status_code))
    assert "busy" in busy["error"]
    assert {line["about"] for line in verdict["lines"]} >= {"score", "train ratio", "checkpoint"}
    (runs / "cartpole" / "config.yaml").write_text("task: dummy_disc\nseed: none\n")
    answer = client.get("/api/doctor?run=cartpole")
    assert answer.status_code == 400
    assert "seed" in answer.json()["error"]


def test_curves_metrics_and_tabs_in_a_browser(open_page, runs):
    shutil.copytree(runs / "cartpole", runs / "other")
    config = runs / "other" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 7"))
    page = open_page(make_app(Folders(runs)))
    page.get_by_role("button", name=re.compile("^cartpole")).click()
    page.locator(".details .uplot").first.wait_for()
    page.get_by_text("training", exact=True).wait_for()

    page.keyboard.press("/")
    page.keyboard.type("loss rew")
    page.locator(".cell", has_text="rew").first.wait_for()
    assert page.locator(".cell").count() < 5

    page.get_by_role("button", name=re.compile("^cartpole")).press("ArrowDown")
    page.get_by_role("button", name=re.compile("^other")).press("Space")
    page.get_by_text("compared with 1 other").wait_for()
    page.get_by_role("tab", name="Config").click()
    row = page.get_by_role("row", name="seed")
    row.wait_for()
    assert row.inner_text().split() in (["seed", "0", "7"], ["seed", "7", "0"])
    page.get_by_role("tab", name="Media").click()
    page.get_by_role("tab", name="Notes").click()
    page.get_by_role("button", name="Hours").click()
    assert page.get_by_role("button", name="Hours").get_attribute("aria-pressed") == "true"
    # The address leads back to the same place.
    page.reload()
    page.get_by_text("compared with 1 other").wait_for()
    assert page.get_by_role("tab", name="Notes").get_attribute("aria-selected") == "true"


def test_a_running_run_appears_and_grows(open_page, runs):
    page = open_page(make_app(Folders(runs)), width=390, dark=True)
    page.locator(".details .uplot").first.wait_for()
    with open(runs / "cartpole" / "scores.jsonl", "a") as file:
        for step in range(20):
            record = {"step": 200 + step, "time": 2e9, "episode/score": 9876.0}
            file.write(json.dumps({**record, "episode/length": 3}) + "\n")
        file.write('{"step": 300, "episode/sc')
    shutil.copytree(runs / "cartpole", runs / "new")
    page.get_by_role("button", name=re.compile("^new")).wait_for()
    page.get_by_text("9876").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_an_empty_folder_says_what_to_do_and_shows_the_first_run(open_page, trained, tmp_path):
    page = open_page(make_app(Folders(tmp_path)))
    page.get_by_text("There is no run in this folder yet").wait_for()
    shutil.copytree(trained / "cartpole", tmp_path / "first")
    page.locator(".details .uplot").first.wait_for()


def test_records_that_are_asked_for_twice_at_once_come_once(open_page, runs):
    page = open_page(make_app(Folders(runs / "cartpole")), "#/runs?tab=config")
    script = """async () => {
        const file = (await import("/static/store.js")).records(".", "metrics");
        await Promise.all([file.update(), file.update()]);
        return file.length;
    }"""
    lines = (runs / "cartpole" / "metrics.jsonl").read_text().splitlines()
    assert page.evaluate(script) == len(lines) > 3


def test_a_damaged_run_shows_its_error(open_page, runs):
    (runs / "cartpole" / "config.yaml").write_text("task: [")
    page = open_page(make_app(Folders(runs / "cartpole")))
    page.get_by_role("alert").get_by_text("not valid YAML").wait_for()

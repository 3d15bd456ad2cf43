"""The frame of all pages, and who may ask for them."""

import os
import re
import socket
import subprocess
import sys
import urllib.request

import pytest

testclient = pytest.importorskip("starlette.testclient", reason="the extra view is not installed")

from starlette.applications import Starlette  # noqa: E402
from starlette.routing import WebSocketRoute  # noqa: E402
from starlette.websockets import WebSocketDisconnect  # noqa: E402

from reverie import cli  # noqa: E402
from reverie.track.encoding.names import printable  # noqa: E402
from reverie.view.app import make_app  # noqa: E402
from reverie.view.folders import Folders, ViewError  # noqa: E402
from reverie.view.guard import Guard  # noqa: E402


def fake_run(path):
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("task: dummy_disc\n")
    (path / "metrics.jsonl").touch()
    return path


@pytest.fixture
def folder(tmp_path, patient):
    fake_run(tmp_path / "logs" / "a" / "run")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return tmp_path / "logs"


@pytest.fixture
def client(folder):
    return testclient.TestClient(make_app(Folders(folder)), base_url="http://localhost:6060")


async def echo(websocket):
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def test_names_of_other_machines_are_refused(client):
    assert client.get("/").status_code == 200
    for host in ("127.0.0.1:1", "[::1]:6060", "localhost"):
        assert client.get("/api/runs", headers={"host": host}).status_code == 200, host
    for host in ("evil.example", "localhost.evil.example:6060", "127.0.0.1.nip.io", "", "["):
        answer = client.get("/api/runs", headers={"host": host})
        assert answer.status_code == 403, host
        assert "run" not in answer.text


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://localhost:1", "null", "http://["]
)
def test_other_sites_are_refused_also_as_websockets(client, origin):
    headers = {"origin": origin}
    assert client.get("/api/runs", headers=headers).status_code == 403
    app = Guard(Starlette(routes=[WebSocketRoute("/ws", echo)]))
    other = testclient.TestClient(app, base_url="http://localhost:6060")
    with other.websocket_connect("ws://localhost:6060/ws") as connection:
        assert connection.receive_text() == "hello"
    for refused in (headers, {"host": "evil.example"}):
        with (
            pytest.raises(WebSocketDisconnect),
            other.websocket_connect("ws://localhost:6060/ws", headers=refused),
        ):
            pass


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pictures_in_pages_of_other_sites_are_refused_and_links_are_not(client, site):
    headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    for path in ("/", "/api/runs", "/api/doctor?run=a/run"):
        assert client.get(path, headers=headers).status_code == 403, path
    headers["sec-fetch-mode"] = "navigate"
    assert client.get("/", headers=headers).status_code == 200
    assert client.get("/api/runs", headers=headers).status_code == 403
    assert client.get("/api/runs", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_a_token_is_asked_for_and_leaves_the_address_bar(folder):
    app = make_app(Folders(folder), token="right")
    client = testclient.TestClient(app, base_url="http://machine:6060", follow_redirects=False)
    for path in ("/", "/api/runs", "/static/app.js", "/?token=wrong", "/?token="):
        assert client.get(path).status_code == 401, path
    answer = client.get("/?token=right&x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?x=1")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert [run["name"] for run in client.get("/api/runs").json()["runs"]] == ["a/run"]
    assert client.get("/api/runs", headers={"origin": "http://evil"}).status_code == 403


TRAVERSALS = ["../secret.png", "%2e%2e/secret.png", "..%2fsecret.png", "%252e%252e/secret.png",
              "....//secret.png", "..\\secret.png", "/etc/passwd", "%00", "a" * 5000]  # fmt: skip


@pytest.mark.parametrize("path", TRAVERSALS)
def test_static_files_are_those_of_the_package(client, path):
    for begin in ("/static/", "/static/vendor/../../", "/"):
        answer = client.get(begin + path)
        assert answer.status_code in (403, 404), (begin, answer.text[:100])


@pytest.mark.parametrize("name", ["..", "../logs2/run", "/etc", "a/../../secret.png", "a\0b", "~",
                                  "link", "a", "a/run/../../../x", "b" * 5000])  # fmt: skip
def test_runs_elsewhere_are_none(folder, name):
    fake_run(folder.parent / "logs2" / "run")
    (folder / "link").symlink_to(folder.parent / "logs2" / "run")
    folders = Folders(folder)
    assert folders.names() == ["a/run"]
    assert folders.run("a/run") == folder / "a" / "run"
    with pytest.raises(ViewError):
        folders.run(name)


def test_files_elsewhere_are_none(folder):
    run, other = folder / "a" / "run", fake_run(folder / "other")
    (run / "film.mp4").touch()
    (run / "out.png").symlink_to(folder.parent / "secret.png")
    (other / "here.png").touch()
    folders = Folders(folder)
    assert folders.file("a/run", "film.mp4") == run / "film.mp4"
    for file in ("out.png", "../../../secret.png", "/etc/passwd", "\0", "../../other/here.png"):
        with pytest.raises(ViewError):
            folders.file("a/run", file)


@pytest.mark.parametrize("part", ["scores.jsonl", "replay", "checkpoints", "replay/7.chunk"])
def test_nothing_is_read_of_a_run_with_parts_elsewhere(folder, client, part):
    elsewhere = folder.parent / "elsewhere"
    elsewhere.write_text('{"step": 1, "episode/score": 77.5}\n')
    link = folder / "a" / "run" / part
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(ViewError, match=part):
        Folders(folder).saved("a/run")
    (run,) = client.get("/api/runs").json()["runs"]
    assert "score" not in run
    assert f"'a/run/{part}' is not in" in run["error"]
    # A link to another place in the folder is none of these.
    elsewhere.rename(folder / "elsewhere")
    link.unlink()
    link.symlink_to(folder / "elsewhere")
    assert Folders(folder).saved("a/run") == folder / "a" / "run"


def test_a_name_that_is_not_valid_as_utf8_hides_no_other(folder, client):
    fake_run(folder / os.fsdecode(b"bad\xff"))
    runs = {run["name"]: run for run in client.get("/api/runs").json()["runs"]}
    assert runs.keys() == {"a/run", "bad\\udcff"}
    assert runs["a/run"]["state"]
    assert "not valid as UTF-8" in runs["bad\\udcff"]["error"]


def test_a_folder_may_be_a_run_or_hold_none(folder, tmp_path):
    assert Folders(folder / "a" / "run").names() == ["."]
    assert Folders(tmp_path / "empty").names() == []


def test_command_prints_the_address_of_a_page(folder):
    folder = folder.rename(folder.parent / os.fsdecode(b"logs\xff"))
    words = [sys.executable, "-m", "reverie", "view", str(folder), "--port", "0"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    assert process.stdout
    assert process.stdout.readline().decode().strip() == f"Runs in {printable(str(folder))}"
    url = process.stdout.readline().decode().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
    with urllib.request.urlopen(url) as page:
        assert b"<title>Reverie" in page.read()
    with urllib.request.urlopen(f"{url}api/runs") as answer:
        assert b"a/run" in answer.read()
    process.send_signal(2)
    _, errors = process.communicate(timeout=200)
    assert (b"Traceback" in errors, process.returncode) == (False, 130)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["NOWHERE"], "There is no folder"),
        ([".", "--port", "x"], "expected a number"),
        ([".", "--port", "70000"], "expected a number"),
        ([".", "--port", "TAKEN"], "Try another --port"),
        ([".", "--host", "no.such.host.invalid"], "cannot be listened on"),
        ([".", "b"], "does not know b"),
    ],
)
def test_command_explains_what_it_cannot_do(words, says, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["view", *(word.replace("TAKEN", port) for word in words)]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("width", [390, 1280])
def test_frame_fits_and_is_used_by_keyboard(open_page, folder, width):
    page = open_page(make_app(Folders(folder)), width=width)
    page.get_by_role("link", name="Runs").wait_for()
    page.get_by_text("a/run").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light or dark").press("Enter")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_command_says_what_to_install(monkeypatch, capsys, folder):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "reverie.view.server", raising=False)
    assert cli.main(["view", str(folder)]) == 2
    assert "needs the package uvicorn: pip install -c constraints.txt" in capsys.readouterr().err

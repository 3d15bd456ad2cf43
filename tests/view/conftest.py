"""A server around a folder of runs, and a browser that looks at it."""

import contextlib
import pathlib
import shutil
import threading
import time

import pytest

from reverie.config.load import load
from reverie.run.scripts import launch

CHROMIUM = "/usr/bin/chromium"

PATIENCE = 90_000
"""Milliseconds that a page may take; a model has to compile first."""


@pytest.fixture
def patient(monkeypatch):
    """The list of runs has all of them, also where half a second is too short to read them."""
    monkeypatch.setattr("reverie.view.runs.PATIENCE", 400.0)


@pytest.fixture(scope="session")
def make_run(cache):
    """Trains a short run of the debug preset."""

    def make(logdir, *words, task="gym_CartPole-v1"):
        options = ["--configs", "debug", "--task", task, "--logger.outputs", "jsonl"]
        options += ["--run.steps", "120", "--run.log_every", "1e-9", "--run.final_eval_eps", "0"]
        launch(load([*options, "--jax.cache_dir", cache, "--logdir", str(logdir), *words]))
        return pathlib.Path(logdir)

    return make


@pytest.fixture(scope="session")
def trained(make_run, tmp_path_factory):
    """A folder with a finished run, which is only read."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "cartpole")
    return folder


@pytest.fixture(scope="session")
def hybrid(make_run, tmp_path_factory):
    """A folder with a run without updates, whose observations and actions are of every kind."""
    folder = tmp_path_factory.mktemp("kinds")
    words = ["--run.train_ratio", "0", "--run.report_every", "0", "--env.dummy.size", "16", "16"]
    words += ["--agent.enc.simple.mults", "2", "2", "--agent.dec.simple.mults", "2", "2"]
    make_run(folder / "hybrid", *words, task="dummy_hybrid")
    return folder


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of it, to write into."""
    return pathlib.Path(shutil.copytree(trained, tmp_path / "runs"))


@pytest.fixture(scope="session")
def serving():
    """Serves an application in a thread: `with serving(app) as url`."""
    uvicorn = pytest.importorskip("uvicorn", reason="the extra view is not installed")

    @contextlib.contextmanager
    def serve(app):
        config = uvicorn.Config(app, port=0, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        assert server.started, "The server has ended before it listened."
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join()

    return serve


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium without a window."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not pathlib.Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    api.expect.set_options(timeout=PATIENCE)
    with api.sync_playwright() as play:
        # As root, as in containers, Chromium refuses its sandbox.
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, serving):
    """Opens a page of an application: `open_page(app, "#/runs", width=390, dark=True)`.

    A message in the console of the browser or a failed request fails the test, unless it takes it
    out of `open_page.messages`.
    """
    with contextlib.ExitStack() as stack:
        messages = []

        def open_page(app, address="", width=1280, height=900, dark=False):
            url = stack.enter_context(serving(app))
            scheme = "dark" if dark else "light"
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme
            )
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            page.on("console", lambda m: m.type != "debug" and messages.append(m.text))
            page.on("pageerror", lambda error: messages.append(str(error)))
            page.goto(f"{url}/{address}")
            return page

        open_page.messages = messages
        yield open_page
    assert messages == []

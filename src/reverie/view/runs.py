"""The page Runs: what the runs in the folder have reached."""

import asyncio
import json
import os
import pathlib
import sys
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from reverie.config.load import RUN_CONFIG
from reverie.config.schema import Config
from reverie.config.syntax.keys import leaves
from reverie.track.encoding.names import encodable
from reverie.track.runs.published import published_for
from reverie.track.runs.status import LOCK, UNREADABLE, changed, read_options, read_status
from reverie.track.sinks.jsonl import METRICS, NOTES, SCORES
from reverie.view.content import Json
from reverie.view.folders import Folders, ViewError
from reverie.view.records import read_new

RECORDS = {"metrics": METRICS, "scores": SCORES, "notes": NOTES}

MEDIA = {".mp4": "video", ".webm": "video", ".gif": "image", ".png": "image", ".jpg": "image"}
"""Files that are shown; others, such as pages and SVG, could act in the browser."""

PATIENCE = 0.5
"""Seconds after which the list is given out, with runs that are still to be read."""

SHOWN = 200
"""Newest files that are listed."""


def routes(folders: Folders) -> list[BaseRoute]:
    """The routes of the page. Every request is about one run, but for the list."""
    page = _Runs(folders)
    return [
        Route("/api/runs", page.listing),
        Route("/api/records", page.records),
        Route("/api/config", page.config),
        Route("/api/published", page.published),
        Route("/api/media", page.media),
        Route("/api/file", page.file),
        Route("/api/doctor", page.doctor),
    ]


class _Runs:
    def __init__(self, folders: Folders):
        self._folders = folders
        self._read: dict[str, tuple[tuple[float, ...], dict[str, Any]]] = {}
        self._examining = asyncio.Lock()

    def listing(self, request: Request) -> Response:
        """State of all runs, the newest first; some wait to be read where there are many."""
        stamps = {name: _stamp(self._folders.root / name) for name in self._folders.names()}
        until = time.monotonic() + PATIENCE
        runs = []
        for name in sorted(stamps, key=stamps.__getitem__, reverse=True):
            waits = name not in self._read and time.monotonic() > until
            shown = {"name": encodable(name), "waits": True}
            runs.append(shown if waits else self._run(name, stamps[name]))
        return Json({"root": str(self._folders.root), "now": time.time(), "runs": runs})

    def _run(self, name: str, stamp: tuple[float, ...]) -> dict[str, Any]:
        before, run = self._read.get(name, ((), {}))
        # What became of a run that is over is read again when one of its files has changed.
        if before != stamp or run.get("state") not in ("finished", "stopped"):
            shown = encodable(name)
            try:
                if shown != name:
                    raise ViewError("The name of its folder is not valid as UTF-8; rename it.")
                run = {**read_status(self._folders.saved(name)).to_json(), "name": name}
            except UNREADABLE as error:  # The others are shown all the same.
                run = {"name": shown, "error": str(error) or type(error).__name__}
            self._read[name] = stamp, run
        return run

    def records(self, request: Request) -> Response:
        """What is new in one of the files of records; see `read_new`."""
        asked = request.query_params
        if (file := RECORDS.get(asked.get("file", ""))) is None:
            raise ViewError(f"file is none of {', '.join(RECORDS)}.")
        path = self._folders.file(asked.get("run", ""), file)
        return Json(read_new(path, asked.get("cursor", "")))

    def config(self, request: Request) -> Response:
        """All options of a run, and which are not the defaults."""
        options = read_options(self._folders.run(request.query_params.get("run", "")))
        known = leaves(Config)
        changed = [k for k, x in options.items() if k in known and not known[k].is_default(x)]
        shown = {key: _shown(value) for key, value in options.items()}
        return Json({"options": shown, "changed": changed})

    def published(self, request: Request) -> Response:
        """The published curve of the task, over steps as the run counts them; null without one."""
        options = read_options(self._folders.run(request.query_params.get("run", "")))
        try:
            curve = published_for(options)
        except ValueError:
            return Json(None)
        columns = {key: getattr(curve, key).tolist() for key in ("steps", "score", "low", "high")}
        return Json({"label": curve.label, **columns})

    def media(self, request: Request) -> Response:
        """Films and pictures, the newest first."""
        name = request.query_params.get("run", "")
        folder = self._folders.run(name)
        found = []
        for place, names, files in os.walk(folder):
            names[:] = [x for x in names if x not in ("checkpoints", "replay", "wandb")]
            for file in files:
                kind = MEDIA.get(os.path.splitext(file)[1].lower())
                path = os.path.relpath(os.path.join(place, file), folder)
                # A page cannot ask for a name that is not valid as UTF-8.
                if kind and encodable(path) == path:
                    try:
                        changed = os.lstat(folder / path).st_mtime
                    except FileNotFoundError:
                        continue
                    found.append({"file": path, "kind": kind, "changed": changed})
        found.sort(key=lambda entry: (-entry["changed"], entry["file"]))
        return Json(found[:SHOWN])

    def file(self, request: Request) -> Response:
        """A film or picture."""
        asked = request.query_params
        path = self._folders.file(asked.get("run", ""), asked.get("file", ""))
        if path.suffix.lower() not in MEDIA or not path.is_file():
            raise ViewError(f"There is no film or picture {asked.get('file', '')!r}.")
        return FileResponse(path)

    async def doctor(self, request: Request) -> Response:
        """What `reverie doctor` says, in a process that gives its memory back; one at a time."""
        if self._examining.locked():  # A queue would go on for pages that are closed since.
            raise ViewError("The doctor is busy with a run. Ask again in a minute.")
        folder = self._folders.saved(request.query_params.get("run", ""))
        # Without -P the current folder, which may be a run's, would lend modules.
        words = [sys.executable, "-P", "-m", "reverie", "doctor", str(folder), "--json"]
        words += ["--trust"] if self._folders.trust else []
        pipe = asyncio.subprocess.PIPE
        # Accelerators are left to the training that may run on them.
        env = {"JAX_PLATFORMS": "cpu", **os.environ}
        async with self._examining:
            process = await asyncio.create_subprocess_exec(
                *words, stdout=pipe, stderr=pipe, env=env
            )
            try:
                out, errors = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
        if not out:
            raise ViewError(errors.decode(errors="replace").strip() or "reverie doctor failed.")
        return Json(json.loads(out))


def _stamp(folder: pathlib.Path) -> tuple[float, ...]:
    """When its files have changed, the latest first."""
    names = ("", METRICS, SCORES, LOCK, RUN_CONFIG, "checkpoints")
    return tuple(sorted((changed(folder / name) for name in names), reverse=True))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)

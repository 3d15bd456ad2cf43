"""The page Dream: one dream for each websocket, which ends with it."""

import asyncio
import concurrent.futures
import contextlib
import json
import struct
from collections.abc import Sequence
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from reverie.view.content import told
from reverie.view.folders import Folders

MOST = 4
"""Dreams at a time: each holds the parameters of an agent."""


def routes(folders: Folders) -> list[BaseRoute]:
    """The routes of the page."""
    places = asyncio.Semaphore(MOST)

    async def dream(socket: WebSocket) -> None:
        await socket.accept()
        if places.locked():
            error = f"This server runs {MOST} dreams already. Close another of its tabs."
            await socket.send_bytes(_message({"error": error}))
            await socket.close()
            return
        async with places:
            with contextlib.suppress(WebSocketDisconnect):
                await _serve(socket, folders)

    return [WebSocketRoute("/api/dream", dream)]


async def _serve(socket: WebSocket, folders: Folders) -> None:
    """Answers requests one after the other.

    A thread of its own does the work: what draws the pictures of some environments belongs to the
    thread that made it.
    """
    loop, session = asyncio.get_running_loop(), None
    thread = concurrent.futures.ThreadPoolExecutor(1, "dream")
    try:
        name = socket.query_params.get("run", "")
        session, answer = await loop.run_in_executor(thread, _open, folders, name)
        await socket.send_bytes(answer)
        while session is not None:
            request = await socket.receive_text()
            await socket.send_bytes(await loop.run_in_executor(thread, _answer, session, request))
        await socket.close()
    finally:
        if session is not None:
            with contextlib.suppress(RuntimeError):  # Python ends, and closes it by itself.
                thread.submit(session.close)
        thread.shutdown(wait=False)


def _open(folders: Folders, name: str) -> tuple[Any, bytes]:
    """A session, None where the run has none, and what the page is told."""
    try:
        # JAX takes seconds to import, and no other page needs it.
        from reverie.view.dream.session import Session

        session = Session(folders.saved(name), folders.trust)
        return session, _message(session.about())
    except Exception as error:
        return None, _message({"error": told(error)})


def _answer(session: Any, request: str) -> bytes:
    try:
        return _message(*session.answer(**json.loads(request)))
    except Exception as error:
        return _message({"error": told(error)})


def _message(content: dict[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """A message: the length of a JSON text, that text, and the blobs whose sizes it tells."""
    text = json.dumps({**content, "blobs": [len(blob) for blob in blobs]}).encode()
    return b"".join([struct.pack("<I", len(text)), text, *blobs])

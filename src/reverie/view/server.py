"""Serves the application."""

import logging
import os
import secrets
import socket

import uvicorn

from reverie.track.encoding.names import printable
from reverie.view.app import make_app
from reverie.view.folders import Folders, ViewError
from reverie.view.guard import is_loopback

PORT = 6060
"""The first port that is tried."""

TRIES = 20


def serve(
    folder: str | os.PathLike[str], host: str = "127.0.0.1", port: str = "", trust: bool = False
) -> None:
    """Serves until a signal ends it.

    Args:
        folder: That in which runs lie, or of a run.
        host: Address to bind to; another than this machine's asks for a token.
        port: Number; if empty, the first free one from `PORT` on.
        trust: Whether the user trusts whoever made the runs, so that they may name code.

    Raises:
        ViewError: If there is no such folder, or the address cannot be had.
    """
    folders = Folders(folder, trust)
    if not folders.root.is_dir():
        raise ViewError(f"There is no folder {folders.root}. Pass that in which runs lie.")
    if port and not (port.isdecimal() and int(port) < 2**16):
        raise ViewError(f"--port is {port}; expected a number from 0 to {2**16 - 1}.")
    listening = _listen(host, port)
    token = None if is_loopback(host) else secrets.token_urlsafe(24)
    settings = uvicorn.Config(
        make_app(folders, token),
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=1,
        proxy_headers=False,
        server_header=False,
    )
    root = printable(str(folders.root))
    print(f"Runs in {root}\n{_url(listening, host, token)}\nCtrl-C stops.", flush=True)
    server = uvicorn.Server(settings)
    # At the end it would report the requests that it cuts off.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
    server.run([listening])


def _listen(host: str, port: str) -> socket.socket:
    reason = ""
    ports = [int(port)] if port else range(PORT, PORT + TRIES)
    for number in ports:
        try:
            family, *_, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            return socket.create_server(address[:2], family=family)
        except OSError as error:
            reason = error.strerror or str(error)
    wanted = f"--port {port}" if port else f"Each port from {PORT} on"
    raise ViewError(f"{wanted} cannot be listened on at {host}: {reason}. Try another --port.")


def _url(listening: socket.socket, host: str, token: str | None) -> str:
    name = socket.gethostname() if host in ("", "0.0.0.0", "::") else host
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{listening.getsockname()[1]}/" + (f"?token={token}" if token else "")

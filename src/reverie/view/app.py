"""The application: the frame, one module per page, and the guard around them."""

import pathlib

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from reverie.config.errors import is_own
from reverie.view import episodes, runs
from reverie.view.content import Json, told
from reverie.view.dream import routes as dream
from reverie.view.folders import Folders
from reverie.view.guard import Guard

STATIC = pathlib.Path(__file__).parent / "static"

PAGES = (runs, episodes, dream)
"""Modules with a function `routes(folders) -> list of routes`, which begin with /api/. They import
jax only when a model is asked for."""


def make_app(folders: Folders, token: str | None = None) -> Starlette:
    """The application; with a token for a server that other machines can reach, see `Guard`."""
    routes = [route for page in PAGES for route in page.routes(folders)]
    return Starlette(
        routes=[Route("/", _frame), *routes, Mount("/static", StaticFiles(directory=STATIC))],
        middleware=[Middleware(Guard, token=token), Middleware(_Told)],
    )


async def _frame(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


class _Told:
    """Answers an error with its message, which the page shows; errors of others with their type."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if scope["type"] != "http":
                raise
            answer = Json({"error": told(error)}, 400 if is_own(error) else 500)
            await answer(scope, receive, send)

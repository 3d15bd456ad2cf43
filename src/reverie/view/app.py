"""The application: the frame, one module per page, and the guard around them."""

import pathlib

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from reverie.errors import is_own
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
    frame = Route("/", lambda _: FileResponse(STATIC / "index.html"))
    return Starlette(
        routes=[frame, *routes, Mount("/static", StaticFiles(directory=STATIC))],
        middleware=[
            Middleware(Guard, token=token),
            Middleware(BaseHTTPMiddleware, dispatch=_told),
        ],
    )


async def _told(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Answers an error with its message, which the page shows; errors of others with their type."""
    try:
        return await call_next(request)
    except Exception as error:
        return Json({"error": told(error)}, 400 if is_own(error) else 500)

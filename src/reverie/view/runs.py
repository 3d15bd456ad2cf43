"""The page Runs: what the runs in the folder have reached."""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from reverie.view.folders import Folders


def routes(folders: Folders) -> list[BaseRoute]:
    """The routes of the page."""

    def listing(request: Request) -> JSONResponse:
        return JSONResponse({"root": str(folders.root), "runs": folders.names()})

    return [Route("/api/runs", listing)]

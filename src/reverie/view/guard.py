"""Who may talk to the server: this machine's browser, and on other addresses who has the token."""

import hmac
import ipaddress
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # Asked for again after an update of the package; what is as it was is not sent again.
    "cache-control": "no-cache",
    # Scripts, styles and connections of this server alone; media may be made in the page.
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Headers of every answer."""


def is_loopback(host: str) -> bool:
    """Whether a name or address is one of this machine, which no other can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Refuses requests of other sites' pages, and of other machines without the token.

    A page of another site may send requests to a server on this machine: under a name of its own
    that leads here (refused by the Host header), or to its address (refused by the Origin, and
    where that is not sent, as for pictures, by Sec-Fetch-Site). All hold for websockets too.

    Args:
        token: Who has it may come under any name; None if only names of this machine are served.
    """

    def __init__(self, app: ASGIApp, token: str | None = None):
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is allowed."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:

            async def secured(message: Message) -> None:
                if message["type"] == "http.response.start":
                    added = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                    message = {**message, "headers": [*message["headers"], *added]}
                await send(message)

            await self._app(scope, receive, secured)
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        """What is answered in place of the app; None if the request is allowed."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._token is None and not is_loopback(_parts(f"//{host}").hostname or ""):
            return PlainTextResponse(
                f"This server does not answer under the name {host[:100]!r}: open it as "
                "localhost, or start it with --host.",
                403,
            )
        origin = headers.get("origin")
        if (origin is not None and _parts(origin).netloc != host) or _foreign(scope, headers):
            return PlainTextResponse("Requests of other sites are refused.", 403)
        return None if self._token is None else self._without_token(scope, self._token)

    def _without_token(self, scope: Scope, token: str) -> Response | None:
        """Refuses who has no token, and puts that of the URL into a cookie."""
        connection = HTTPConnection(scope)
        name = f"reverie-{(scope.get('server') or ('', 0))[1]}"
        if _same(connection.cookies.get(name), token):
            return None
        if not _same(connection.query_params.get("token"), token):
            return PlainTextResponse(
                "Open the URL that `reverie view` printed, with its token.", 401
            )
        if scope["type"] == "websocket":
            return None
        # Without the token in the address bar: it stays out of the history and of screenshots.
        rest = [(k, v) for k, v in parse_qsl(scope["query_string"].decode()) if k != "token"]
        query = f"?{urlencode(rest)}" if rest else ""
        answer = RedirectResponse(f"/{scope['path'].lstrip('/')}{query}", 303, HEADERS)
        answer.set_cookie(name, token, httponly=True, samesite="strict")
        return answer


def _same(given: str | None, token: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), token.encode())


def _foreign(scope: Scope, headers: Headers) -> bool:
    """Whether a page of another site asks, for more than to be left for the first page of this."""
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    return scope["path"] != "/" or headers.get("sec-fetch-mode") != "navigate"


def _parts(url: str) -> SplitResult:
    """The parts of a URL; empty ones if it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")

"""The terminal interface in a browser: served by textual-serve, to those who know the token in the address."""

from __future__ import annotations

import secrets
import shlex
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psutil
from aiohttp import web
from textual_serve.server import Server

from flops.errors import AddressUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from ssl import SSLContext

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TOKEN_BYTES: Final = 24
SHUTDOWN_S: Final = 1.0
GRACE_S: Final = 3.0
EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104  nothing listens there unless somebody says so
REFUSAL: Final = "Open the whole address that 'flops tui --web' printed: without its token nothing is served.\n"
# The page itself would load a font from elsewhere, and tell whoever is asked for it, or is linked to, the token.
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; "
        "connect-src 'self' {websocket}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class WebInterface:
    """One address, at which every visitor gets an interface, a process of its own, for as long as the page is open."""

    def __init__(self, command: Sequence[str], *, host: str, port: int, tls: SSLContext | None = None) -> None:
        """Take the address; nothing is served yet.

        Raises:
            AddressUnavailableError: it cannot be had.
        """
        try:
            self._listener = socket.create_server((host, port), family=_family(host))
        except (OSError, OverflowError) as error:
            raise AddressUnavailableError(host, port, getattr(error, "strerror", None) or str(error)) from error
        self._tls, self._token = tls, secrets.token_urlsafe(TOKEN_BYTES)
        self._server = _Server("exec " + shlex.join(command), title="FLOps")
        name = socket.gethostname() if host in EVERYWHERE else host
        shown = f"[{name}]" if ":" in name else name
        scheme = "https" if tls else "http"
        self.url: Final = f"{scheme}://{shown}:{self._listener.getsockname()[1]}/{self._token}/"

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM; then no process of a visitor is left."""
        try:
            web.run_app(
                self._application(),
                sock=self._listener,
                ssl_context=self._tls,
                shutdown_timeout=SHUTDOWN_S,
                access_log=None,
                print=None,
            )
        finally:
            _end_children()

    async def _application(self) -> web.Application:
        application = web.Application(middlewares=[_with_headers])
        application.add_subapp(f"/{self._token}", await self._server.application())
        application.router.add_route("*", "/{anything:.*}", _refuse)
        return application


class _Server(Server):
    """textual-serve without its banner, at whatever address the browser has found it."""

    async def application(self) -> web.Application:
        return await self._make_app()

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing."""

    async def handle_index(self, request: web.Request) -> Any:  # noqa: ANN401  a decorated method of textual-serve
        """The page, whose links lead back through any tunnel."""
        self.public_url = f"{request.scheme}://{request.host}"
        return await super().handle_index(request)


@web.middleware
async def _with_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    if not response.prepared:
        websocket = f"{'wss' if request.secure else 'ws'}://{request.host}"
        response.headers.update({name: value.format(websocket=websocket) for name, value in HEADERS.items()})
    return response


async def _refuse(_: web.Request) -> web.Response:
    return web.Response(status=403, text=REFUSAL)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _end_children() -> None:
    """End what has not ended when its page was closed."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.terminate()
    _, left = psutil.wait_procs(children, timeout=GRACE_S)
    for child in left:
        with suppress(psutil.NoSuchProcess):
            child.kill()

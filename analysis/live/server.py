"""Serves a page to browsers on this machine, and tells them when there is a newer one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web
from plotly.offline import get_plotlyjs

from analysis.live.place import HOST
from analysis.live.source import Source

_NAMES = ("127.0.0.1", "localhost")
_ALIVE = 15.0  # seconds between two signs of life to a browser that waits
_TYPES = {".html": "text/html", ".csv": "text/csv", ".js": "text/javascript"}
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_compact = functools.partial(json.dumps, separators=(",", ":"))
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_SOURCE = web.AppKey("source", Source)


def application(source: Source) -> web.Application:
    """The page at `/`, the files it links to, the library it draws with, `/events`, which never ends, and `/changes`.

    No address that this machine does not call itself by is answered: a page from elsewhere whose name was made to point here
    (DNS rebinding) asks under that name. Requests that a browser says come from another site are refused too. There is
    nothing to change here: all is GET.
    """
    app = web.Application(middlewares=[_own_only])
    app[_SOURCE] = source
    app.router.add_get("/", _file)
    app.router.add_get("/events", _events)
    app.router.add_get("/changes", _changes)
    app.router.add_get("/plotly.js", _plotly)
    app.router.add_get("/{name:[a-z]+\\.csv}", _file)
    app.cleanup_ctx.append(_following)
    return app


async def serve(source: Source, listening: socket.socket, ended: asyncio.Event) -> None:
    """Answers at a socket that listens already, until `ended` is set."""
    runner = web.AppRunner(application(source), shutdown_timeout=0.5, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        await ended.wait()
    finally:
        await runner.cleanup()


@web.middleware
async def _own_only(request: web.Request, handler: _Handler) -> web.StreamResponse:
    name = request.host.rpartition(":")[0] or request.host
    if name not in _NAMES:
        raise web.HTTPForbidden(text=f"this page is at http://{HOST}/ with its port, and answers to no other name\n")
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise web.HTTPForbidden(text="asked for by another site\n")
    try:
        answer = await handler(request)
    except web.HTTPException as error:
        error.headers.update(_HEADERS)
        raise
    if not answer.prepared:
        answer.headers.update(_HEADERS)
    return answer


async def _file(request: web.Request) -> web.Response:
    name = request.match_info.get("name", "index.html")
    text = request.app[_SOURCE].files.get(name)
    if text is None:
        raise web.HTTPNotFound(text=f"there is no {name} yet\n")
    answer = web.Response(text=text, content_type=_TYPES[Path(name).suffix])
    answer.headers["X-Version"] = str(request.app[_SOURCE].version)
    return answer


async def _changes(request: web.Request) -> web.Response:
    """What is new since the state that a page shows, `?since=NAME`."""
    answer = web.json_response(request.app[_SOURCE].since(request.query.get("since", "")), dumps=_compact)
    answer.enable_compression()  # over an SSH tunnel this is what counts
    return answer


async def _plotly(request: web.Request) -> web.Response:
    return web.Response(text=get_plotlyjs(), content_type=_TYPES[".js"])


async def _events(request: web.Request) -> web.StreamResponse:
    """Server-sent events: the version, again whenever there is another one. A browser that leaves is nobody's loss."""
    source = request.app[_SOURCE]
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", **_HEADERS})
    await answer.prepare(request)
    version = -1
    with contextlib.suppress(ConnectionError):
        while True:
            try:
                version = await asyncio.wait_for(source.newer(version), _ALIVE)
                await answer.write(f"data: {version}\n\n".encode())
            except TimeoutError:
                await answer.write(b": still here\n\n")
    return answer


async def _following(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(app[_SOURCE].follow())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

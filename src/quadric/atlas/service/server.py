"""``quadric atlas serve``: an atlas folder and its page at 127.0.0.1, and its live features.

    serve(Path("atlas"), port=7677)

The folder's files and the page are given as they are (``static``), whoever asks is checked first
(``requests``), and with a run behind the atlas its autoencoder and language model answer what a
reader types (``live``).
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import webbrowser
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from quadric.atlas.bundle import bundle_folder
from quadric.atlas.service.live import routes
from quadric.atlas.service.requests import Guard, error
from quadric.atlas.service.static import StaticFiles
from quadric.errors import QuadricError

if TYPE_CHECKING:
    from rich.console import Console

    from quadric.atlas.service.session import Session

HOST = "127.0.0.1"
PORT = 7677
SECONDS_TO_END = 2
"""How long answers under way are waited for when the server is stopped."""


def app(folder: Path, session: Session | None = None, *, port: int = PORT) -> ASGIApp:
    """The application that answers for one atlas.

    Args:
        folder: the atlas.
        session: what answers its live questions; without one there are none.
        port: where it is served, which requests have to name.

    Raises:
        QuadricError: the folder is no atlas.
    """
    files = StaticFiles(folder, bundle_folder("page"))
    return Guard(
        Starlette(
            routes=[*routes(session), Route("/{path:path}", files, methods=["GET"])],
            exception_handlers={HTTPException: _refused, Exception: _failed},
        ),
        port,
    )


def serve(
    folder: Path,
    session: Session | None = None,
    *,
    port: int = PORT,
    open_browser: bool = True,
    console: Console,
) -> None:
    """Serve an atlas until it is interrupted.

    Args:
        folder: the atlas.
        session: what answers its live questions.
        port: of 127.0.0.1; 0 for any that is free.
        open_browser: whether to open the page.
        console: where the address is printed.

    Raises:
        QuadricError: the folder is no atlas, or the port is taken.
    """
    listener = listen(port)
    port = listener.getsockname()[1]
    running = uvicorn.Server(configuration(app(folder, session, port=port)))
    address = f"http://{HOST}:{port}/"
    console.print(f"{folder} is at {address} (Ctrl-C ends)", soft_wrap=True, highlight=False)
    if open_browser:
        # The port is bound already, so that the browser waits for us rather than being refused.
        webbrowser.open(address)
    try:
        running.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()


def configuration(served: ASGIApp) -> uvicorn.Config:
    """How uvicorn runs an application: quietly, and over HTTP alone."""
    return uvicorn.Config(
        served,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        timeout_graceful_shutdown=SECONDS_TO_END,
    )


def listen(port: int) -> socket.socket:
    """A socket at a port of this machine, or at a free one for 0, that others can see at once.

    Raises:
        QuadricError: the port is taken or not allowed.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":
        # Elsewhere it would let two servers share the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as wrong:
        listener.close()
        if wrong.errno == errno.EADDRINUSE:
            raise QuadricError(
                f"port {port} is in use: choose another with --port, or --port 0 for any"
            ) from wrong
        raise QuadricError(f"port {port} cannot be used: {wrong.strerror}") from wrong
    return listener


async def _refused(request: Request, wrong: Exception) -> Response:
    assert isinstance(wrong, HTTPException)
    said = wrong.detail
    if wrong.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        said = f"{request.method} is not answered at {request.url.path}"
    elif said == HTTPStatus(wrong.status_code).phrase:
        said = f"there is no {request.url.path!r} in this atlas"
    return error(wrong.status_code, said, dict(wrong.headers or {}))


async def _failed(_: Request, __: Exception) -> Response:
    return error(500, "the server failed on this request; its terminal says why")

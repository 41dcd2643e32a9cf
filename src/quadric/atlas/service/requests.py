"""Who may ask the server what: hosts, origins, sizes, and the headers of every answer.

    app = Guard(starlette_app, port=7677)
    values = await read_json(request)

A page of another site can make a browser send requests to 127.0.0.1. It cannot choose the Host
header without its name having been pointed here first, and its own name is in Origin, so both are
compared with ours before anything else is looked at.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 1 << 16
"""Bytes of a request."""
NAMES = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Of every answer, errors among them."""


class Guard:
    """An ASGI application that lets through what comes from our own page, and marks all answers."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        """Stand before ``app``, which is served at ``port`` of this machine."""
        self.app, self.port = app, port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; connections of another kind are closed."""
        if scope["type"] != "http":
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer: ASGIApp = self._refusal(Request(scope)) or self.app
        await answer(scope, receive, marked)

    def _refusal(self, request: Request) -> Response | None:
        """Why a request is not answered, if it is not."""
        hosts = [f"{name}:{self.port}" for name in NAMES]
        host = request.headers.get("host", "")
        if host.lower() not in hosts:
            return error(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"the host {host!r} is not this server: open http://{hosts[0]}",
            )
        if request.method == "POST":
            if not _is_own(request.headers, f"http://{host}"):
                return error(
                    HTTPStatus.FORBIDDEN,
                    f"a request from {request.headers.get('origin', 'an unknown origin')!r} is "
                    f"refused: only the page at http://{host} may ask",
                )
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                return error(
                    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                    f"a request of type {kind!r} is not understood: expected application/json",
                )
        return None


def _is_own(headers: Headers, origin: str) -> bool:
    """Whether a browser says that our own page asks; silence is not enough."""
    said = headers.get("origin")
    if said is None:
        return headers.get("sec-fetch-site") == "same-origin"
    return said.lower() == origin.lower()


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object that a request carries.

    Raises:
        HTTPException: it is larger than ``LARGEST_BODY`` (413), not JSON, or not an object (400).
    """
    too_large = HTTPException(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {LARGEST_BODY} bytes"
    )
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > LARGEST_BODY:
        raise too_large
    body = bytearray()
    # A chunked body declares no length, so that it is counted as it comes.
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            raise too_large
    try:
        values = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as wrong:
        raise HTTPException(
            HTTPStatus.BAD_REQUEST, f"the request is not JSON: {_reason(wrong)}"
        ) from wrong
    if not isinstance(values, dict):
        raise HTTPException(
            HTTPStatus.BAD_REQUEST,
            f"the request is a JSON {type(values).__name__}, expected an object",
        )
    return values


def error(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """An answer that says what went wrong."""
    return JSONResponse({"error": sentence}, int(status), headers)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that JSON has")


def _reason(wrong: Exception) -> str:
    if isinstance(wrong, RecursionError):
        return "it is nested too deeply"
    if isinstance(wrong, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(wrong)

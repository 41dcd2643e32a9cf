"""The questions that a page may ask while it is served: what they are, and who answers.

    GET  /api/capabilities   which of the others are answered, and the language model's name
    POST /api/encode         a sentence, token by token, on one form's axes
    POST /api/compose        a form put together from others, with its points
    POST /api/steer          what the language model says next when one token is moved

One question is answered at a time, in a thread beside the server, so that files are still given
while a language model works; one whose browser has gone is not answered at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from quadric.atlas.service.questions import Compose, Encode, Steer
from quadric.atlas.service.requests import read_json
from quadric.errors import QuadricError

if TYPE_CHECKING:
    from quadric.atlas.service.session import Session

NOTHING = {"encode": False, "compose": False, "steer": False, "model": None}
"""What can be asked where there is no run."""
CLIENT_GONE = 499


def routes(session: Session | None) -> list[Route]:
    """The live routes of one server."""
    one_at_a_time = asyncio.Lock()

    async def capabilities(_: Request) -> Response:
        return JSONResponse(NOTHING if session is None else session.capabilities())

    def route(name: str, read: Callable[[dict[str, Any]], Callable[[Session], Any]]) -> Route:
        async def ask(request: Request) -> Response:
            values = await read_json(request)
            if session is None or not session.capabilities()[name]:
                raise HTTPException(
                    HTTPStatus.NOT_FOUND, f"this server has no run behind it that could {name}"
                )
            try:
                question = read(values)
                async with one_at_a_time:
                    if await request.is_disconnected():
                        return Response(status_code=CLIENT_GONE)
                    return JSONResponse(await run_in_threadpool(question, session))
            except QuadricError as wrong:
                raise HTTPException(HTTPStatus.BAD_REQUEST, str(wrong)) from wrong

        return Route(f"/api/{name}", ask, methods=["POST"])

    return [
        Route("/api/capabilities", capabilities, methods=["GET"]),
        route("encode", lambda values: Encode.read(values).ask),
        route("compose", lambda values: Compose.read(values).ask),
        route("steer", lambda values: Steer.read(values).ask),
    ]

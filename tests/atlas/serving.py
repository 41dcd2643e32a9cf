"""A real server on a free port, in a thread of this process, and raw ways to speak to it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import uvicorn

from quadric.atlas.service import server
from quadric.atlas.service.session import Session


@dataclass(frozen=True)
class Reply:
    """An answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Requests to 127.0.0.1:port, exactly as they are given."""

    port: int

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: Any = None,
    ) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, names, answer.read())
        finally:
            connection.close()

    def post(self, path: str, value: Any, **headers: str) -> Reply:
        """JSON from the page itself, unless headers say otherwise; an empty one is left out."""
        sent = {"Origin": f"http://{self.host}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): text for name, text in headers.items()}
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        kept = {name: text for name, text in sent.items() if text}
        return self.ask(path, method="POST", headers=kept, body=body)

    def raw(self, request: bytes) -> bytes:
        """Whatever comes back on the wire until the server closes or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as wire:
            wire.sendall(request)
            wire.settimeout(5)
            answer = b""
            try:
                while piece := wire.recv(1 << 16):
                    answer += piece
            except (TimeoutError, ConnectionResetError):
                pass
            return answer


@contextmanager
def serving(folder: Path, session: Session | None = None) -> Iterator[Client]:
    """A server of the atlas in ``folder``."""
    listener = server.listen(0)
    port = listener.getsockname()[1]
    running = uvicorn.Server(server.configuration(server.app(folder, session, port=port)))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Client(port)
    finally:
        running.should_exit = True
        thread.join()
        listener.close()

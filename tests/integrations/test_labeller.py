"""The labeller against a real server on this machine that speaks chat completions."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from quadric.errors import QuadricError
from quadric.integrations import Labeller
from quadric.integrations.labeller import LONGEST, plain
from quadric.runs.latents import Latent
from quadric.runs.responses import TopToken

LATENT = Latent(
    id=7, importance=2.0, effective_rank=1.5, top3_share=1.0, positive=1, negative=1,
    eigenvalues=[1.0, -0.5], top=[],
    most_positive=[TopToken(" Monday", 1.25, "see you\non", ', "dear"')],
    most_negative=[TopToken(" never", -0.5, "", "")],
    random=[TopToken(" the", 0.01, "of", " house")],
)  # fmt: skip


class Server:
    """What was asked, and what is answered."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.status = 200
        self.answer: object = "days of the week"
        self.raw: bytes | None = None


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known.requests.append(
                (self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            )
            message = {"role": "assistant", "content": known.answer}
            reply = {
                "id": "1", "object": "chat.completion", "created": 1, "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }  # fmt: skip
            if known.status != 200:
                reply = {"error": {"message": "no such model"}}
            data = json.dumps(reply).encode() if known.raw is None else known.raw
            self.send_response(known.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known = Server(f"http://127.0.0.1:{listening.server_address[1]}/v1")
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield known
    listening.shutdown()
    listening.server_close()
    thread.join()


def test_a_label_is_asked_for_with_the_contexts(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret-key")
    assert Labeller(server.url, "some-model", key_variable="MY_KEY")(LATENT) == "days of the week"
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions" and headers["authorization"] == "Bearer secret-key"
    assert body["model"] == "some-model" and body["max_tokens"] <= 100
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    prompt = body["messages"][1]["content"]
    assert prompt.splitlines() == [
        "Strong excerpts:",
        '"see you\\non<< Monday>>, \\"dear\\""',
        "",
        "Strong excerpts of the opposite sign:",
        '"<< never>>"',
        "",
        "Ordinary excerpts:",
        '"of<< the>> house"',
    ]


def test_the_hub_token_never_leaves(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_private")
    monkeypatch.delenv("QUADRIC_LABELLER_KEY", raising=False)
    Labeller(server.url, "some-model")(LATENT)
    ((_, headers, _),) = server.requests
    assert "hf_private" not in json.dumps(headers)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("  \n**Days of the week.**\n", "Days of the week"),
        ('"days"\x00\x1b[31m\u202e of', 'days"[31m of'),
        ("word " * 1000, ("word " * 16).strip()),
        ("first\nsecond", "first second"),
    ],
)
def test_an_answer_becomes_one_short_line(server: Server, answer: str, label: str) -> None:
    server.answer = answer
    found = Labeller(server.url, "some-model")(LATENT)
    assert found == label == plain(answer) and len(found) <= LONGEST


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": 401}, ("status 401", "some-model", "$QUADRIC_LABELLER_KEY")),
        ({"status": 404}, ("status 404",)),
        ({"status": 500}, ("status 500",)),
        ({"raw": b"<html>"}, ("gave no label",)),
        ({"raw": b"{}"}, ("gave no label",)),
        ({"raw": b'{"choices": []}'}, ("gave no label",)),
        ({"answer": None}, ("without any text",)),
        ({"answer": " \n\x00"}, ("without any text",)),
    ],
)
def test_a_server_that_does_not_answer_properly(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, object],
    words: tuple[str, ...],
) -> None:
    monkeypatch.setenv("QUADRIC_LABELLER_KEY", "secret-key")
    vars(server).update(change)
    with pytest.raises(QuadricError) as caught:
        Labeller(server.url, "some-model")(LATENT)
    message = str(caught.value)
    assert server.url in message and "\n" not in message and "secret-key" not in message
    for word in words:
        assert word in message


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(QuadricError, match=rf"127.0.0.1:{port}/v1 gave no label"):
        Labeller(f"http://127.0.0.1:{port}/v1", "m")(LATENT)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Labeller("localhost:8000", "m"), "address is 'localhost:8000'"),
        (lambda: Labeller("http://localhost", " "), "no name"),
        (
            lambda: Labeller("http://localhost", "m")(Latent(0, 1.0, 1.0, 1.0, 1, 0, [1.0], [])),
            "no contexts",
        ),
    ],
)
def test_what_is_refused_without_a_connection(make: Callable[[], object], words: str) -> None:
    with pytest.raises(QuadricError, match=words):
        make()

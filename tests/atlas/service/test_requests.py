"""Who may ask the server what, and the headers of every answer."""

from __future__ import annotations

import json

import pytest

from quadric.atlas.service.requests import HEADERS, LARGEST_BODY
from tests.atlas.serving import Client


@pytest.fixture(scope="module")
def client(plain: Client) -> Client:
    """The server without a run, in place of the one with."""
    return plain


def test_every_answer_has_the_same_strict_headers(client: Client) -> None:
    policy = dict(part.split(" ", 1) for part in HEADERS["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'self'", "script-src": "'self'", "style-src": "'self'",
        "img-src": "'self' data: blob:", "connect-src": "'self'", "base-uri": "'none'",
        "form-action": "'none'", "frame-ancestors": "'none'",
    }  # fmt: skip
    tag = client.ask("/forms.arrow").headers["etag"]
    foreign = {"Origin": "http://evil.example"}
    answers = [
        client.ask("/"), client.ask("/forms.arrow"), client.ask("/nothing"),
        client.ask("/forms.arrow", headers={"Range": "bytes=0-3"}),
        client.ask("/forms.arrow", headers={"Range": "bytes=99999999-"}),
        client.ask("/forms.arrow", headers={"If-None-Match": tag}),
        client.ask("/", headers={"Host": "evil.example"}), client.ask("/", method="PUT"),
        client.post("/api/encode", {}), client.post("/api/encode", {}, **foreign),
        client.ask("/api/capabilities"),
    ]  # fmt: skip
    assert [answer.status for answer in answers] == [
        200, 200, 404, 206, 416, 304, 421, 405, 404, 403, 200
    ]  # fmt: skip
    for answer in answers:
        for name, value in {
            **HEADERS, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
        }.items():  # fmt: skip
            assert answer.headers[name] == value
        assert "server" not in answer.headers


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil:{port}",
     "evil@127.0.0.1:{port}", "127.0.0.1:{port}.evil", "0.0.0.0:{port}", "[::2]:{port}", "",
     "127.0.0.1:{port}/", " ", "localhost"],
)  # fmt: skip
def test_other_hosts_are_turned_away(client: Client, host: str) -> None:
    for path in ("/", "/atlas.json", "/api/capabilities", "/../secret"):
        answer = client.ask(path, headers={"Host": host.format(port=client.port)})
        assert answer.status == 421, (host, path)
        assert "open http://127.0.0.1" in answer.json["error"]


def test_a_request_without_a_host_is_turned_away(client: Client) -> None:
    assert b" 421 " in client.raw(b"GET /atlas.json HTTP/1.0\r\n\r\n").splitlines()[0]
    two = f"GET / HTTP/1.1\r\nHost: {client.host}\r\nHost: evil\r\nConnection: close\r\n\r\n"
    assert client.raw(two.encode()).split(b" ")[1] in (b"400", b"421")


def test_our_own_hosts_are_answered(client: Client) -> None:
    for host in ("127.0.0.1", "localhost", "LocalHost", "[::1]"):
        assert client.ask("/", headers={"Host": f"{host}:{client.port}"}).status == 200


def test_only_our_own_page_may_ask(client: Client) -> None:
    """404 is the answer of a server without a run; 403 comes before anything is looked at."""
    own = f"http://{client.host}"
    for origin in (
        "http://evil.example", "null", f"https://{client.host}", f"{own}.evil", f"{own}/", "x",
        f"http://localhost:{client.port}", "http://127.0.0.1", f"http://evil@{client.host}",
    ):  # fmt: skip
        answer = client.post("/api/encode", {"text": "a", "id": 0}, Origin=origin)
        assert answer.status == 403 and origin in answer.json["error"]
    for site, status in (("same-origin", 404), ("same-site", 403), ("cross-site", 403),
                         ("none", 403), ("", 403)):  # fmt: skip
        answer = client.post("/api/encode", {"text": "a", "id": 0}, Origin="", Sec_Fetch_Site=site)
        assert answer.status == status, site
    # What a browser says of the site does not excuse a foreign origin.
    both = {"Origin": "http://evil.example", "Sec_Fetch_Site": "same-origin"}
    assert client.post("/api/encode", {}, **both).status == 403
    assert client.post("/api/encode", {"text": "a", "id": 0}).status == 404
    kinds = ("text/plain", "application/x-www-form-urlencoded", "")
    for kind in kinds:
        assert client.post("/api/encode", {}, Content_Type=kind).status == 415


def test_bodies_are_bounded_however_they_come(client: Client) -> None:
    padding = LARGEST_BODY - len(json.dumps({"text": "a", "id": 0, "axes_of": ""}))
    fits = {"text": "a", "id": 0, "axes_of": "x" * padding}
    assert len(json.dumps(fits)) == LARGEST_BODY
    assert client.post("/api/encode", fits).status == 404
    over = client.post("/api/encode", {**fits, "id": 10})
    assert over.status == 413 and str(LARGEST_BODY) in over.json["error"]
    headers = (
        f"POST /api/encode HTTP/1.1\r\nHost: {client.host}\r\nOrigin: http://{client.host}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\n"
    )
    # Promised and never sent: the answer does not wait for it.
    promised = client.raw(f"{headers}Content-Length: 999999999999\r\n\r\n".encode())
    assert promised.startswith(b"HTTP/1.1 413 ")
    piece = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    chunked = f"{headers}Transfer-Encoding: chunked\r\n\r\n".encode()
    answer = client.raw(chunked + 5 * piece + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"error"' in answer
    small = client.raw(chunked + b"2\r\n{}\r\n0\r\n\r\n")
    assert small.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"), (b"{", "not JSON"), (b"\xff", "not UTF-8"), (b"[1]", "a JSON list"),
        (b"3", "a JSON int"), (b"null", "a JSON NoneType"), (b'{"a": NaN}', "NaN"),
        (b"[" * 60_000, "nested too deeply"), (b'{"a": Infinity}', "Infinity"),
    ],
)  # fmt: skip
def test_what_is_not_a_json_object_is_said_so(client: Client, body: bytes, said: str) -> None:
    answer = client.post("/api/compose", body)
    assert answer.status == 400 and said in answer.json["error"]

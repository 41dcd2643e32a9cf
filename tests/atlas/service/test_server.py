"""What the server gives, to whom, and with which headers."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quadric.atlas.bundle import bundle_folder
from quadric.atlas.folder.synthetic import write_synthetic
from quadric.atlas.service import static
from quadric.atlas.service.requests import HEADERS, LARGEST_BODY
from quadric.errors import QuadricError
from tests.atlas.serving import Client, serving

SECRET = b"not yours"
PAGE = b"<!doctype html><title>the page</title>" + b" " * 600


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas, a page beside it, and things beside and inside both that nobody listed."""
    root = tmp_path_factory.mktemp("served")
    folder = root / "atlas"
    write_synthetic(folder, forms=8, points=16)
    page = root / "page"
    (page / "assets/inner").mkdir(parents=True)
    (page / "index.html").write_bytes(PAGE)
    (page / "assets/index-AbCd_-12.js").write_text("1;" * 500)
    (page / "assets/plain.css").write_text("a{}")
    (root / "run").mkdir()
    (root / "run/sae_weights.safetensors").write_bytes(SECRET)
    (root / "secret").write_bytes(SECRET)
    (folder / "notes.txt").write_bytes(SECRET)
    (page / "assets/link-AbCd_-12.js").symlink_to(root / "secret")
    (page / "assets/inner/deep.js").write_bytes(SECRET)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "quadric.atlas.service.server.bundle_folder", lambda _: folder.parent / "page"
        )
        with serving(folder) as client:
            yield client


def listed(folder: Path) -> list[str]:
    import pyarrow

    with pyarrow.OSFile(str(folder / "files.arrow")) as file:
        return pyarrow.ipc.open_file(file).read_all()["path"].to_pylist()


def test_every_listed_file_and_the_page_are_given(client: Client, folder: Path) -> None:
    names = listed(folder)
    assert "forms.arrow" in names and "pages/00000.arrow" in names
    for name in {*names, "atlas.json", "files.arrow"}:
        answer = client.ask(f"/{name}")
        assert answer.status == 200, name
        assert answer.body == (folder / name).read_bytes()
        assert answer.headers["cache-control"] == "no-cache"
        kind = "application/json" if name == "atlas.json" else static.TYPES[".arrow"]
        assert answer.headers["content-type"] == kind
    assert client.ask("/atlas.json").headers["x-quadric-live"] == "1"
    for path in ("/", "/index.html", "/?theme=dark"):
        answer = client.ask(path)
        assert answer.body == PAGE and answer.headers["content-type"].startswith("text/html")
    script = client.ask("/assets/index-AbCd_-12.js")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert script.headers["content-type"].startswith("text/javascript")
    assert client.ask("/assets/plain.css").headers["cache-control"] == "no-cache"


def test_the_page_is_the_installed_one_whatever_the_folder_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_synthetic(tmp_path / "atlas", forms=2, points=8)
    (tmp_path / "atlas/assets").mkdir()
    (tmp_path / "atlas/index.html").write_text("brought along")
    (tmp_path / "atlas/assets/b-12345678.js").write_text("brought along")
    bundle = tmp_path / "page"
    (bundle / "assets").mkdir(parents=True)
    (bundle / "index.html").write_text("installed")
    (bundle / "assets/a-12345678.js").write_text("script")
    (bundle / "atlas.json").write_text("not this one")
    monkeypatch.setattr("quadric.atlas.service.server.bundle_folder", lambda _: bundle)
    with serving(tmp_path / "atlas") as client:
        assert client.ask("/").body == b"installed"
        assert client.ask("/assets/a-12345678.js").body == b"script"
        assert client.ask("/assets/b-12345678.js").status == 404
        assert client.ask("/atlas.json").json["format"] == "quadric-atlas"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret", "/..%2fsecret", "/%2e%2e/secret", "/%2e%2e%2fsecret", "/%252e%252e/secret",
        "/..\\secret", "/..%5csecret", "/pages/../../secret", "/./atlas.json",
        "/pages//00000.arrow", "/atlas.json%0a", "//atlas.json", "/assets/../../secret",
        "/assets/..%2f..%2fsecret", "/assets/%2e%2e",
        "/atlas.json%00", "/atlas.json%00.txt", "/%00", "/%0a", "/atlas.json/", "/pages", "/pages/",
        "/assets", "/assets/", "/assets/inner/deep.js", "/assets/link-AbCd_-12.js", "/notes.txt",
        "/../run/sae_weights.safetensors", "/run/sae_weights.safetensors", "/etc/passwd",
        "//etc/passwd", "/%2fetc/passwd", "/C:/secret", "/file:///etc/passwd", "/ATLAS.JSON",
        "/atlas.json::$DATA", "/api/", "/api/nothing", "/%ff%fe",
    ],
)  # fmt: skip
def test_nothing_else_is_given(client: Client, path: str) -> None:
    answer = client.raw(
        f"GET {path} HTTP/1.1\r\nHost: {client.host}\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 404 "), (path, answer[:200])
    assert SECRET not in answer and b"root:" not in answer
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert set(body) == {"error"} and "Traceback" not in body["error"]


def test_the_whole_address_in_the_request_line_leads_nowhere(client: Client) -> None:
    answer = client.raw(
        f"GET http://evil.example/atlas.json HTTP/1.1\r\nHost: {client.host}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_listed_names_cannot_lead_out_either(tmp_path: Path) -> None:
    """An atlas that somebody else wrote lists what it likes."""
    import pyarrow

    from quadric.atlas.contract import files_schema

    (tmp_path / "secret").write_bytes(SECRET)
    folder = tmp_path / "atlas"
    write_synthetic(folder, forms=2, points=8)
    (folder / "inside").write_text("inside")
    (folder / "out.arrow").symlink_to(tmp_path / "secret")
    (folder / "pages2").symlink_to(tmp_path)
    (folder / "in.arrow").symlink_to(folder / "inside")
    names = ["../secret", str(tmp_path / "secret"), "out.arrow", "pages2/secret", "in.arrow",
             "pages2", "inside/..", "./inside", "", ".", "a\\b", "x\0y"]  # fmt: skip
    columns = {"path": names, "bytes": [0] * len(names), "sha256": [""] * len(names)}
    table = pyarrow.table(columns, schema=files_schema())
    with (
        pyarrow.OSFile(str(folder / "files.arrow"), "wb") as file,
        pyarrow.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)
    (tmp_path / "bundle").mkdir()
    files = static.StaticFiles(folder, tmp_path / "bundle")
    found = {name: files.find(name) for name in names}
    assert {name for name, path in found.items() if path} == {"in.arrow"}
    assert found["in.arrow"] == folder / "inside"


def test_a_newer_atlas_in_the_same_place_is_served(tmp_path: Path) -> None:
    folder = tmp_path / "atlas"
    write_synthetic(folder, forms=2, points=8)
    (tmp_path / "bundle").mkdir()
    files = static.StaticFiles(folder, tmp_path / "bundle")
    assert files.find("pairs/00000.arrow") is None
    write_synthetic(folder, forms=2, points=8, comparison=True)
    assert files.find("pairs/00000.arrow") == folder / "pairs/00000.arrow"
    (folder / "files.arrow").write_bytes(b"half")
    assert files.find("pairs/00000.arrow") == folder / "pairs/00000.arrow"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST"])
def test_files_are_only_read(client: Client, method: str) -> None:
    headers = {"Origin": f"http://{client.host}", "Content-Type": "application/json"}
    answer = client.ask("/atlas.json", method=method, headers=headers)
    assert answer.status == 405 and set(answer.json) == {"error"}
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_a_head_has_the_headers_alone(client: Client, folder: Path) -> None:
    answer = client.ask("/forms.arrow", method="HEAD")
    assert answer.status == 200 and answer.body == b""
    assert int(answer.headers["content-length"]) == (folder / "forms.arrow").stat().st_size


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


def test_ranges_are_of_the_bytes_on_disk(client: Client, folder: Path) -> None:
    for file in (folder / "pages/00000.arrow", folder.parent / "page/index.html"):
        name, whole = file.relative_to(file.parents[1]).as_posix(), file.read_bytes()
        name = name.removeprefix("page/")
        for part, expected in (("0-9", whole[:10]), ("7-", whole[7:]), ("-5", whole[-5:]),
                               ("3-9999999", whole[3:])):  # fmt: skip
            headers = {"Range": f"bytes={part}", "Accept-Encoding": "gzip"}
            answer = client.ask(f"/{name}", headers=headers)
            assert answer.status == 206 and answer.body == expected
            assert "content-encoding" not in answer.headers
            first = whole.index(expected) if part != "-5" else len(whole) - 5
            last = first + len(expected) - 1
            assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
    size = (folder / "forms.arrow").stat().st_size
    for part, status in ((f"bytes={size}-", 416), ("bytes=5-2", 400), ("lines=1-2", 400),
                         ("bytes=0-1,4-5", 400), ("bytes=-0", 400), ("bytes=-", 400)):  # fmt: skip
        answer = client.ask("/forms.arrow", headers={"Range": part})
        assert answer.status == status and part in answer.json["error"]


def test_text_is_compressed_and_tables_are_not(client: Client) -> None:
    accepts = {"Accept-Encoding": "gzip"}
    page = client.ask("/", headers=accepts)
    assert page.headers["content-encoding"] == "gzip" and gzip.decompress(page.body) == PAGE
    assert "accept-encoding" in page.headers["vary"].lower()
    assert "content-encoding" not in client.ask("/pages/00000.arrow", headers=accepts).headers


def test_what_did_not_change_is_not_sent_again(client: Client, folder: Path) -> None:
    tag = client.ask("/atlas.json").headers["etag"]
    again = client.ask("/atlas.json", headers={"If-None-Match": f'"x", {tag}'})
    assert again.status == 304 and again.body == b""
    assert again.headers["x-quadric-live"] == "1"
    file = folder / "atlas.json"
    file.write_text(file.read_text() + " ")
    assert client.ask("/atlas.json", headers={"If-None-Match": tag}).status == 200


def test_two_browsers_at_once(client: Client, folder: Path) -> None:
    names = listed(folder) * 12

    def look(name: str) -> bool:
        return client.ask(f"/{name}").body == (folder / name).read_bytes()

    with ThreadPoolExecutor(8) as browsers:
        assert all(browsers.map(look, names))


def test_without_a_run_nothing_live_is_offered(client: Client) -> None:
    answer = client.ask("/api/capabilities")
    assert answer.json == {"encode": False, "compose": False, "steer": False, "model": None}
    for name in ("encode", "compose", "steer"):
        refused = client.post(f"/api/{name}", {})
        assert refused.status == 404 and "no run" in refused.json["error"]


def test_a_failure_of_ours_is_one_sentence_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret of the machine")

    monkeypatch.setattr(static.StaticFiles, "find", broken)
    with serving(folder) as client:
        answer = client.ask("/atlas.json")
    assert answer.status == 500 and "terminal" in answer.json["error"]
    assert b"secret" not in answer.body
    assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]
    assert "a secret of the machine" in capfd.readouterr().err


def test_what_is_no_atlas_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(QuadricError, match="is not an atlas"):
        static.StaticFiles(tmp_path, tmp_path)
    (tmp_path / "atlas.json").write_text("{}")
    with pytest.raises(QuadricError, match=r"files\.arrow"):
        static.StaticFiles(tmp_path, tmp_path)
    (tmp_path / "files.arrow").write_bytes(b"ARROW1\0\0 and nothing more")
    with pytest.raises(QuadricError, match="not a list of files"):
        static.StaticFiles(tmp_path, tmp_path)


def test_the_command_serves_until_it_is_interrupted(folder: Path) -> None:
    command = [sys.executable, "-m", "quadric", "atlas", "serve", str(folder), "--no-open"]
    environment = {**os.environ, "COLUMNS": "40"}
    process = subprocess.Popen(
        [*command, "--port", "0"], stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    said = ""
    while "http://" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    port = int(said.partition("127.0.0.1:")[2].partition("/")[0])
    client = Client(port)
    assert client.ask("/").body == (bundle_folder("page") / "index.html").read_bytes()
    assert client.ask("/../secret").status == 404
    assert client.ask("/", headers={"Host": "evil.example"}).status == 421
    assert client.post("/api/steer", {}, Origin="http://evil.example").status == 403
    taken = subprocess.run([*command, "--port", str(port)], capture_output=True, text=True)
    assert taken.returncode == 1
    assert taken.stderr.splitlines()[-1].startswith(f"quadric: port {port} is in use")
    # A connection that stays open does not keep the server.
    with socket.create_connection(("127.0.0.1", port)):
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
    assert process.returncode == 0 and "Traceback" not in rest and rest.strip() == ""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))

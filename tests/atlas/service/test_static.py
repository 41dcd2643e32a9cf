"""Which files the server gives, which it never does, and how they are sent."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from quadric.atlas.folder.synthetic import write_synthetic
from quadric.atlas.service import static
from quadric.errors import QuadricError
from tests.atlas.service.conftest import PAGE, SECRET, listed
from tests.atlas.serving import Client


@pytest.fixture(scope="module")
def client(plain: Client) -> Client:
    """The server without a run, in place of the one with."""
    return plain


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


def test_a_head_has_the_headers_alone(client: Client, folder: Path) -> None:
    answer = client.ask("/forms.arrow", method="HEAD")
    assert answer.status == 200 and answer.body == b""
    assert int(answer.headers["content-length"]) == (folder / "forms.arrow").stat().st_size


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


def test_what_is_no_atlas_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(QuadricError, match="is not an atlas"):
        static.StaticFiles(tmp_path, tmp_path)
    (tmp_path / "atlas.json").write_text("{}")
    with pytest.raises(QuadricError, match=r"files\.arrow"):
        static.StaticFiles(tmp_path, tmp_path)
    (tmp_path / "files.arrow").write_bytes(b"ARROW1\0\0 and nothing more")
    with pytest.raises(QuadricError, match="not a list of files"):
        static.StaticFiles(tmp_path, tmp_path)

"""The server as a whole: its page, its methods, its failures, and the command that runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quadric.atlas.bundle import bundle_folder
from quadric.atlas.folder.synthetic import write_synthetic
from quadric.atlas.service import static
from quadric.atlas.service.requests import HEADERS
from tests.atlas.service.conftest import listed
from tests.atlas.serving import Client, serving


@pytest.fixture(scope="module")
def client(plain: Client) -> Client:
    """The server without a run, in place of the one with."""
    return plain


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


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST"])
def test_files_are_only_read(client: Client, method: str) -> None:
    headers = {"Origin": f"http://{client.host}", "Content-Type": "application/json"}
    answer = client.ask("/atlas.json", method=method, headers=headers)
    assert answer.status == 405 and set(answer.json) == {"error"}
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


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

"""A real Chromium in front of a real server, watched for errors and for requests that leave it.

    def test_map(visit, atlas):
        page = visit(atlas.url)

``visit`` fails its test at the end if the page logged an error, threw one, or asked any other host.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from quadric.atlas.bundle import bundle_folder, copy_page
from quadric.atlas.folder.synthetic import write_synthetic

WEB = Path(__file__).parents[3] / "web"
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
# Without a graphics card Chromium draws on the processor only when it is told so.
SOFTWARE = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
VIEWPORT = {"width": 1280, "height": 800}


def chromium() -> str | None:
    """$QUADRIC_CHROMIUM, else chromium on the PATH, else Playwright's own (None)."""
    return os.environ.get("QUADRIC_CHROMIUM") or shutil.which("chromium")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, started once by each worker."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=SOFTWARE)
        yield started
        started.close()


@dataclass
class Served:
    """An atlas that a server answers for."""

    url: str
    folder: Path
    process: subprocess.Popen[str] | None = field(default=None, repr=False)


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., Served]]:
    """``serve(folder)`` starts ``quadric atlas serve`` in a second process."""
    running: list[subprocess.Popen[str]] = []

    def start(folder: Path, *options: str) -> Served:
        command = [sys.executable, "-m", "quadric", "atlas", "serve", str(folder)]
        process = subprocess.Popen(
            [*command, "--no-open", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        running.append(process)
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if found := re.search(r"http://127\.0\.0\.1:\d+/?", line):
                # Whatever else it says must not fill the pipe.
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return Served(found.group().rstrip("/") + "/", folder, process)
        raise AssertionError(f"the server stopped: {seen}")

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(10)


@pytest.fixture(scope="session")
def serve_static() -> Iterator[Callable[[Path], str]]:
    """``serve_static(folder)`` is any static host: Python's own, without a header of ours."""
    running: list[http.server.ThreadingHTTPServer] = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    def start(folder: Path) -> str:
        handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        running.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in running:
        server.shutdown()


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of 96 known surfaces with a comparison and one hostile label, page included."""
    folder = tmp_path_factory.mktemp("atlas") / "synthetic"
    write_synthetic(folder, forms=96, points=256, comparison=True, hostile=True)
    copy_page(folder)
    return folder


@pytest.fixture(scope="session")
def atlas(serve: Callable[..., Served], synthetic: Path) -> Served:
    """It, served by quadric."""
    return serve(synthetic)


@pytest.fixture(scope="session")
def bundles() -> Path:
    """The folder of the three bundles."""
    return bundle_folder("page").parent


@pytest.fixture
def context_of(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """``context_of(color_scheme="dark", …)`` is a fresh profile, closed after the test."""
    opened: list[BrowserContext] = []

    def new(**options: Any) -> BrowserContext:
        context = browser.new_context(**{"viewport": VIEWPORT, **options})
        opened.append(context)
        return context

    yield new
    for context in opened:
        context.close()


@pytest.fixture
def visit(context_of: Callable[..., BrowserContext]) -> Iterator[Callable[..., Page]]:
    """``visit(url, ready="atlas:ready", **options)`` opens a page and waits for its mark."""
    complaints: list[str] = []

    def open_page(
        url: str,
        *,
        ready: str | None = "atlas:ready",
        context: BrowserContext | None = None,
        expected: str | None = None,
        **options: Any,
    ) -> Page:
        page = (context or context_of(**options)).new_page()
        origin = re.match(r"(https?|file)://[^/]*", url)
        assert origin is not None

        def complain(text: str) -> None:
            if expected is None or not re.search(expected, text):
                complaints.append(text)

        page.on("pageerror", lambda error: complain(f"thrown: {error}"))
        page.on(
            "console",
            lambda message: (
                complain(f"{message.type}: {message.text}")
                if message.type in ("error", "warning") and "GPU stall" not in message.text
                else None
            ),
        )
        page.on(
            "request",
            lambda request: (
                complain(f"outside request: {request.url}")
                if not request.url.startswith((origin.group(), "data:", "blob:"))
                else None
            ),
        )
        page.goto(url)
        if ready is not None:
            wait_for_mark(page, ready)
        return page

    yield open_page
    assert not complaints, "\n".join(complaints)


def wait_for_mark(page: Page, name: str, count: int = 1) -> None:
    """Wait until the page has drawn: its ``count``-th performance mark of a name."""
    page.wait_for_function(
        "([name, count]) => performance.getEntriesByName(name).length >= count",
        arg=[name, count],
        timeout=20_000,
    )

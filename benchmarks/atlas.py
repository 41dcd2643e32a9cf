"""How fast the atlas opens and turns its pages, in a real Chromium, at 16k and 100k forms.

    python benchmarks/atlas.py [--forms 16384 100000] [--repeats 5] [--json FILE]

Writes synthetic atlases of these sizes, serves them with ``quadric atlas serve`` and opens each
with an empty cache. "first paint" and "map drawn" count from the navigation; "all ready" is when
the labels can be searched too. A switch is from the change of the address to the form being drawn.
The heap, array buffers included, is read after a garbage collection, with the map and twenty forms
seen. Medians.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.table import Table

from quadric.atlas.bundle import bundle_folder, copy_page
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.synthetic import write_synthetic
from quadric.storage import write_json

SWITCHES = 20
# Without a graphics card Chromium draws on the processor only when it is told so.
SOFTWARE = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
LATEST = "name => performance.getEntriesByName(name).at(-1)?.startTime ?? null"


@dataclass(frozen=True)
class Row:
    """One atlas, in milliseconds and bytes."""

    forms: int
    written_seconds: float
    bytes_on_disk: int
    first_paint: float
    map_drawn: float
    all_ready: float
    switch_median: float
    switch_slowest: float
    heap: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--forms", type=int, nargs="+", default=[16_384, 100_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = os.environ.get("QUADRIC_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=SOFTWARE)
        for forms in arguments.forms:
            rows.append(measure(browser, Path(folder) / str(forms), forms, arguments.repeats))
            shutil.rmtree(Path(folder) / str(forms))
        version = browser.version
        browser.close()
    console = Console()
    console.print(table(rows))
    console.print(f"bundle {bundle_bytes() / 1024:.0f} KiB gzipped · Chromium {version}, no GPU")
    if arguments.json:
        write_json(arguments.json, {"bundle": bundle_bytes(), "rows": [asdict(r) for r in rows]})


def measure(browser: Browser, folder: Path, forms: int, repeats: int) -> Row:
    """Write, serve and open one atlas ``repeats`` times."""
    started = time.perf_counter()
    write_synthetic(folder, forms=forms, points=256)
    written = time.perf_counter() - started
    copy_page(folder)
    ids = AtlasFolder(folder).forms()["id"]
    process, url = serve(folder)
    opened: list[dict[str, float]] = []
    switches: list[float] = []
    heap = 0
    try:
        for _ in range(repeats):
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            page = context.new_page()
            page.goto(url)
            for mark in ("first-contentful-paint", "atlas:ready", "atlas:labels"):
                page.wait_for_function(LATEST, arg=mark, timeout=120_000)
            opened.append(
                {
                    "first_paint": page.evaluate(LATEST, "first-contentful-paint"),
                    "map_drawn": page.evaluate(LATEST, "atlas:ready"),
                    "all_ready": page.evaluate(LATEST, "atlas:labels"),
                }
            )
            # Prime steps: no two of these forms lie in the same file.
            places = [(number * 7919 + 13) % forms for number in range(SWITCHES)]
            switches += [switch(page, int(ids[place])) for place in places]
            heap = max(heap, used_heap(page))
            context.close()
    finally:
        process.terminate()
        process.wait()
    return Row(
        forms=forms,
        written_seconds=written,
        bytes_on_disk=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        **{
            key: statistics.median(each[key] for each in opened)
            for key in ("first_paint", "map_drawn", "all_ready")
        },
        switch_median=statistics.median(switches),
        switch_slowest=max(switches),
        heap=heap,
    )


def serve(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """``quadric atlas serve`` in a process of its own, and its address."""
    command = [sys.executable, "-m", "quadric", "atlas", "serve", str(folder)]
    process = subprocess.Popen(
        [*command, "--no-open", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+/?", line):
            return process, found.group().rstrip("/") + "/"
    raise SystemExit("the server did not start")


def switch(page: Page, number: int) -> float:
    """Milliseconds from the change of the address to the form being drawn."""
    elapsed: float = page.evaluate(
        """async number => {
            const drawn = () => performance.getEntriesByName("form:ready").length;
            const before = drawn(), started = performance.now();
            location.hash = `#/l/${number}`;
            while (drawn() === before) {
                if (performance.now() - started > 30_000) throw new Error(`no form ${number}`);
                await new Promise(requestAnimationFrame);
            }
            return performance.getEntriesByName("form:ready").at(-1).startTime - started;
        }""",
        number,
    )
    return elapsed


def used_heap(page: Page) -> int:
    """Bytes of JavaScript objects, of the page's elements and of array buffers, collected."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    usage = session.send("Runtime.getHeapUsage")
    return int(usage["usedSize"] + usage["embedderHeapUsedSize"] + usage["backingStorageSize"])


def bundle_bytes() -> int:
    """The page's own files, gzipped."""
    files = [path for path in bundle_folder("page").rglob("*") if path.is_file()]
    return sum(len(gzip.compress(path.read_bytes(), mtime=0)) for path in files)


def table(rows: list[Row]) -> Table:
    """The figures for a reader."""
    shown = Table(
        "forms", "on disk", "written", "first paint", "map drawn", "all ready", "switch",
        "slowest", "heap",
    )  # fmt: skip
    for row in rows:
        shown.add_row(
            f"{row.forms:,}",
            f"{row.bytes_on_disk / 1e6:.0f} MB",
            f"{row.written_seconds:.0f} s",
            f"{row.first_paint:.0f} ms",
            f"{row.map_drawn:.0f} ms",
            f"{row.all_ready:.0f} ms",
            f"{row.switch_median:.0f} ms",
            f"{row.switch_slowest:.0f} ms",
            f"{row.heap / 1e6:.0f} MB",
        )
    return shown


if __name__ == "__main__":
    main()

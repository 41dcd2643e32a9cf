"""The pictures of the atlas in README.md and docs/, taken in a real Chromium.

    python scripts/screenshots.py runs/demo/atlas docs/images

The forms shown are the first of the list and the one that the run's calendar.json found to fire on
months, in the plane in which these are best ordered and along their strongest other axis.
With ``--classifier`` the pictures of an image classifier's atlas are taken as well.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import io
import os
import shutil
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from quadric.atlas.folder.reader import AtlasFolder
from quadric.storage import read_json_rows

# Without a graphics card Chromium draws on the processor only when it is told so.
SOFTWARE = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
MONTHS = "January,February,March,April,May,June,July,August,September,October,November,December"
COLOURS = 256
"""Of a picture, which is then a third as large."""
DRAWN = "name => performance.getEntriesByName(name).length > 0"


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("atlas", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--classifier", type=Path, help="an atlas of an image classifier")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    url = serve(arguments.atlas)
    first = f"{AtlasFolder(arguments.atlas).row(0).id}?words=1"
    months, axes = ring(arguments.atlas)
    chosen = f"{months}?{axes}&w={MONTHS}&words=1&alone=1&cam=-90,90,3.2"
    with sync_playwright() as playwright:
        path = os.environ.get("QUADRIC_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=SOFTWARE)
        for name, place, scheme in (
            ("map", "#/", "light"),
            ("form", f"#/l/{first}", "light"),
            ("dark", f"#/l/{first}", "dark"),
            ("ring", f"#/l/{chosen}", "light"),
            ("compare", f"#/compare/{months}?{axes}", "light"),
        ):
            take(browser, url + place, arguments.out / f"atlas-{name}.png", scheme)
        if arguments.classifier is not None:
            pictures(browser, arguments.classifier, arguments.out / "vision")
        browser.close()


def pictures(browser: Browser, atlas: Path, out: Path) -> None:
    """The gallery of the classes, and the fifth class."""
    out.mkdir(exist_ok=True)
    url = serve(atlas)
    take(browser, f"{url}#/gallery", out / "atlas-gallery.png", "light", height=690)
    form = AtlasFolder(atlas).row(4).id
    take(browser, f"{url}#/l/{form}", out / "atlas-class.png", "light", height=1060)


def ring(atlas: Path) -> tuple[int, str]:
    """The form of the months, and the part of a link that looks at their ring."""
    run = AtlasFolder(atlas).manifest.run
    if run is None:
        raise SystemExit(f"{atlas} does not say where its run lies")
    found = read_json_rows(atlas / run / "calendar.json")
    row = next(row for row in found if row["name"] == "months")
    # The file counts axes from 1, as the page does for its reader; links count them from 0.
    first, second = (axis - 1 for axis in row["order_axes"])
    third = next(axis for axis in range(3) if axis not in (first, second))
    return row["id"], f"ax={first},{second},{third}"


def take(browser: Browser, url: str, out: Path, scheme: str, height: int = 820) -> None:
    """One picture, once everything in it is drawn."""
    context = browser.new_context(
        viewport={"width": 1360, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url)
    if "#/l/" in url:
        page.wait_for_function(DRAWN, arg="form:ready")
    page.wait_for_function(DRAWN, arg="atlas:labels")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)
    taken = Image.open(io.BytesIO(page.screenshot()))
    taken.convert("RGB").quantize(COLOURS, kmeans=2).save(out, optimize=True)
    context.close()


def serve(folder: Path) -> str:
    """The folder on a free port of this machine, by Python's own server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


if __name__ == "__main__":
    main()

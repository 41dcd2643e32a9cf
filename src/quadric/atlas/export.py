"""One form of a run as one HTML file, which opens from disk and asks the network for nothing.

    export(Path("runs/demo"), 312, Path("months.html"))

The file holds the page's script and style and, in base 64, a compressed table of the atlas's files.
Its content security policy names the script and the style by their hashes and allows nothing else.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
from pathlib import Path

from quadric.atlas.bundle import bundle_folder
from quadric.atlas.packing import one_form
from quadric.errors import QuadricError
from quadric.storage import write_text

DATA = "atlas-data"
"""The element that the script reads."""


def export(source: Path, form: int, out: Path) -> None:
    """Write one form into one HTML file.

    Args:
        source: a run, or an atlas.
        form: a latent, or a group by its number.
        out: the file to write.

    Raises:
        QuadricError: there is no such form, the page has not been built, or the file cannot be
            written.
    """
    folder = bundle_folder("single")
    script, style = (_read(folder / name) for name in ("atlas.js", "atlas.css"))
    for name, text in (("script", script), ("style", style)):
        # A bundler escapes this; a bundle that did not would end its element early.
        if f"</{name}" in text.lower():
            raise QuadricError(f"{folder} holds </{name} in its {name}: build the page again")
    # The terms of what is bundled go with it; nothing in them may end the comment they stand in.
    terms = _read(folder / "licenses.md").replace("--", "- -")
    data = base64.b64encode(gzip.compress(one_form(source, form), mtime=0)).decode("ascii")
    write_text(out, _page(f"Form {form} of {source.resolve().name}", script, style, data, terms))


def _page(title: str, script: str, style: str, data: str, terms: str) -> str:
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<!--
{terms}
-->
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<div id="atlas"></div>
<noscript>This page draws with JavaScript, which is switched off.</noscript>
<script type="application/vnd.apache.arrow.file" id="{DATA}">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _hash(text: str) -> str:
    """The source expression that allows an inline element of exactly this text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _read(path: Path) -> str:
    try:
        # A style sheet of nothing is not written at all.
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except OSError as error:
        raise QuadricError(f"cannot read {path}: {error.strerror}") from error

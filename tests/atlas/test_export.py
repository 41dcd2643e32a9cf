"""One form as one HTML file: everything is inside, and nothing but it may run."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from quadric.atlas import bundle
from quadric.atlas.export import export
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.validate import validate
from quadric.errors import QuadricError

GOLDEN = Path(__file__).parent / "golden"
SCRIPT, STYLE = 'document.title = "<b>"; // ★', ".atlas { color: red }"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of one line, in place of the real one."""
    folder = tmp_path / "web" / "single"
    folder.mkdir(parents=True)
    (folder / "atlas.js").write_text(SCRIPT)
    (folder / "atlas.css").write_text(STYLE)
    monkeypatch.setattr(bundle, "BUNDLES", tmp_path / "web")
    return folder


class Elements(HTMLParser):
    """Every element with its attributes and, where it has any, its text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))
        self.inside = True

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)


def elements(page: Path) -> list[tuple[str, dict[str, str | None], str]]:
    parser = Elements()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.found


def allowed(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("modality", ["text", "image"])
def test_the_file_holds_a_whole_atlas(tmp_path: Path, modality: str) -> None:
    source = GOLDEN / modality
    form = int(AtlasFolder(source).forms()["id"][1])
    out = tmp_path / "form.html"
    export(source, form, out)
    data = next(text for _, given, text in elements(out) if given.get("id") == "atlas-data")
    table = pa.ipc.open_file(gzip.decompress(base64.b64decode(data))).read_all()
    folder = tmp_path / "unpacked"
    for path, content in zip(
        *(table[name].to_pylist() for name in table.schema.names), strict=True
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    problems = [each for each in validate(folder).problems if "files.arrow" not in each]
    assert problems == []
    page, whole = AtlasFolder(folder).page_of(form), AtlasFolder(source).page_of(form)
    assert page.rows.tolist() == whole.rows.tolist()
    assert (page.points.value == whole.points.value).all()
    first = out.read_bytes()
    export(source, form, out)
    assert out.read_bytes() == first, "the same form gives the same file"


@pytest.mark.usefixtures("built")
def test_only_its_own_script_and_style_are_allowed(tmp_path: Path) -> None:
    out = tmp_path / "form.html"
    export(GOLDEN / "text", int(AtlasFolder(GOLDEN / "text").forms()["id"][0]), out)
    found = elements(out)
    policy = next(a["content"] for _, a, _ in found if a.get("http-equiv")) or ""
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data: blob:"
    running = [text for tag, given, text in found if tag == "script" and "type" not in given]
    styles = [text for tag, _, text in found if tag == "style"]
    assert running == [SCRIPT] and styles == [STYLE]
    assert rules["script-src"] == f"'{allowed(SCRIPT)}'"
    assert rules["style-src"] == f"'{allowed(STYLE)}'"
    # Nothing points outside, and the policy stands before what it is about.
    sources = [given[key] for _, given, _ in found for key in ("src", "href") if key in given]
    assert sources == ["data:,"]
    assert out.read_text().index("Content-Security-Policy") < out.read_text().index("<style>")


@pytest.mark.usefixtures("built")
def test_a_name_is_text_only(tmp_path: Path) -> None:
    out = tmp_path / "form.html"
    folder = tmp_path / "&<b>"
    shutil.copytree(GOLDEN / "text", folder)
    export(folder, int(AtlasFolder(folder).forms()["id"][0]), out)
    assert "&amp;&lt;b&gt;" in out.read_text()
    assert not re.search(r"<title>[^<]*<b>", out.read_text())


def test_mistakes_are_one_line(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "form.html"
    with pytest.raises(QuadricError, match="no form 4242"):
        export(GOLDEN / "text", 4242, out)
    (built / "atlas.js").write_text("'</SCRIPT>'")
    with pytest.raises(QuadricError, match="</script in its script"):
        export(GOLDEN / "text", 0, out)
    monkeypatch.setattr(bundle, "BUNDLES", tmp_path / "nowhere")
    with pytest.raises(QuadricError, match="make web"):
        export(GOLDEN / "text", 0, out)
    assert not out.exists()

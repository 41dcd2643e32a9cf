"""The one command for all benchmarks, on a short one: figures, command and page."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"


class Cells(HTMLParser):
    """The text of every cell, and the number of pictures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.pictures = 0
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        self._inside = tag in ("td", "th")
        self.pictures += tag == "img"

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts.append(data.strip())


@pytest.mark.e2e
def test_what_was_measured_stands_on_the_page(tmp_path: Path) -> None:
    command = [sys.executable, str(RUN), "--quick", "--out", str(tmp_path), "--only", "loop"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "benchmarks.json").read_text())
    assert entries["loop"]["command"] == "python benchmarks/loop.py --quick"
    results = entries["loop"]["results"]
    assert {row["variant"] for row in results["rows"]} == {"vanilla", "topk"}
    page = Cells((tmp_path / "page.html").read_text())
    for row in results["rows"]:
        shares = [row[part] / row["step"] for part in results["parts"]]
        assert sum(shares) == pytest.approx(1)
        assert all(f"{share:.1%}" in page.texts for share in shares)
    assert page.pictures == 1

"""The page of a run: what the data says is shown, and never obeyed."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest

from quadric.report import figures
from quadric.report.page import write_page
from quadric.report.table import manifolds_table, metrics_table
from quadric.runs.latents import Latent, TopToken

EVIL = "<img src=x onerror=alert(1)>"
METRICS = {
    "steps": 3, "training_tokens": 10, "d_in": 2, "seconds": 1.5, "dropped_tokens": 1,
    "autoencoders": {EVIL: {"variant": "vanilla", "product_error": 0.51234, "cossim": None}},
}  # fmt: skip
LATENT = Latent(
    id=7, importance=2.0, effective_rank=1.5, top3_share=1.0, positive=1, negative=1,
    eigenvalues=[1.0, -0.5],
    top=[TopToken(EVIL, 1.25, "before " + EVIL, " $x^2 after"), TopToken("b", -0.5, "", "")],
)  # fmt: skip

MANIFOLD = {
    "rank": 1, "id": 3, "kind": "composite", "label": EVIL, "shape": "ring", "p_value": 0.02,
    "quadric": "ellipsoid", "words": 4.5, "evidence": 0.75,
    "scores": {"token_class": {"value": 0.8}},
}  # fmt: skip


def test_labels_stay_text(tmp_path: Path) -> None:
    write_page(
        tmp_path / "report.html", metrics=METRICS, config={"model": EVIL}, figures={},
        latents=[LATENT], notes=[EVIL], manifolds=[MANIFOLD],
    )  # fmt: skip
    text = (tmp_path / "report.html").read_text()
    assert EVIL not in text and text.count("&lt;img src=x onerror=alert(1)&gt;") == 6
    assert "0.5123" in text and "1.25" in text and "default-src &#39;none&#39;" not in text
    assert 'class="plus"' in text and 'class="minus"' in text


def test_table_of_manifolds_prints_brackets_as_they_are() -> None:
    text = manifolds_table([{**MANIFOLD, "label": "[bold]x[/]"}])
    assert "[bold]x[/]" in text and "0.020" in text and "0.75" in text


def test_table_leaves_out_what_nobody_has(tmp_path: Path) -> None:
    text = metrics_table(METRICS, tmp_path)
    assert "0.5123" in text and "cossim" not in text and "3 steps on 10 activations" in text


@pytest.mark.parametrize("draw", ["spectra", "token_table", "training_curves"])
def test_figures_draw_what_they_are_given(tmp_path: Path, draw: str) -> None:
    if draw == "training_curves":
        lines = [
            {"step": step, "a/error": 1 - step / 10, "a/density": 0.5}
            | ({"a/held_out_error": 0.9 - step / 10, "a/held_out_density": 0.4} if step % 2 else {})
            for step in range(6)
        ]
        figure = figures.training_curves(lines, ["a"])
        curve, held = figure.axes[0].get_lines()
        assert list(curve.get_ydata()) == [line["a/error"] for line in lines]
        assert list(held.get_xdata()) == [1, 3, 5]
    elif draw == "spectra":
        figure = figures.spectra([LATENT])
        assert [bar.get_height() for bar in figure.axes[0].patches] == [1.0, -0.5]
    else:
        figure = figures.token_table([LATENT])
        cells = figure.axes[0].tables[0].get_celld()
        assert cells[1, 0].get_text().get_text() == "7"
        assert EVIL in cells[1, 4].get_text().get_text()
    path = figures.save(figure, tmp_path / "x.png")
    assert matplotlib.image.imread(path).std() > 0.01

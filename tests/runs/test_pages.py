"""What a page shows: windows of text, and fewer points where there are many forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.validate import validate
from quadric.runs import pages as paging
from quadric.runs.atlas import build_atlas
from tests.atlas.tiny_run import tiny_run
from tests.runs.tiny import D_IN, rows_and_pages, value_of

pytestmark = pytest.mark.usefixtures("few_random_forms")


def test_many_forms_have_fewer_points(
    composite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "FULL_UP_TO", 8)
    monkeypatch.setattr(paging, "FULL", 3)
    monkeypatch.setattr(paging, "FEW_POINTS", 20)
    monkeypatch.setattr(paging, "FEW_RANDOM", 10)
    monkeypatch.setattr("quadric.atlas.content.points.BYTES", 4 * D_IN * 900)  # several pieces
    build_atlas(composite, tmp_path / "atlas")
    pages = [page for _, page in rows_and_pages(AtlasFolder(tmp_path / "atlas"))]
    assert min(page.present.sum() for page in pages[:3]) >= 60
    assert all(page.present.sum() == 20 for page in pages[3:])
    assert all(len(page.rows) <= 30 for page in pages[3:])


def test_windows_of_text(tmp_path: Path) -> None:
    """Every value of a window is the form there; a window stays within its context."""
    tiny = tiny_run(tmp_path, variant="composite", block=2)
    build_atlas(tiny.run, tmp_path / "full")
    assert validate(tmp_path / "full").problems == []
    atlas = AtlasFolder(tmp_path / "full")
    size = atlas.manifest.context_size
    assert size == tiny.store.context_size and atlas.manifest.modality == "text"
    x = tiny.store.gather(torch.arange(len(tiny.store)))
    ids = tiny.store.token_ids(torch.arange(len(tiny.store))).numpy()
    assert np.array_equal(atlas.token_ids(0, len(ids)), ids)
    lengths = set()
    for row, page in rows_and_pages(atlas):
        expected = value_of(tiny.model, row, x)
        for context in page.contexts:
            window = np.arange(context.start, context.start + len(context.values))
            assert np.allclose(context.values, expected[window], rtol=1e-4, atol=1e-5)
            before, after = context.row % size, size - 1 - context.row % size
            assert context.row - context.start == min(8, before)
            assert window[-1] - context.row == min(3, after)
            lengths.add(len(window))
        assert any(row.label for row, _ in rows_and_pages(atlas))
    assert len(lengths) > 1

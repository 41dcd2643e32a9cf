"""The notebook's widget carries its code, its style and the atlas of one form."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from quadric.atlas import bundle
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.synthetic import write_synthetic
from quadric.atlas.packing import one_form
from quadric.errors import QuadricError


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    code = tmp_path / "bundles" / "widget"
    code.mkdir(parents=True)
    (code / "atlas.js").write_text("export default { render() {} };")
    (code / "atlas.css").write_text(".atlas { color: red }")
    monkeypatch.setattr(bundle, "BUNDLES", code.parent)
    return code


def test_a_widget_is_one_form_with_its_code(bundles: Path, tmp_path: Path) -> None:
    pytest.importorskip("anywidget")
    from quadric.atlas import AtlasWidget

    folder = tmp_path / "atlas"
    write_synthetic(folder, forms=4, points=16)
    form = int(AtlasFolder(folder).forms()["id"][2])
    widget = AtlasWidget(str(folder), form)
    state = widget.get_state()
    assert state["_esm"] == (bundles / "atlas.js").read_text()
    assert state["_css"] == (bundles / "atlas.css").read_text()
    assert state["atlas"] == one_form(folder, form)
    assert widget.trait_metadata("atlas", "sync") is True
    assert state["_model_module"] == "anywidget"
    with pytest.raises(QuadricError, match="no form 99"):
        AtlasWidget(folder, 99)


def test_a_widget_that_was_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anywidget")
    from quadric.atlas import AtlasWidget

    monkeypatch.setattr(bundle, "BUNDLES", tmp_path)
    with pytest.raises(QuadricError, match="make web"):
        AtlasWidget(tmp_path, 0)


def test_without_anywidget_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "quadric.atlas.widget", raising=False)
    with pytest.raises(QuadricError, match=r"pip install 'quadric\[notebook\]'"):
        importlib.import_module("quadric.atlas.widget")

"""Which run lies behind an atlas, and how another one is told apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from quadric.atlas.folder.synthetic import write_synthetic
from quadric.atlas.service.opening import open_session
from quadric.errors import QuadricError
from tests.atlas.tiny_run import GROUP, TinyRun, write_atlas


def test_where_the_run_is_looked_for(tiny: TinyRun, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "atlas"
    shutil.copytree(tiny.atlas, moved)
    session, note = open_session(moved, None)
    assert session is None and "live features are off" in note and "--run" in note
    session, note = open_session(moved, tiny.run)
    assert session is not None and note == ""
    with pytest.raises(QuadricError, match="nowhere"):
        open_session(moved, tmp_path / "nowhere")
    write_synthetic(tmp_path / "alone", forms=2, points=8)
    session, note = open_session(tmp_path / "alone", None)
    assert session is None and "does not say where its run lies" in note
    with pytest.raises(QuadricError, match="not the autoencoder of this atlas"):
        open_session(tmp_path / "alone", tiny.run)


def test_another_autoencoder_is_told_apart(tiny: TinyRun, tmp_path: Path) -> None:
    shutil.copytree(tiny.run, tmp_path / "run")
    with torch.no_grad():
        copy = type(tiny.model).load_from_disk(tiny.run)
        copy.left[0] *= 1.01
    copy.save_pretrained(tmp_path / "run")
    shutil.copytree(tiny.atlas, tmp_path / "atlas")
    session, note = open_session(tmp_path / "atlas", None)
    assert session is None and "form 0 has another spectrum" in note
    with pytest.raises(QuadricError, match="form 0 has another spectrum"):
        open_session(tmp_path / "atlas", tmp_path / "run")


def test_the_same_spectra_on_other_axes_are_not_taken_for_the_page(
    tiny: TinyRun, tmp_path: Path
) -> None:
    """A rotated autoencoder has the same spectra; its points tell it apart."""
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(0))).Q
    shutil.copytree(tiny.run, tmp_path / "run")
    copy = type(tiny.model).load_from_disk(tiny.run)
    with torch.no_grad():
        for factor in (copy.left, copy.right):
            factor[:, :12] = factor[:, :12] @ rotation
    copy.save_pretrained(tmp_path / "run")
    session, _ = open_session(tiny.atlas, tmp_path / "run")
    assert session is not None
    with pytest.raises(QuadricError, match="axes of form 0 in this atlas are not those"):
        session.encode("Monday", 0)


def test_without_activations_a_sentence_can_still_be_typed(tiny: TinyRun, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny.run, run)
    (run / "run.json").unlink()
    session, note = open_session(tiny.atlas, run)
    assert session is not None and "cannot be composed" in note
    assert session.capabilities()["compose"] is False and session.capabilities()["encode"] is True
    path = session.encode("Monday", GROUP)["path"]
    with_store, _ = open_session(tiny.atlas, tiny.run)
    assert with_store is not None
    assert path["coordinates"][2] == pytest.approx(
        with_store.encode("Monday", GROUP)["path"]["coordinates"][2]
    )


def test_a_store_that_is_not_the_atlas_is_refused(tiny: TinyRun, tmp_path: Path) -> None:
    write_atlas(tmp_path / "atlas", tiny.model, tiny.store)
    session, _ = open_session(tmp_path / "atlas", tiny.run)
    assert session is not None

    class Shuffled:
        d_in = 12

        def __len__(self) -> int:
            return len(tiny.store)

        def gather(self, rows: torch.Tensor) -> torch.Tensor:
            return tiny.store.gather((rows + 1) % len(tiny.store))

    session.store = Shuffled()  # type: ignore[assignment]
    with pytest.raises(QuadricError, match="are not those of"):
        session.encode("Monday", 0)

"""A run's atlas against the autoencoder itself, in float64, from the files that were written."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from quadric.activations.config import DataConfig
from quadric.atlas.contract import FULL
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.validate import validate
from quadric.atlas.records import FormPoints
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.manifolds import files
from quadric.runs import atlas as building
from quadric.runs.atlas import build_atlas
from quadric.runs.config import RunConfig
from quadric.training import TrainingConfig
from tests.runs.tiny import (
    D_IN,
    ROWS,
    VARIANTS,
    activations,
    make_run,
    rows_and_pages,
    save_model,
    value_of,
)

pytestmark = pytest.mark.usefixtures("few_random_forms")


@pytest.fixture(scope="module", params=VARIANTS)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, AtlasFolder]:
    run = make_run(tmp_path_factory.mktemp("atlas"), **VARIANTS[request.param])
    build_atlas(run, run / "atlas", compare=run / "twin")
    return run, AtlasFolder(run / "atlas")


def slice_of(points: FormPoints) -> np.ndarray:
    p = points.coordinates.astype(np.float64)
    quadratic = np.einsum("ni,ij,nj->n", p, points.form, p)
    return quadratic + p @ points.linear + points.constant


def slack(points: FormPoints) -> np.ndarray:
    """How far 16 bits may move a slice: half a step of every coordinate times its slope."""
    p = points.coordinates
    steps = np.abs(p).max(0) / (2 * FULL)
    slope = np.abs(2 * p @ points.form + points.linear)
    return slope @ steps + 1e-5 * np.abs(points.value).max() + 1e-6


def test_nothing_is_wrong_with_it(built: tuple[Path, AtlasFolder]) -> None:
    run, atlas = built
    assert validate(run / "atlas").problems == []
    table = files.read(run) if (run / files.TABLE).is_file() else []
    assert [row["id"] for row in table] == list(atlas.forms()["id"][: len(table)])
    assert set(range(atlas.manifest.forms)) >= set(
        range(BilinearAutoencoder.load_from_disk(run).d_sae)
    )
    kinds = {row.kind for row, _ in rows_and_pages(atlas)}
    assert "group" in kinds, "the fixture has two latents in one plane"
    importance = [
        row.statistics["importance"]
        for row, _ in rows_and_pages(atlas)
        if row.id not in {each["id"] for each in table}
    ]
    assert importance == sorted(importance, reverse=True)


def test_values_and_slices_are_the_autoencoders_own(built: tuple[Path, AtlasFolder]) -> None:
    run, atlas = built
    model = BilinearAutoencoder.load_from_disk(run).double()
    x = activations()
    for row, page in rows_and_pages(atlas):
        expected = value_of(model, row, x[page.rows])
        step = np.abs(expected).max() / FULL
        assert np.abs(page.points.value - expected).max() <= step + 1e-6
        # The form itself, on an orthonormal basis that begins with the page's axes.
        tensor = model.tensor(row.members)
        dense = sum(
            weight * tensor.interaction(one)
            for weight, one in zip(row.weights, torch.eye(tensor.m).double(), strict=True)
        )
        assert isinstance(dense, Tensor)
        quadratic = dense[:D_IN, :D_IN]
        values, vectors = torch.linalg.eigh(quadratic)
        y = model.transform.apply_to(x[page.rows].double()).y
        order = values.abs().argsort(descending=True)
        kept = [place for place, kind in enumerate(page.points.axis_kind) if kind == "eigenvector"]
        if row.kind == "group":
            assert not kept
            continue
        left_out = (y @ vectors[:, order[len(kept) :]]).square() @ values[order[len(kept) :]]
        error = np.abs(slice_of(page.points) + left_out.numpy() - expected)
        assert (error <= slack(page.points) + 2e-6).all()
        spectrum = values[order][: len(page.points.spectrum)]
        assert np.allclose(page.points.spectrum, spectrum, atol=1e-5)
        assert np.allclose(page.points.form, np.diag(np.diag(page.points.form)))
        assert row.positive == int((values > 1e-6 * values.abs().max()).sum())


def test_groups_have_their_whole_matrix(built: tuple[Path, AtlasFolder]) -> None:
    """A group whose shared directions all fit into its page leaves nothing out."""
    _, atlas = built
    groups = [page for row, page in rows_and_pages(atlas) if row.kind == "group"]
    for page in groups:
        assert set(page.points.axis_kind) <= {"shared", "principal"}
        if len(page.points.spectrum) <= len(page.points.axis_kind):
            error = np.abs(slice_of(page.points) - page.points.value)
            assert (error <= slack(page.points) + 2e-5).all()
            off = page.points.form - np.diag(np.diag(page.points.form))
            assert np.abs(off).max() > 0


def test_products_get_a_direction_along_which_they_are_flat(
    built: tuple[Path, AtlasFolder],
) -> None:
    run, atlas = built
    model = BilinearAutoencoder.load_from_disk(run)
    for row, page in rows_and_pages(atlas):
        kinds = list(page.points.axis_kind)
        assert len(kinds) >= 3
        if model.config.block is None and row.kind == "latent":
            assert kinds == ["eigenvector", "eigenvector", "principal"]
            assert not page.points.form[2].any() and page.points.linear[2] == 0
            y = model.transform.apply_to(activations()[page.rows[page.present]]).y.double()
            centred = y - y.mean(0)
            # Nothing beside the two eigenvectors varies more.
            p = page.points.coordinates[page.present]
            beside = centred.square().sum() - ((p[:, :2] - p[:, :2].mean(0)) ** 2).sum()
            share = ((p[:, 2] - p[:, 2].mean()) ** 2).sum() / beside
            assert share > 1 / D_IN


def test_points_are_the_rows_where_it_is_present(built: tuple[Path, AtlasFolder]) -> None:
    run, atlas = built
    model = BilinearAutoencoder.load_from_disk(run)
    y = model.transform.apply_to(activations()).y
    table = {row["id"]: row for row in files.read(run)}
    kept = files.read_points(run)
    for place, (row, page) in enumerate(rows_and_pages(atlas)):
        rows = page.rows[page.present]
        assert len(set(page.rows.tolist())) == len(page.rows)
        if row.id in table:
            assert rows.tolist() == kept.forms[place].rows.tolist()
            continue
        axes = torch.linalg.eigh(model.tensor([row.id]).interaction(torch.ones(1))[:D_IN, :D_IN])
        order = axes.eigenvalues.abs().argsort(descending=True)[:2]
        presence = (y @ axes.eigenvectors[:, order]).square().sum(1)
        assert set(rows[:40].tolist()) == set(presence.topk(40).indices.tolist())


def test_contexts_and_histograms(built: tuple[Path, AtlasFolder]) -> None:
    run, atlas = built
    model = BilinearAutoencoder.load_from_disk(run).double()
    x = activations()
    for row, page in rows_and_pages(atlas):
        everything = value_of(model, row, x)
        for context in page.contexts:
            assert context.start == context.row and len(context.values) == 1
            assert context.value == pytest.approx(everything[context.row], rel=1e-4, abs=1e-5)
        by_kind = {
            kind: [context.value for context in page.contexts if context.kind == kind]
            for kind in ("most_positive", "most_negative", "near_zero", "random")
        }
        assert max(map(len, by_kind.values())) == 8 == len(by_kind["random"])
        assert by_kind["most_positive"] == sorted(by_kind["most_positive"], reverse=True)
        assert all(value < 0 for value in by_kind["most_negative"])
        silent = [abs(value) for value in by_kind["near_zero"]]
        assert silent == sorted(silent)
        largest = max(0.0, everything.max())
        assert row.statistics["max_positive"] == pytest.approx(largest, rel=1e-4, abs=1e-5)
        # Every row is in the sample: there are fewer than it would hold.
        counts = page.histogram_counts
        assert counts.sum() == ROWS and len(counts) == 41
        edges = page.histogram_edges
        assert edges[0] <= everything.min() + 1e-5 and edges[-1] >= everything.max() - 1e-5
        again, _ = np.histogram(everything, edges)
        assert np.abs(again - counts).sum() <= 6
        root = np.sqrt(np.mean(everything**2))
        assert row.statistics["mean_square"] == pytest.approx(root**2, rel=1e-4)
        share = np.mean(np.abs(everything) > root)
        assert row.statistics["frequency"] == pytest.approx(share, abs=3 / ROWS)


def test_partners_stand_on_the_same_rows(built: tuple[Path, AtlasFolder]) -> None:
    run, atlas = built
    model = BilinearAutoencoder.load_from_disk(run).double()
    other = BilinearAutoencoder.load_from_disk(run / "twin").double()
    x = activations()
    theirs = other.tensor()
    forms = torch.stack([theirs.interaction(one) for one in torch.eye(theirs.m).double()])
    forms = forms / forms.flatten(1).norm(dim=1)[:, None, None]
    for place, (row, page) in enumerate(rows_and_pages(atlas)):
        pair = atlas.pair(place)
        tensor = model.tensor(row.members)
        own = sum(
            weight * tensor.interaction(one)
            for weight, one in zip(row.weights, torch.eye(tensor.m).double(), strict=True)
        )
        assert isinstance(own, Tensor)
        cosines = (forms * own).sum((1, 2)) / own.norm()
        assert pair.partner == int(cosines.abs().argmax())
        assert pair.overlap == pytest.approx(cosines[pair.partner].item(), abs=1e-5)
        expected = other.encode(x[page.rows].double()).detach()[:, pair.partner].numpy()
        assert np.abs(pair.points.value - expected).max() <= np.abs(expected).max() / FULL + 1e-6


def test_some_forms_only(built: tuple[Path, AtlasFolder], tmp_path: Path) -> None:
    run, atlas = built
    chosen = [int(each) for each in atlas.forms()["id"][[3, 1]]]
    summary = build_atlas(run, tmp_path / "few", ids=chosen, points=50)
    few = AtlasFolder(tmp_path / "few")
    assert summary["forms"] == 2 and validate(tmp_path / "few").problems == []
    assert set(few.forms()["id"].tolist()) == set(chosen)
    for id in chosen:
        one, two = few.page_of(id), atlas.page_of(id)
        assert one.present.sum() == min(50, two.present.sum())
        assert np.array_equal(one.points.form, two.points.form)
    with pytest.raises(QuadricError, match="form 400 does not exist"):
        build_atlas(run, tmp_path / "none", ids=[400])
    assert not (tmp_path / "none").exists()


def test_an_older_analysis_is_made_again(composite: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(composite, run)
    kept = (run / files.POINTS).read_bytes()
    (run / files.POINTS).unlink()
    build_atlas(run, run / "atlas")
    assert (run / files.POINTS).read_bytes() == kept
    assert AtlasFolder(run / "atlas").manifest.controls > 0


def test_latents_alone_where_nothing_overlaps(tmp_path: Path) -> None:
    """A run with nothing to examine still has an atlas, of its latents."""
    x = activations()
    run = make_run(tmp_path, variant="vanilla", d_sae=3)
    model = BilinearAutoencoder.load_from_disk(run)
    with torch.no_grad():
        model.left[:] = torch.eye(D_IN)[[0, 2, 4]]
        model.right[:] = torch.eye(D_IN)[[1, 3, 5]]
    model.save_pretrained(run)
    build_atlas(run, run / "atlas")
    atlas = AtlasFolder(run / "atlas")
    assert validate(run / "atlas").problems == [] and atlas.manifest.colour == "effective_rank"
    assert sorted(atlas.forms()["id"].tolist()) == [0, 1, 2] and not atlas.controls()
    for row, page in rows_and_pages(atlas):
        expected = value_of(model, row, x[page.rows])
        assert np.abs(page.points.value - expected).max() <= np.abs(expected).max() / FULL + 1e-6


def test_different_transforms_are_matched_by_values(composite: Path, tmp_path: Path) -> None:
    other = save_model(
        tmp_path / "other", activations(), variant="vanilla", d_sae=11, norm="none", scale="whole"
    )
    build_atlas(composite, tmp_path / "atlas", compare=tmp_path / "other")
    atlas = AtlasFolder(tmp_path / "atlas")
    comparison = atlas.manifest.comparison
    assert comparison is not None and "correlation" in comparison.facts["Matched by"]
    assert validate(tmp_path / "atlas").problems == []
    model, x = BilinearAutoencoder.load_from_disk(composite), activations()
    theirs = other.double().encode(x.double()).detach().numpy()
    for place, (row, page) in enumerate(rows_and_pages(atlas)):
        own = value_of(model, row, x)
        correlations = np.array([np.corrcoef(own, each)[0, 1] for each in theirs.T])
        pair = atlas.pair(place)
        assert abs(pair.overlap) == pytest.approx(np.abs(correlations).max(), abs=1e-4)
        expected = theirs[page.rows, pair.partner]
        assert np.abs(pair.points.value - expected).max() <= np.abs(expected).max() / FULL + 1e-6


def test_mistakes_are_one_line(composite: Path, tmp_path: Path) -> None:
    run = composite
    build = partial(build_atlas, run, tmp_path / "atlas")
    (tmp_path / "other").mkdir()
    np.save(tmp_path / "other" / "b.npy", activations().numpy())
    foreign = tmp_path / "foreign"
    config = save_model(foreign, activations(), **VARIANTS["composite"]).config
    data = DataConfig(activations=str(tmp_path / "other"))
    RunConfig(data, TrainingConfig(), {"main": config}).write(foreign, finished=True)
    with pytest.raises(QuadricError, match="the same rows"):
        build(compare=foreign)
    narrow = BilinearAutoencoder(AutoencoderConfig(d_in=5, d_sae=4))
    narrow.save_pretrained(tmp_path / "narrow")
    with pytest.raises(QuadricError, match="d_in 12 and 5"):
        build(compare=tmp_path / "narrow")
    with pytest.raises(QuadricError, match=r"3×3×1 have 9 pixels.* d_in is 12"):
        build(image_shape=(3, 3, 1))
    with pytest.raises(QuadricError, match="something else than an atlas"):
        build_atlas(run, tmp_path / "other")
    with pytest.raises(QuadricError, match="is not a run"):
        build_atlas(tmp_path / "narrow", tmp_path / "atlas")
    store = composite.parent / "x"
    store.rename(tmp_path / "moved")
    with pytest.raises(QuadricError, match="are gone or were never kept"):
        build()
    (tmp_path / "moved").rename(store)
    assert not (tmp_path / "atlas").exists()


def test_the_page_may_be_missing(
    composite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building.bundle, "BUNDLES", tmp_path / "nowhere")
    summary = build_atlas(composite, tmp_path / "atlas")
    assert "make web" in summary["page"] and validate(tmp_path / "atlas").problems == []

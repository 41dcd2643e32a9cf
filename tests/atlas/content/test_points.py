"""Rows gathered in pieces, axes filled up, windows, and histograms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quadric.activations.rows import MemoryRows
from quadric.atlas.content import points
from quadric.atlas.content.axes import Group, group_forms, latent_forms
from quadric.atlas.content.points import completed, contexts, gather, window, window_rows
from quadric.atlas.content.statistics import DEFINITIONS, by_spectrum, definitions, sampled
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.manifolds.candidates import candidates
from quadric.manifolds.files import Found
from quadric.manifolds.presence import Responses

D = 10


@pytest.fixture
def model() -> BilinearAutoencoder:
    return BilinearAutoencoder(AutoencoderConfig(d_in=D, d_sae=6, norm="none"))


def some_rows(seed: int, count: int) -> torch.Tensor:
    return torch.randn(count, D, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("room", [1, 40, 10_000])
def test_every_form_finds_its_rows_whatever_the_memory(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "BYTES", 4 * D * room)
    x = some_rows(0, 300)
    generator = torch.Generator().manual_seed(1)
    wanted = [torch.randperm(300, generator=generator)[: 5 + place] for place in range(12)]
    seen, sizes = [], []
    for some, here in gather(MemoryRows(x), wanted):
        sizes.append(len(here.rows))
        assert len(here.rows.unique()) == len(here.rows)
        for place in some:
            seen.append(place)
            assert torch.equal(here.x[here.places(wanted[place])], x[wanted[place]])
    assert seen == list(range(12))
    # One form alone may need more than there is room for.
    assert max(sizes) <= max(room, 16) and (len(sizes) == 1) == (room == 10_000)


def test_a_product_is_filled_up_with_principal_directions(model: BilinearAutoencoder) -> None:
    form = latent_forms(model, [2])[0]
    y = some_rows(3, 200) * torch.arange(1, D + 1)
    full = completed(form, y)
    assert full.axis_kind == ("eigenvector", "eigenvector", "principal")
    assert torch.allclose(full.axes @ full.axes.T, torch.eye(3), atol=1e-5)
    first = y[: points.PRINCIPAL_POINTS].double()
    centred = first - first.mean(0)
    beside = centred - (centred @ form.axes.double().T) @ form.axes.double()
    best = torch.linalg.svd(beside).Vh[0]
    assert abs(float(best @ full.axes[2].double())) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(full.values_at(y), form.values_at(y))
    assert not full.matrix[2].any() and not full.matrix[:, 2].any()
    assert completed(full, y) is full


@pytest.mark.parametrize("count", [0, 1, 5])
def test_points_that_do_not_vary_still_get_three_axes(
    model: BilinearAutoencoder, count: int
) -> None:
    full = completed(latent_forms(model, [0])[0], torch.ones(count, D))
    assert torch.allclose(full.axes @ full.axes.T, torch.eye(3), atol=1e-5)


def test_no_more_axes_than_dimensions() -> None:
    flat = BilinearAutoencoder(AutoencoderConfig(d_in=2, d_sae=3))
    full = completed(latent_forms(flat, [1])[0], some_rows(0, 30)[:, :2])
    assert full.axes.shape == (2, 2)


def test_a_dead_latent_is_a_form_too(model: BilinearAutoencoder) -> None:
    with torch.no_grad():
        model.left[4] = model.right[4] = 0
    full = completed(latent_forms(model, [4])[0], some_rows(1, 50))
    assert len(full.axes) == 3 and not full.matrix.any() and full.signature == (0, 0)
    (group,) = group_forms(model, [Group(9, (4, 1), (1.0, 2.0))])
    assert torch.isfinite(group.axes).all() and len(group.axes) == 2


@pytest.mark.parametrize("affine", [False, True])
def test_groups_begin_with_the_axes_that_were_examined(affine: bool) -> None:
    config = AutoencoderConfig(d_in=D, d_sae=8, variant="composite", block=2, affine=affine)
    model = BilinearAutoencoder(config)
    with torch.no_grad():
        model.left[2:4], model.right[2:4] = model.left[:2], 1.1 * model.right[:2]
    groups = [each for each in candidates(model) if each.kind == "group"]
    assert groups
    forms = group_forms(model, [Group(g.id, g.members, g.weights) for g in groups])
    y = some_rows(5, 40)
    for group, form in zip(groups, forms, strict=True):
        if not affine:
            assert torch.allclose(form.axes[:3], group.axes, atol=1e-4)
            assert torch.allclose(form.matrix.diagonal()[:3].float(), group.values, atol=1e-4)
        assert torch.equal(form.matrix, form.matrix.T) and form.matrix.abs().sum() > 0
        p = (y @ form.axes.T).double()
        inside = ((p @ form.matrix) * p).sum(1) + p @ form.linear + form.constant
        # Only what lies beside the axes is left out.
        on_axes = form.values_at((p @ form.axes.double()).float())
        assert torch.allclose(inside.float(), on_axes, atol=1e-3)


def test_windows_end_where_their_context_does() -> None:
    assert list(window(20, 16)) == [16, 17, 18, 19, 20, 21, 22, 23]
    assert list(window(31, 16)) == [23, 24, 25, 26, 27, 28, 29, 30, 31]
    assert list(window(25, 16)) == list(range(17, 29))
    assert list(window(7, None)) == [7]


def test_contexts_have_the_sign_that_they_say(model: BilinearAutoencoder) -> None:
    x = some_rows(2, 64)
    form = latent_forms(model, [1])[0]
    values = form.values_at(x)
    up, down = values.argsort(descending=True)[:10], values.argsort()[:10]
    wrong = torch.cat([down[:1], up])
    found = Found(up, up, 0.0, Responses(wrong, down.flip(0), up[:3], torch.arange(10)))
    shown = window_rows(found, 16, 60)
    assert int(shown.max()) < 60
    kept = Responses(*(rows[rows < 60] for rows in found.responses))
    listed = contexts(form, found._replace(responses=kept), shown, x[shown], 16)
    by_kind = {
        kind: [context.row for context in listed if context.kind == kind]
        for kind in Responses._fields
    }
    assert by_kind["most_positive"] == [row for row in up.tolist() if row < 60][:8]
    assert by_kind["most_negative"] == [row for row in down.tolist() if row < 60][:8]
    assert by_kind["random"] == list(range(8))
    for context in listed:
        there = range(context.start, context.start + len(context.values))
        assert context.values == pytest.approx(values[list(there)].tolist())


def test_histograms_of_every_kind_of_form() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(6, 500, generator=generator)
    rows[1] = rows[1].pow(5) * 1e6
    rows[2], rows[3] = 0.0, 4.0
    rows[4] = rows[4].abs() * 1e-30
    rows[5] = 1 + 1e-6 * rows[5]
    found = sampled(rows)
    assert (found.edges.diff(dim=1) > 0).all() and (found.counts.sum(1) == 500).all()
    for edges, counts, values in zip(found.edges, found.counts, rows, strict=True):
        expected, _ = np.histogram(values.numpy(), edges.numpy())
        assert counts.tolist() == expected.tolist()
    # Bars are narrow where values are small and many, and wide where they are large and few.
    widths = found.edges[1].diff()
    assert widths.min() < 1e-3 * widths.max()
    assert found.mean_square[3] == 16 and found.frequency[2] == 0
    spread = (rows[0].abs() > rows[0].square().mean().sqrt()).double().mean()
    assert found.frequency[0] == pytest.approx(float(spread), abs=0.01)


def test_definitions_are_complete_and_in_order() -> None:
    names = [each.name for each in DEFINITIONS]
    listed = definitions(reversed(names[:4]), rows=5, searched=1234)
    assert [each.name for each in listed] == names[:4]
    whole = definitions(names, rows=16_384, searched=200_000)
    assert not any("{" in each.definition for each in whole)
    assert any("16,384" in each.definition for each in whole)
    with pytest.raises(QuadricError, match="'beauty'"):
        definitions(["beauty"], rows=1, searched=1)
    found = by_spectrum([3.0, -1.0, 1.0, 1.0])
    assert found == {"effective_rank": 36 / 12, "top3_share": pytest.approx(5 / 6)}
    assert by_spectrum([0.0, 0.0]) == {"effective_rank": 0.0, "top3_share": 0.0}

"""The neighbours that an atlas lists against dense forms and subspaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from quadric.atlas.folder.reader import AtlasFolder
from quadric.autoencoders import BilinearAutoencoder
from quadric.manifolds import files
from tests.runs.tiny import rows_and_pages


def test_neighbours_of_groups_against_dense_forms(composite: Path) -> None:
    atlas = AtlasFolder(composite / "atlas")
    model = BilinearAutoencoder.load_from_disk(composite).double()
    tensor = model.tensor()
    latents = torch.stack([tensor.interaction(one) for one in torch.eye(tensor.m).double()])
    rows = {row.id: row for row, _ in rows_and_pages(atlas)}
    dense = {
        id: sum(
            weight * latents[member]
            for member, weight in zip(row.members, row.weights, strict=True)
        )
        for id, row in rows.items()
    }
    assert [measure.name for measure in atlas.manifest.measures] == ["gram", "subspace"]
    for row, page in rows_and_pages(atlas):
        own: Any = dense[row.id]
        cosines = {
            id: float((own * each).sum() / (own.norm() * each.norm()))  # type: ignore[union-attr]
            for id, each in dense.items()
            if id != row.id
        }
        listed = {near.id: near.overlap for near in page.neighbours if near.measure == 0}
        best = sorted(cosines, key=lambda id: -abs(cosines[id]))[: len(listed)]
        assert set(best) == set(listed)
        assert all(listed[id] == pytest.approx(cosines[id], abs=1e-5) for id in listed)
    group = next(row for row in rows.values() if row.kind == "group")
    table = [row["id"] for row in files.read(composite)]
    axes = dict(zip(table, files.read_axes(composite).double(), strict=True))
    page = atlas.page_of(group.id)
    near = [each for each in page.neighbours if each.measure == 1]
    assert {each.id for each in near[: len(group.members)]} == set(group.members)
    for each in near:
        if each.id >= model.d_sae:
            held = (axes[group.id] @ axes[each.id].T).square().sum() / 3
            assert each.overlap == pytest.approx(float(held), abs=1e-4)
            continue
        values, vectors = torch.linalg.eigh(latents[each.id])
        order = values.square().argsort(descending=True)
        shares = values[order].square().cumsum(0) / values.square().sum()
        rank = int((shares < 0.9).sum()) + 1
        held = (axes[group.id] @ vectors[:, order[:rank]]).square().sum() / (3 * rank) ** 0.5
        assert each.overlap == pytest.approx(float(held), abs=1e-4)

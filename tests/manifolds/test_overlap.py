"""Neighbours and participation against whole Gram matrices, in one tile and in many."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms import blocks
from quadric.manifolds.overlap import Graph, overlaps
from tests.autoencoders.test_identities import CASES, make
from tests.manifolds.test_spectra import dense


@pytest.fixture(params=[1 << 22, 100], ids=["whole", "tiles"])
def block_entries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", request.param)


def check(graph: Graph, matrix: Tensor, k: int) -> None:
    """A graph against the whole matrix it was made from."""
    powers = matrix.abs().pow(4)
    torch.testing.assert_close(graph.participation, powers.sum(1) ** 2 / powers.square().sum(1))
    others = matrix - torch.diag(matrix.diagonal())
    best = others.abs().topk(k, dim=1)
    torch.testing.assert_close(graph.values.abs(), best.values, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(others.gather(1, graph.neighbours), graph.values)
    assert not (graph.neighbours == torch.arange(len(matrix))[:, None]).any()


def subspaces(forms: Tensor) -> Tensor:
    """‖U_iᵀU_j‖²/√(r_ir_j) of the leading eigenvectors with 90 % of Σλ², one pair at a time."""
    bases = []
    for form in forms:
        values, columns = torch.linalg.eigh(form)
        order = values.abs().argsort(descending=True)
        r = 1
        while values[order[:r]].square().sum() < 0.9 * values.square().sum():
            r += 1
        bases.append(columns[:, order[:r]])
    pairs = [
        (a.T @ b).square().sum() / (a.shape[1] * b.shape[1]) ** 0.5 for a in bases for b in bases
    ]
    return torch.stack(pairs).reshape(len(bases), -1)


@pytest.mark.usefixtures("block_entries")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [3, 50])
def test_graphs_against_whole_matrices(case: tuple, k: int) -> None:
    model = make(*case)
    forms = dense(model, "latents").flatten(1)
    unit = forms / forms.norm(dim=1, keepdim=True)
    found, k = overlaps(model, k), min(k, 10)
    check(found.gram, unit @ unit.T, k)
    check(found.subspace, subspaces(dense(model, "latents")), k)
    if model.config.bottleneck is None:
        assert found.mixing is None
    else:
        columns = torch.nn.functional.normalize(model.mixing.weight.detach(), dim=0)
        check(found.mixing, columns.T @ columns, k)


def test_participation_counts_copies() -> None:
    model = make("vanilla", True, False)
    model.left.data[:4], model.right.data[:4] = model.left.data[:1], model.right.data[:1]
    model.left.data[1] *= -2
    model.left.data[9] = 0
    found = overlaps(model, 4).gram
    assert found.participation[0] == pytest.approx(4, abs=0.8)
    assert set(found.neighbours[0, :3].tolist()) == {1, 2, 3}
    assert found.values[0, found.neighbours[0].tolist().index(1)] == pytest.approx(-1)
    assert found.participation[9] == 0 and found.values[9].abs().max() == 0


def test_no_neighbours_are_refused() -> None:
    with pytest.raises(QuadricError, match="k is 0"):
        overlaps(make("vanilla", True, False), 0)

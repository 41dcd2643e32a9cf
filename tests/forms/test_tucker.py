"""The core on leading directions of both sides against projections of the written-out tensor."""

from __future__ import annotations

import pytest
import torch

from quadric import BilinearTensor, QuadricError
from quadric.forms import compress
from tests.forms.builders import SHAPES, close, noise, random_tensor, rotation
from tests.forms.test_invariances import rewritten
from tests.oracles import forms as oracle


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_are_those_of_the_unfoldings(shape):
    tensor = random_tensor(*shape)
    forms, found = oracle.matrices(tensor), compress(tensor)
    for energies, rows, unfolding in (
        (found.output_energies, found.outputs, forms.flatten(1)),
        (found.input_energies, found.inputs, forms.transpose(0, 1).flatten(1)),
    ):
        columns, singular, _ = torch.linalg.svd(unfolding)
        rank = int((singular > 1e-6 * singular[0]).sum())
        assert close(energies[:rank], singular[:rank].square(), 1e-8)
        assert energies[rank:].sum() < 1e-9 * energies.sum()
        overlap = (rows * columns.T).sum(1).abs()
        assert close(overlap[:rank], torch.ones(rank).double(), 1e-7)
        assert close(rows @ rows.T, torch.eye(len(rows)).double())
    assert close(oracle.matrices(found.tensor()), forms)
    assert abs(found.kept - 1) < 1e-10


@pytest.mark.parametrize("outputs", [1, 2, None])
@pytest.mark.parametrize("inputs", [1, 3, None])
def test_error_is_what_the_core_does_not_keep(outputs, inputs):
    tensor = random_tensor(4, 9, 5)
    forms, found = oracle.matrices(tensor), compress(tensor, outputs, inputs)
    core = torch.einsum("ko,oab,ia,jb->kij", found.outputs, forms, found.inputs, found.inputs)
    assert close(oracle.matrices(found.core), core)
    assert core.shape == (outputs or 4, inputs or 5, inputs or 5)
    rebuilt = oracle.matrices(found.tensor())
    assert close(rebuilt, torch.einsum("kij,ko,ia,jb->oab", core, found.outputs, found.inputs,
                                       found.inputs))  # fmt: skip
    error, total = (forms - rebuilt).square().sum(), forms.square().sum()
    assert abs(error / total - (1 - found.kept)) < 1e-10
    dropped = found.output_energies[outputs or 4 :].sum()
    dropped = dropped + 2 * found.input_energies[inputs or 5 :].sum()
    assert dropped / 3 <= error + 1e-9 <= dropped + 2e-9
    if (outputs, inputs) == (2, 3):  # the trailing directions keep less
        trailing = torch.linalg.eigh(tensor.input_gram()).eigenvectors[:, :3]
        worse = tensor.with_output_basis(found.outputs).with_input_basis(trailing).norm()
        assert worse**2 / total < found.kept - 0.05


def test_planted_core_is_found_and_nothing_else():
    axes, outputs = rotation(1, 7)[:3], rotation(2, 5)[:2]
    small = random_tensor(2, 6, 3)
    tensor = small.with_input_basis(axes).with_output_basis(outputs.T)
    found = compress(tensor, 2, 3)
    assert abs(found.kept - 1) < 1e-10
    assert close(found.inputs.T @ found.inputs, axes.T @ axes)
    assert close(found.outputs.T @ found.outputs, outputs.T @ outputs)
    assert compress(tensor, 2, 2).kept < 0.99
    assert compress(tensor, 1, 3).kept < 0.99


@pytest.mark.parametrize("seed", range(3))
def test_core_depends_on_the_map_alone(seed):
    tensor = random_tensor(4, 9, 5, seed)
    first, second = (compress(t, 2, 3) for t in (tensor, rewritten(tensor, seed)))
    x = noise(9, 6, 5)
    assert close(first.tensor()(x), second.tensor()(x), 1e-7)
    assert abs(first.kept - second.kept) < 1e-10
    assert close(first.input_energies, second.input_energies, 1e-8)


def test_refusals():
    tensor = random_tensor(4, 9, 5)
    with pytest.raises(QuadricError, match="inputs is 6, expected 1 to 5"):
        compress(tensor, inputs=6)
    with pytest.raises(QuadricError, match="outputs is 0, expected 1 to 4"):
        compress(tensor, outputs=0)
    with pytest.raises(QuadricError, match="the tensor is zero"):
        compress(BilinearTensor(noise(1, 4, 3), torch.zeros(4, 3).double()))

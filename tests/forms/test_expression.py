"""Tensors through chosen output directions and dictionaries, against the written-out sums."""

from __future__ import annotations

import pytest
import torch

from quadric import QuadricError
from quadric.forms import BilinearTensor, express, express_in_dictionary
from tests.forms.builders import close, noise, random_tensor
from tests.forms.test_invariances import rewritten
from tests.oracles import forms as oracle

# Fewer directions than outputs, as many, more, and fewer independent ones than there are.
REGIMES = {"fewer": 3, "square": 5, "more": 9}


def directions(regime: str, m: int = 5) -> torch.Tensor:
    return noise(20, REGIMES[regime], m)


def written_out(tensor: BilinearTensor, us: torch.Tensor) -> torch.Tensor:
    """Σ_k u⁺_k ⊗ Q_k, one direction at a time, with torch's own pseudo-inverse."""
    forms, inverse = oracle.matrices(tensor), torch.linalg.pinv(us)
    total = torch.zeros_like(forms)
    for k, u in enumerate(us):
        total += torch.einsum("o,ab->oab", inverse[:, k], torch.einsum("o,oab->ab", u, forms))
    return total


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("output_matrix", [True, False])
def test_expression_is_the_sum_over_directions(regime, output_matrix):
    tensor = random_tensor(5 if output_matrix else None, 7 if output_matrix else 5, 4)
    us = directions(regime)
    found = express(tensor, us)
    forms = oracle.matrices(tensor)
    rebuilt = oracle.matrices(found.tensor())
    assert close(rebuilt, written_out(tensor, us))
    assert found.rank == min(len(us), 5)
    assert found.spans == (regime != "fewer")
    assert close(rebuilt, forms) == found.spans
    assert close(found.outside() + 1, (forms - rebuilt).norm() + 1)
    # The forms are read back in every regime, the dual basis holds for independent directions only.
    read = torch.einsum("ko,oab->kab", us, rebuilt)
    assert close(read, torch.einsum("ko,oab->kab", us, forms))
    assert close(oracle.matrices(found.forms), read)
    dual = close(us @ found.readout, torch.eye(len(us)).double())
    assert dual == (regime != "more")
    assert close(found.projection, found.projection @ found.projection)


def test_repeated_directions_do_not_count_twice():
    tensor = random_tensor(5, 7, 4)
    us = directions("square")
    twice = torch.cat([us, us[:2], 3 * us[1:2]])
    forms = oracle.matrices(tensor)
    assert close(oracle.matrices(express(tensor, twice).tensor()), forms, 1e-9)
    orthonormal = torch.linalg.qr(us).Q
    naive = torch.einsum("ko,kp,pab->oab", orthonormal, orthonormal, forms)
    assert close(naive, forms)  # the naive sum is right for orthonormal directions only
    repeated = torch.cat([orthonormal, orthonormal[:1]])
    naive = torch.einsum("ko,kp,pab->oab", repeated, repeated, forms)
    assert not close(naive, forms, 1e-2)
    assert close(oracle.matrices(express(tensor, repeated).tensor()), forms)
    fewer = express(tensor, directions("fewer")[[0, 0, 1]])
    assert (fewer.rank, fewer.spans) == (2, False)


def test_float32_copies_that_differ_by_rounding_are_one_direction():
    tensor = random_tensor(5, 7, 4, dtype=torch.float32)
    us = directions("square").float()
    us[4] = us[0] * (1 + 1e-7)
    found = express(tensor, us)
    assert found.rank == 4
    assert found.readout.abs().max() < 100


@pytest.mark.parametrize("by", ["abs", "pos", "neg"])
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("n", [7, 1])  # dense forms, and forms of two eigenvalues
def test_truncation_drops_exactly_the_other_terms(regime, by, n):
    tensor = random_tensor(5, n, 4)
    us = directions(regime)
    found = express(tensor, us)
    inverse = torch.linalg.pinv(us)
    forms = oracle.matrices(tensor)
    x = noise(21, 50, 4)
    for k in range(5):
        kept, dropped = torch.zeros_like(forms), torch.zeros_like(forms)
        for row, u in enumerate(us):
            values, vectors = oracle.leading(torch.einsum("o,oab->ab", u, forms), by)
            alive = values.abs() > 1e-9
            values, vectors = values[alive], vectors[alive]
            terms = torch.einsum("i,o,ia,ib->ioab", values, inverse[:, row], vectors, vectors)
            kept += terms[:k].sum(0)
            dropped += terms[k:].sum(0)
        cut = found.truncate(k, by)
        assert close(oracle.matrices(cut.tensor), kept, 1e-8)
        assert abs(cut.error - dropped.norm()) < 1e-6 * forms.norm()
        whole = (forms - kept).square().sum()
        assert close(found.outside() ** 2 + cut.error**2 + 1, whole + 1, 1e-6)
        off = (found.tensor()(x) - cut.tensor(x)).abs()
        assert (off <= cut.bound * x.square().sum(1, keepdim=True) + 1e-9).all()
        pairs = found.eigenpairs(max(k, 1), by)
        assert pairs.vectors.shape == (len(us), max(k, 1), 4)


def test_bound_is_the_weighted_sum_of_the_largest_dropped_eigenvalues():
    tensor, us = random_tensor(5, 7, 4), directions("more")
    found = express(tensor, us)
    values = found.eigenpairs(4).values
    expected = torch.linalg.pinv(us).abs() @ values[:, 2].abs()
    assert close(found.truncate(2).bound, expected)
    alone = express(tensor, us[:1])
    vector = alone.eigenpairs(4).vectors[0, 2]
    off = (alone.tensor()(vector) - alone.truncate(2).tensor(vector)).abs()
    assert close(off, alone.truncate(2).bound)


@pytest.mark.parametrize("features", [3, 5, 9])
def test_dictionary_codes_are_the_shortest_and_their_read_out_the_projection(features):
    tensor, dictionary = random_tensor(5, 7, 4), noise(30, 5, features)
    found = express_in_dictionary(tensor, dictionary)
    x = noise(31, 6, 4)
    outputs = oracle.values(oracle.matrices(tensor), x)
    codes = found.forms(x)
    assert close(codes, outputs @ torch.linalg.pinv(dictionary).T)
    projection = dictionary @ torch.linalg.pinv(dictionary)
    assert close(found.projection, projection)
    assert close(found.projection, found.projection.T)
    assert close(found.tensor()(x), outputs @ projection.T)
    assert close(found.tensor()(x), outputs) == (features >= 5) == found.spans
    # Codes moved by what the dictionary does not see read out the same and are longer.
    if features > 5:
        unseen = torch.linalg.svd(dictionary).Vh[5:]
        other = codes + noise(32, 6, features - 5) @ unseen
        assert close(other @ dictionary.T, codes @ dictionary.T)
        assert (other.norm(dim=1) > codes.norm(dim=1)).all()


def test_dictionary_is_the_expression_in_its_pseudo_inverse():
    tensor, dictionary = random_tensor(5, 7, 4), noise(30, 5, 3)
    by_features = express_in_dictionary(tensor, dictionary)
    by_directions = express(tensor, torch.linalg.pinv(dictionary))
    assert close(by_directions.readout, dictionary)
    assert close(by_features.directions, by_directions.directions)
    # Reading with the features themselves, as if they were the encoder, is another map.
    assert not close(by_features.forms.gram(), express(tensor, dictionary.T).forms.gram(), 1e-2)


def test_folded_tensor_is_expressed_with_its_constant():
    tensor = random_tensor(5, 7, 4)
    folded = tensor.fold_bias(noise(1, 7), noise(2, 7), noise(3, 5))
    found = express(folded, directions("more"))
    assert close(oracle.matrices(found.tensor()), oracle.matrices(folded), 1e-9)
    assert close(found.tensor().parts().constant, folded.parts().constant)


@pytest.mark.parametrize("seed", range(3))
def test_expression_depends_on_the_map_alone(seed):
    tensor, us, x = random_tensor(5, 7, 4, seed), directions("fewer"), noise(33, 6, 4)
    first, second = (express(t, us) for t in (tensor, rewritten(tensor, seed)))
    assert close(first.tensor()(x), second.tensor()(x))
    assert close(first.outside(), second.outside())
    cuts = first.truncate(2), second.truncate(2)
    assert close(cuts[0].tensor(x), cuts[1].tensor(x), 1e-8)
    assert close(cuts[0].error, cuts[1].error, 1e-8)
    assert close(cuts[0].bound, cuts[1].bound)


def test_refusals():
    tensor = random_tensor(5, 7, 4)
    with pytest.raises(QuadricError, match=r"directions has shape \(5, 3\), expected \(q, 5\)"):
        express(tensor, noise(1, 5, 3))
    with pytest.raises(QuadricError, match=r"dictionary has shape \(3, 5\), expected \(5, q\)"):
        express_in_dictionary(tensor, noise(1, 3, 5))
    with pytest.raises(QuadricError, match="directions holds NaN"):
        express(tensor, torch.full((2, 5), torch.nan))
    with pytest.raises(QuadricError, match="k is 5, expected 0 to 4"):
        express(tensor, noise(1, 3, 5)).truncate(5)

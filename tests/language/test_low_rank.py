"""Low-rank correlations: 1 at full rank, against numpy otherwise, and mutants at full rank."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quadric import QuadricError
from quadric.forms import lift
from quadric.language import CorrelationSums, LowRank, OutputDictionary, leading_terms
from quadric.layers import GatedLayer
from tests.forms.builders import close, noise
from tests.oracles import forms as oracle

D, N, M, Q, T = 6, 13, 4, 9, 400


def made(seed: int = 0, **config: object) -> GatedLayer:
    layer = GatedLayer(D, N, M, **config).double()
    for place, parameter in enumerate(layer.parameters()):
        parameter.data = noise(100 * seed + place, *parameter.shape)
    return layer


OUTPUTS = OutputDictionary(noise(33, Q, M), noise(34, Q), noise(35, M))
X = noise(51, T, D) * torch.exp(0.3 * noise(52, T, 1)) + 0.4


def measured(layer: GatedLayer, x: torch.Tensor = X) -> torch.Tensor:
    with torch.no_grad():
        return (layer(x) - OUTPUTS.centre) @ OUTPUTS.encoder.T + OUTPUTS.bias


def kept(y: torch.Tensor, k: int = 3) -> torch.Tensor:
    """The k largest of every token, whatever their sign."""
    chosen = torch.zeros(y.shape, dtype=torch.bool)
    return chosen.scatter(1, y.topk(k, dim=1).indices, True)


def summed(approximation: LowRank, x, y, mask, sizes=(T,), **config) -> CorrelationSums:
    sums = CorrelationSums(approximation, **config)
    for some in zip(*(part.split(list(sizes)) for part in (x, y, mask)), strict=True):
        sums.update(*some)
    return sums


@pytest.mark.parametrize("config", [{}, {"bias": True}, {"bias": True, "out_bias": True}])
def test_every_rank_is_the_cut_form(config):
    layer = made(**config)
    tensor = layer.tensor()
    x = lift(X) if layer.lifted else X
    forms = torch.einsum("qm,mab->qab", OUTPUTS.encoder, oracle.matrices(tensor))
    offset = OUTPUTS.bias - OUTPUTS.encoder @ OUTPUTS.centre
    approximation = leading_terms(layer, OUTPUTS, tensor.d)
    found = approximation(X)
    assert found.shape == (T, Q, tensor.d)
    for a in range(Q):
        values, vectors = oracle.leading(forms[a], "abs")
        for k in range(1, tensor.d + 1):
            cut = torch.einsum("i,ia,ib->ab", values[:k], vectors[:k], vectors[:k])
            assert close(found[:, a, k - 1], offset[a] + oracle.values(cut[None], x)[:, 0], 1e-9)
    assert close(found[..., -1], measured(layer))
    assert close(approximation(X, slice(2, 5)), found[:, 2:5])


@pytest.mark.parametrize("config", [{}, {"bias": True}, {"bias": True, "out_bias": True}])
def test_full_rank_correlations_are_one(config):
    layer = made(**config)
    y = measured(layer)
    mask = kept(y)
    approximation = leading_terms(layer, OUTPUTS, D + layer.lifted)
    sums = summed(approximation, X, y, mask, (1, 0, 150, 249))
    for fit in (sums.active(), sums.everywhere()):
        enough = fit.tokens > 2
        assert int(enough.sum()) >= 5
        for part in (fit.pearson, fit.r2, fit.slope):
            assert (part[enough, -1] - 1).abs().max() < 1e-6
        assert float(fit.pearson[enough, 0].min()) < 0.99
    assert sums.active().tokens.tolist() == mask.sum(0).tolist()
    assert sums.everywhere().tokens.tolist() == [T] * Q


def test_all_figures_are_those_of_numpy_whatever_the_batches():
    layer = made()
    y, shift = measured(layer), 1e6  # a mean a million times the spread: sums must be centred
    y = y + shift
    mask = kept(y)
    approximation = leading_terms(layer, OUTPUTS, 4)
    approximation = LowRank(
        approximation.values, approximation.vectors, approximation.offset + shift, False
    )
    fits = approximation(X).numpy()
    for sizes in ((T,), (1, 7, 92, 300), (200, 200)):
        sums = summed(approximation, X, y, mask, sizes)
        for fit, rows in ((sums.active(), mask), (sums.everywhere(), torch.ones_like(mask))):
            for a in range(Q):
                truth = y[rows[:, a], a].numpy()
                for k in range(4):
                    guess = fits[rows[:, a].numpy(), a, k]
                    expected = np.corrcoef(guess, truth)[0, 1]
                    missed = np.square(truth - guess).sum() / np.square(truth - truth.mean()).sum()
                    slope = np.polyfit(guess - guess.mean(), truth, 1)[0]
                    assert abs(float(fit.pearson[a, k]) - expected) < 1e-7
                    assert float(fit.r2[a, k]) == pytest.approx(1 - missed, abs=1e-6)
                    assert float(fit.slope[a, k]) == pytest.approx(slope, rel=1e-6)


def test_mutants_fall_short_of_one():
    layer = made()
    y = measured(layer)
    mask = kept(y)
    right = leading_terms(layer, OUTPUTS, D)
    forms = torch.einsum("qm,mab->qab", OUTPUTS.encoder, oracle.unsymmetrised(layer.tensor()))
    lower = torch.linalg.eigh(forms)  # reads one triangle of an unsymmetric form
    decoder = torch.linalg.pinv(OUTPUTS.encoder).T.contiguous()
    w = layer.left.weight.detach()
    twice = GatedLayer(D, N, M).double()
    twice.left.weight.data, twice.right.weight.data, twice.out = w, w, layer.out
    mutants = {
        "not symmetrised": LowRank(lower[0], lower[1].mT.contiguous(), right.offset, False),
        "decoder for encoder": leading_terms(layer, OutputDictionary(decoder), D),
        "left twice": leading_terms(twice, OUTPUTS, D),
        "vectors' order reversed": LowRank(
            right.values, right.vectors.flip(1), right.offset, False
        ),
    }
    cases = {name: (mutant, X) for name, mutant in mutants.items()}
    cases["another token's input"] = (right, X.roll(1, 0))
    for name, (approximation, x) in cases.items():
        sums = summed(approximation, x, y, mask)
        assert float(sums.everywhere().pearson[:, -1].min()) < 0.98, name
        assert float(sums.active().pearson[sums.active().tokens > 9, -1].min()) < 0.98, name
    halved = LowRank(right.values / 2, right.vectors, right.offset, False)
    fit = summed(halved, X, y, mask).everywhere()  # correlation cannot see a wrong ½
    assert torch.allclose(fit.slope[:, -1], torch.tensor(2.0).double())
    assert float(fit.r2[:, -1].max()) < 0.99


def test_the_largest_terms_come_first():
    approximation = leading_terms(made(), OUTPUTS, D)
    sizes = approximation.values.abs()
    assert bool((sizes[:, :-1] >= sizes[:, 1:]).all())
    reversed_ = LowRank(
        approximation.values.flip(1), approximation.vectors.flip(1), approximation.offset, False
    )
    y = measured(made())
    first, last = (
        float(summed(order, X, y, kept(y)).everywhere().pearson[:, 0].mean())
        for order in (approximation, reversed_)
    )
    assert first > last + 0.3


def test_the_null_keeps_the_spectrum_and_loses_the_directions():
    layer = made()
    approximation = leading_terms(layer, OUTPUTS, 3)
    null = approximation.rotated(seed=4)
    assert close(null.values, approximation.values, 0)
    frames = null.vectors @ null.vectors.mT
    assert close(frames, torch.eye(3, dtype=torch.float64).expand(Q, 3, 3))
    assert not close(null.vectors[0], null.vectors[1], 0.1)
    assert close(null.vectors, approximation.rotated(seed=4).vectors, 0)
    y = measured(layer)
    true, lost = (
        float(summed(a, X, y, kept(y)).everywhere().pearson[:, -1].mean())
        for a in (approximation, null)
    )
    assert true > 0.8 > lost + 0.3


def test_undefined_correlations_and_summaries():
    layer = made()
    y = measured(layer)
    mask = torch.zeros(T, Q, dtype=torch.bool)
    for a, count in enumerate((0, 1, 2, 5, 12, 60, 100, 399, 400)):
        mask[:count, a] = True
    sums = summed(leading_terms(layer, OUTPUTS, D), X, y, mask, (3, 397), everywhere=False)
    fit = sums.active()
    assert fit.tokens.tolist() == [0, 1, 2, 5, 12, 60, 100, 399, 400]
    assert fit.pearson[:2].isnan().all()
    assert not fit.pearson[2:].isnan().any()
    rows = sums.summaries(1, minima=(1, 10, 100, 1000))
    assert [row.features for row in rows] == [7, 5, 3, 0]
    often = fit.pearson[4:, 0].numpy()
    assert ((often > 0.4) & (often < 0.75)).any()
    assert (often > 0.75).any()
    assert rows[1].mean == pytest.approx(often.mean())
    assert rows[1].median == pytest.approx(np.median(often))
    assert rows[1].high == pytest.approx((often > 0.75).mean())
    assert np.isnan(rows[3].mean)
    with pytest.raises(QuadricError, match="everywhere=True"):
        sums.everywhere()
    with pytest.raises(QuadricError, match="rank is 7, expected 1 to 6"):
        sums.summaries(7)


def test_float32_activations_still_give_one():
    layer = made()
    y = measured(layer)
    approximation = leading_terms(layer.float(), OUTPUTS, D)
    assert approximation.vectors.dtype == torch.float32
    fit = summed(approximation, X.float(), y.float(), kept(y)).active()
    assert (fit.pearson[fit.tokens > 2, -1] - 1).abs().max() < 1e-6


def test_bad_input_is_named_and_changes_nothing():
    layer = made()
    y = measured(layer)
    mask = kept(y)
    sums = CorrelationSums(leading_terms(layer, OUTPUTS, 2))
    broken = X.clone()
    broken[7, 1] = torch.nan
    cases = [
        (broken, y, mask, "x holds NaN or infinity"),
        (X, y / 0, mask, "y holds NaN or infinity"),
        (X[:, :5], y, mask, r"x has shape \(400, 5\), expected \(tokens, 6\)"),
        (X, y[:, :8], mask, r"y has shape \(400, 8\), expected \(400, 9\)"),
        (X, y, mask[:9], r"kept has shape \(9, 9\), expected \(400, 9\)"),
        (X, y, mask.long(), r"kept is torch\.int64, expected torch\.bool"),
    ]
    for *tokens, message in cases:
        with pytest.raises(QuadricError, match=message):
            sums.update(*tokens)
    assert not sums.active().tokens.any()
    assert not sums.everywhere().tokens.any()
    with pytest.raises(QuadricError, match="k is 7, expected 1 to 6"):
        leading_terms(layer, OUTPUTS, 7)
    with pytest.raises(QuadricError, match=r"encoder has shape \(9, 6\), but the layer has 4"):
        leading_terms(layer, OutputDictionary(noise(1, Q, D)), 2)

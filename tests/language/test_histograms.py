"""Self- and cross-interactions: every number beside a loop, and the null's own law."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quadric import BilinearTensor, QuadricError
from quadric.language import (
    InputDictionary,
    OutputDictionary,
    interaction_histograms,
    interactions_between,
)
from quadric.language.histograms import matched_null
from tests.forms.builders import close, noise, random_tensor

P, D, Q = 29, 6, 5


def made(tensor: BilinearTensor | None = None, p: int = P):
    tensor = random_tensor(4, 9, D) if tensor is None else tensor
    return interactions_between(
        tensor,
        InputDictionary(noise(11, p, D), noise(12, D)),
        OutputDictionary(noise(13, Q, 4), noise(14, Q)),
    )


@pytest.mark.parametrize("entries", [None, 2 * P])
def test_counts_and_moments_are_those_of_all_interactions(monkeypatch, entries):
    if entries:
        monkeypatch.setattr("quadric.forms.blocks.BLOCK_ENTRIES", entries)
    found = made()
    shown = interaction_histograms(found, 3, bins=17, seed=2)
    block = found.block([3], range(P), range(P))[0].numpy()
    upper = np.triu_indices(P, 1)
    decoder = found.basis[:-1, :-1]
    null = (decoder @ matched_null(found.form(3)[:-1, :-1], 2) @ decoder.T).numpy()
    truth = [np.diag(block), 2 * block[upper], np.diag(null), 2 * null[upper]]
    edges = shown.edges.numpy()
    assert edges[-1] == pytest.approx(max(np.abs(values).max() for values in truth))
    assert np.allclose(edges, -edges[::-1])
    for histogram, values in zip(shown[1:5], truth, strict=True):
        inside = np.clip(values, edges[0], edges[-1])  # the largest may differ by rounding
        assert histogram.counts.tolist() == np.histogram(inside, edges)[0].tolist()
        assert histogram.mean == pytest.approx(values.mean())
        assert histogram.std == pytest.approx(values.std())
        assert histogram.largest == pytest.approx(np.abs(values).max())
    assert shown.outside == (np.abs(truth[1]) > np.abs(truth[3]).max()).sum()


def test_the_null_has_the_forms_norm_and_wigners_spectrum():
    form = torch.diag(torch.arange(1.0, 401.0).double())
    null = matched_null(form, 5)
    assert close(null, null.T, 0)
    assert float(null.norm()) == pytest.approx(float(form.norm()))
    values = torch.linalg.eigvalsh(null) / null.norm() * 400**0.5
    # The semicircle on [−2, 2]: E λ⁴ = 2 for E λ² = 1.
    assert float(values.pow(4).mean()) == pytest.approx(2, rel=0.03)
    assert float(values.abs().max()) == pytest.approx(2, rel=0.05)
    diagonal, off = null.diagonal().std(), null[tuple(torch.triu_indices(400, 400, 1))].std()
    assert float(diagonal / off) == pytest.approx(2**0.5, rel=0.1)
    assert not close(null, matched_null(form, 6), 0.1)


def test_a_planted_pair_lies_outside_its_null_and_noise_does_not():
    p, d = 300, 40
    decoder = torch.nn.functional.normalize(noise(1, p, d), dim=1)
    left, right = noise(2, 200, d), noise(3, 200, d)
    out = torch.full((2, 200), 0.02).double() * noise(4, 2, 200)
    # Feature 0: noise alone. Feature 1: the same and one product of features 7 and 91.
    left[0], right[0], out[:, 0] = decoder[7], decoder[91], torch.tensor([0.0, 6.0])
    found = interactions_between(
        BilinearTensor(left, right, out), InputDictionary(decoder),
        OutputDictionary(torch.eye(2).double()),
    )  # fmt: skip
    noisy, planted = (interaction_histograms(found, a) for a in range(2))
    assert noisy.cross.std == pytest.approx(noisy.null_cross.std, rel=0.1)
    assert noisy.cross.largest < 1.5 * noisy.null_cross.largest
    assert planted.outside >= 1
    assert planted.cross.largest > 2 * planted.null_cross.largest
    assert int(planted.cross.counts.sum()) == p * (p - 1) // 2
    assert int(planted.self_.counts.sum()) == p


def test_zero_forms_and_bad_questions():
    empty = BilinearTensor(*(torch.zeros(3, D).double() for _ in "WV"), noise(1, 4, 3))
    shown = interaction_histograms(made(empty), 0, bins=3)
    assert shown.cross.counts.tolist() == [0, P * (P - 1) // 2, 0]
    assert (shown.cross.std, shown.outside) == (0, 0)
    with pytest.raises(QuadricError, match="bins is 0"):
        interaction_histograms(made(), 0, bins=0)
    with pytest.raises(QuadricError, match="output: no feature 5, expected 0 to 4"):
        interaction_histograms(made(), 5)
    with pytest.raises(QuadricError, match="one input feature has no cross"):
        interaction_histograms(made(p=1), 0)

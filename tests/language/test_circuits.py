"""Circuits: a planted AND comes out first, its arms are its inputs, and ties with the algebra."""

from __future__ import annotations

import pytest
import torch

from quadric import BilinearTensor, QuadricError
from quadric.language import (
    InputDictionary,
    OutputDictionary,
    circuit_geometry,
    find_circuits,
    interactions_between,
)
from quadric.layers import GatedLayer
from tests.forms.builders import close, noise, rotation
from tests.oracles import forms as oracle

D, N, M, P, Q = 24, 90, 32, 77, 41
WEIGHT, FEATURE = 1.3, 17
NEGATION, SENTIMENT = 5, 60


def planted(seed: int) -> tuple[BilinearTensor, InputDictionary, OutputDictionary]:
    """c(n·x)(s·x) behind output feature 17, in noise neurons, rotated, with overcomplete features.

    The noise is as strong in every other output feature, but of many neurons.
    """
    turn = rotation(seed, D)
    left, right = noise(seed + 1, N, D) / D**0.5, noise(seed + 2, N, D) / D**0.5
    left[0], right[0] = turn[0], turn[1]
    shuffle = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    scales = torch.exp(noise(seed + 3, N, 1))  # w → sw, v → v/s changes nothing
    encoder = torch.nn.functional.normalize(noise(seed + 4, Q, M), dim=1)
    out = 0.35 * noise(seed + 5, M, N) / N**0.5
    out[:, 0] = 0
    # Feature 17's direction gets the circuit; the others see it by their overlap with it.
    out[:, 0] = WEIGHT * encoder[FEATURE]
    tensor = BilinearTensor((left * scales)[shuffle], (right / scales)[shuffle], out[:, shuffle])
    decoder = torch.nn.functional.normalize(noise(seed + 6, P, D), dim=1)
    decoder[NEGATION], decoder[SENTIMENT] = turn[0], turn[1]
    return tensor, InputDictionary(decoder), OutputDictionary(encoder)


@pytest.mark.parametrize("by", ["gap", "strength"])
@pytest.mark.parametrize("seed", [0, 100, 200, 300])
def test_the_planted_circuit_comes_first(seed, by):
    tensor, inputs, outputs = planted(seed)
    found = find_circuits(tensor, outputs, count=5, by=by)
    first = found[0]
    assert first.feature == FEATURE
    assert getattr(first, by) > 1.5 * getattr(found[1], by)
    assert abs(first.positive - WEIGHT / 2) < 0.15
    assert abs(first.negative + WEIGHT / 2) < 0.15
    assert first.rest < 0.35
    shown = circuit_geometry(first, inputs, count=6)
    assert {*shown.features[:2].tolist()} == {NEGATION, SENTIMENT}
    assert shown.arm[0] != shown.arm[1]
    assert float(shown.arms[:2].abs().amax(1).min()) > 0.9
    assert float(shown.cosines[:2].abs().min()) > 0.55  # both eigenvectors, near 1/√2
    assert float(shown.pairs[0, 1].abs()) > 0.85 * WEIGHT / 2
    assert float(shown.pairs.diagonal()[:2].abs().max()) < 0.15


@pytest.mark.parametrize("by", ["gap", "strength"])
def test_a_strong_square_of_one_direction_is_no_circuit_by_gap(by):
    tensor, _, outputs = planted(0)
    strong = 4 * noise(9, 1, D) / D**0.5
    dual = torch.linalg.pinv(outputs.encoder[[3, FEATURE]])[:, 0]  # seen by feature 3, not by 17
    louder = BilinearTensor(
        torch.cat([tensor.left, strong]),
        torch.cat([tensor.right, strong]),
        torch.cat([tensor.out, dual[:, None]], dim=1),
    )
    first = find_circuits(louder, outputs, count=1, by=by)[0]
    assert (first.feature == FEATURE) == (by == "gap")
    if by == "strength":
        assert first.balance > 0.9


def test_the_pure_neuron_is_exact():
    turn = rotation(3, D)
    neuron = BilinearTensor(turn[:1], turn[1:2], torch.tensor([[0.0], [WEIGHT]]).double())
    encoder = torch.eye(2, dtype=torch.float64)
    first, unread = find_circuits(neuron, OutputDictionary(encoder), count=2)
    assert (first.feature, unread.feature) == (1, 0)
    assert first.positive == pytest.approx(WEIGHT / 2)
    assert first.negative == pytest.approx(-WEIGHT / 2)
    assert first.rest == pytest.approx(0, abs=1e-12)
    assert first.gap == pytest.approx(WEIGHT / 2)
    assert first.balance == pytest.approx(0, abs=1e-12)
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double() / 2**0.5
    for vector, sign in zip(first.vectors, signs, strict=True):
        assert float((vector @ (sign @ turn[:2])).abs()) == pytest.approx(1)
    assert close((first.arms @ turn[:2].T).abs().sort().values.flatten(),
                 torch.tensor([0.0, 1, 0, 1]).double())  # fmt: skip
    assert (unread.positive, unread.negative, unread.strength, unread.balance) == (0, 0, 0, 0)
    assert not unread.vectors.any()
    assert not unread.arms.any()
    shown = circuit_geometry(first, InputDictionary(turn[:3]), count=3)
    expected = torch.zeros(3, 3).double()
    expected[0, 1] = expected[1, 0] = WEIGHT / 2
    places = shown.features
    assert torch.allclose(shown.pairs, expected[places][:, places], atol=1e-12)
    alone, both = turn[1], turn[0] + turn[1]
    assert float(neuron(alone)[1]) == pytest.approx(0, abs=1e-12)
    assert float(neuron(both)[1]) == pytest.approx(WEIGHT)


def test_arms_multiply_to_the_two_eigen_terms_and_forms_are_symmetrised():
    tensor, _, outputs = planted(0)
    forms = torch.einsum("qm,mab->qab", outputs.encoder, oracle.matrices(tensor))
    x = noise(8, 50, D)
    found = find_circuits(tensor, outputs, count=Q)
    assert sorted(circuit.feature for circuit in found) == list(range(Q))
    gaps = [circuit.gap for circuit in found]
    assert gaps == sorted(gaps, reverse=True)
    raw = torch.einsum("qm,mab->qab", outputs.encoder, oracle.unsymmetrised(tensor))
    for circuit in found:
        values, vectors = oracle.leading(forms[circuit.feature], "pos")
        assert circuit.positive == pytest.approx(float(values[0]))
        assert circuit.negative == pytest.approx(float(values[-1]))
        assert circuit.rest == pytest.approx(max(float(values[1]), -float(values[-2])))
        assert abs(float(circuit.vectors[0] @ vectors[0])) == pytest.approx(1)
        assert abs(float(circuit.vectors[1] @ vectors[-1])) == pytest.approx(1)
        one, other = (x @ circuit.arms.T).unbind(1)
        pair = (x @ circuit.vectors.T).square() @ x.new_tensor([circuit.positive, circuit.negative])
        assert close(circuit.strength * one * other, pair)
        assert float(circuit.arms[0] @ circuit.arms[1]) == pytest.approx(circuit.balance)
        assert close(circuit.arms.norm(dim=1), torch.ones(2).double())
        # One triangle of the unsymmetrised matrix, which eigvalsh would read, is something else.
        wrong = torch.linalg.eigvalsh(raw[circuit.feature])
        assert abs(float(wrong[-1]) - circuit.positive) > 1e-4


def test_the_pairs_share_is_the_interaction_of_the_two_term_form():
    tensor, inputs, outputs = planted(0)
    first = find_circuits(tensor, outputs, count=1)[0]
    shown = circuit_geometry(first, inputs, count=P)
    plus, minus = first.vectors
    pair = BilinearTensor(
        torch.stack([first.positive * plus, first.negative * minus]), torch.stack([plus, minus]),
        torch.ones(1, 2).double(),
    )  # fmt: skip
    block = interactions_between(
        pair, inputs, OutputDictionary(torch.ones(1, 1).double())
    ).block([0], shown.features, shown.features)  # fmt: skip
    assert close(shown.pairs, block[0])
    unit = torch.nn.functional.normalize(inputs.decoder, dim=1)[shown.features]
    assert close(shown.cosines, unit @ first.vectors.T)
    assert close(shown.arms, unit @ first.arms.T)
    nearness = shown.arms.abs().amax(1)
    assert bool((nearness[:-1] >= nearness[1:]).all())


def test_a_feature_that_reads_nothing_comes_last():
    tensor, _, outputs = planted(0)
    encoder = outputs.encoder.clone()
    encoder[30] = 0
    found = find_circuits(tensor, OutputDictionary(encoder), count=Q)
    assert min(circuit.gap for circuit in found) < 0
    assert found[-1].feature == 30
    assert found[-1].gap == 0


def test_biases_play_no_part():
    tensor, _, outputs = planted(0)
    layer = GatedLayer(D, N, M, bias=True, out_bias=True).double()
    for place, parameter in enumerate(layer.parameters()):
        parameter.data = noise(70 + place, *parameter.shape)
    layer.left.weight.data, layer.right.weight.data = tensor.left, tensor.right
    layer.out.weight.data = tensor.out
    plain, biased = (find_circuits(each, outputs, count=3) for each in (tensor, layer))
    for one, other in zip(plain, biased, strict=True):
        assert one.feature == other.feature
        assert one.gap == pytest.approx(other.gap)
        assert close(one.vectors, other.vectors, 1e-8)


def test_bad_questions_are_named():
    tensor, inputs, outputs = planted(0)
    with pytest.raises(QuadricError, match="count is 42, expected 1 to 41"):
        find_circuits(tensor, outputs, count=42)
    with pytest.raises(QuadricError, match=r"by is .strenght.*did you mean .strength."):
        find_circuits(tensor, outputs, by="strenght")
    with pytest.raises(QuadricError, match=r"encoder has shape \(41, 24\).*32 outputs"):
        find_circuits(tensor, OutputDictionary(noise(1, Q, D)))
    first = find_circuits(tensor, outputs, count=1)[0]
    with pytest.raises(QuadricError, match=r"decoder has shape \(24, 77\).*transposed"):
        circuit_geometry(first, InputDictionary(inputs.decoder.T))
    with pytest.raises(QuadricError, match="count is 78, expected 1 to 77"):
        circuit_geometry(first, inputs, count=78)

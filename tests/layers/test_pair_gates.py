"""The toy task: exact layers of all pairs, learnt ones, and what is not unique about them."""

from __future__ import annotations

import pytest
import torch

from quadric import QuadricError
from quadric.layers.boolean import GATES
from quadric.layers.pair_gates import PairTask, exact, forms, learn, read

TASK = PairTask(inputs=4, hidden=9)


@pytest.mark.parametrize("gate", GATES)
def test_exact_layers_answer_all_pairs(gate):
    task = PairTask(inputs=4)
    bits, chances = task.examples()
    expected = [
        [float(GATES[gate][int(2 * x[i] + x[j])]) for i, j in task.pairs] for x in bits.tolist()
    ]
    assert torch.equal(task.targets(gate), torch.tensor(expected))
    assert torch.equal(exact(gate, 4)(bits), torch.tensor(expected))
    assert chances.sum().item() == pytest.approx(1, abs=1e-6)
    assert chances[0].item() == pytest.approx(0.7**4, abs=1e-6)


@pytest.mark.parametrize("gate", ["and", "or", "xor", "x and not y"])
def test_exact_forms_are_those_of_any_layer_without_biases_that_fits(gate):
    found = forms(gate, 4)
    bits, _ = TASK.examples()
    values = torch.einsum("kab,ea,eb->ek", found, bits.double(), bits.double())
    assert torch.equal(values, TASK.targets(gate).double())
    assert torch.equal(found, found.mT)


def test_learnt_gates_without_biases_are_their_unique_forms():
    gates = ["and", "xor", "x and not y"]
    for gate, layers in zip(gates, learn(gates, TASK, range(2)), strict=True):
        truth = forms(gate, 4)
        for layer in layers:
            found = read(layer)
            assert (found.forms - truth).abs().max() < 0.05, gate
            assert not found.linear.any()
            # Mutants: the form with a gate's ½ forgotten, another gate's, another pair's.
            assert (2 * found.forms - truth).abs().max() > 0.4
            assert (found.forms - truth.roll(1, 0)).abs().max() > 0.4
    and_forms = forms("and", 4)
    assert and_forms.unique().tolist() == [0, 0.5]


def test_fewer_products_than_outputs_cannot_be_exact():
    (found,) = learn(["and"], PairTask(inputs=4, hidden=3), [0])
    assert (read(found[0]).forms - forms("and", 4)).abs().max() > 0.2


def test_what_is_probable_is_learnt_first():
    """Where products are too few to fit all, each layer is the better one on its own inputs."""
    tasks = [PairTask(inputs=4, hidden=3, active=share, steps=400) for share in (0.2, 0.8)]
    layers = [learn(["and"], task, [0])[0][0] for task in tasks]
    for own, task in enumerate(tasks):
        bits, chances = task.examples()
        errors = [
            (layer(bits) - task.targets("and")).square().mean(1) @ chances for layer in layers
        ]
        assert errors[own] < errors[1 - own]


def test_learnt_gates_with_biases_fit_and_hold_a_constant_only_where_it_must_be():
    """On {0,1} the value at 0 is the constant; on {−1,1} squares do in its place."""
    zero_one = PairTask(inputs=4, hidden=9, bias=True)
    (layers,) = learn(["xnor"], zero_one, [0])
    bits, _ = zero_one.examples()
    assert (layers[0](bits) - zero_one.targets("xnor")).abs().max() < 0.1
    found = read(layers[0])
    assert (found.constant - 1).abs().max() < 0.05
    places = torch.tensor(zero_one.pairs)
    total = found.linear + found.forms.diagonal(dim1=1, dim2=2)
    assert (total.gather(1, places) + 1).abs().max() < 0.1  # xnor is 1 − x − y + 2xy
    signed = PairTask(inputs=4, hidden=9, bias=True, low=-1)
    (layers,) = learn(["xnor"], signed, [0])
    found = read(layers[0])
    constant = found.constant + found.forms.diagonal(dim1=1, dim2=2).sum(1)
    assert (constant - 0.5).abs().max() < 0.05  # (1 + xy)/2
    assert set(signed.encode(bits).unique().tolist()) == {-1, 1}


def test_training_side_by_side_changes_nothing():
    task = PairTask(inputs=3, hidden=4, bias=True, steps=20)
    together = learn(["or", "nor"], task, [3, 4])
    alone = learn(["nor"], task, [4])[0][0]
    for name, weight in alone.state_dict().items():
        assert torch.allclose(together[1][1].state_dict()[name], weight, atol=1e-6), name
        assert not torch.allclose(together[0][1].state_dict()[name], weight, atol=1e-3)


def test_reading_a_layer_gives_back_what_it_computes():
    layer = exact("or", 3).double()
    x = torch.tensor([[0.3, -1.2, 2.0]]).double()
    form, linear, constant = read(layer)
    value = torch.einsum("kab,ea,eb->ek", form, x, x) + x @ linear.mT + constant
    assert torch.allclose(value, layer(x), atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PairTask(inputs=1), "inputs is 1, expected 2 to 10"),
        (lambda: PairTask(inputs=11), "inputs is 11"),
        (lambda: PairTask(hidden=0), "hidden is 0"),
        (lambda: PairTask(low=0.5), "low is 0.5, expected 0 or -1"),
        (lambda: PairTask(active=1), "active is 1"),
        (lambda: PairTask(lr=0), "lr is 0"),
        (lambda: forms("nor", 3), "NOR is 1 where all inputs are 0"),
        (lambda: learn(["nandy"], TASK, [0]), "no gate 'nandy'"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(QuadricError, match=message):
        call()

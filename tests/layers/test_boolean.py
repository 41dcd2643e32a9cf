"""Boolean functions as layers: all of them, what cannot be, and what the terms are."""

from __future__ import annotations

from itertools import combinations, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric import QuadricError
from quadric.layers.boolean import GATES, boolean_layer, multilinear
from quadric.layers.layer import GatedLayer

PYTHON = {gate: gate for gate in GATES if "x" in gate.split() or "y" in gate.split()} | {
    "false": "False", "true": "True", "and": "x and y", "or": "x or y", "xor": "x != y",
    "nand": "not (x and y)", "nor": "not (x or y)", "xnor": "x == y",
}  # fmt: skip
"""What each name means, as Python says it."""


def bits(n: int) -> torch.Tensor:
    return torch.tensor(list(product((0.0, 1.0), repeat=n)), dtype=torch.float64)


def truth(gate: str) -> torch.Tensor:
    return torch.tensor(
        [float(eval(PYTHON[gate], {"x": x > 0, "y": y > 0})) for x, y in bits(2)]
    ).double()


def test_there_are_all_sixteen_gates():
    assert sorted(GATES.values()) == list(product((0, 1), repeat=4))
    assert GATES.keys() == PYTHON.keys()


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_is_one_product_with_biases(gate):
    layer = boolean_layer(gate, dtype=torch.float64)
    assert layer.left.out_features == 1
    assert torch.equal(layer(bits(2))[:, 0], truth(gate))
    assert torch.equal(boolean_layer(gate)(bits(2).float())[:, 0], truth(gate).float())


@pytest.mark.parametrize("gate", GATES)
def test_without_biases_exactly_the_gates_that_are_0_at_0_exist(gate):
    if truth(gate)[0]:
        with pytest.raises(QuadricError, match="without biases is 0 there") as refusal:
            boolean_layer(gate, bias=False)
        assert "\n" not in str(refusal.value)
        return
    layer = boolean_layer(gate, bias=False, dtype=torch.float64)
    assert not layer.lifted
    assert torch.equal(layer(bits(2))[:, 0], truth(gate))


def test_eight_gates_cannot_be_learnt_without_biases_either():
    """The output at 0 is 0 for any weights, so no training reaches them."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layer = GatedLayer(2, 6, 1)
    assert layer(torch.zeros(1, 2)).item() == 0
    assert sum(table[0] for table in GATES.values()) == 8


def test_terms_of_a_gate_are_those_of_its_polynomial():
    x = bits(2)
    interaction, linear, constant = boolean_layer("xor", dtype=torch.float64).terms(x)
    assert torch.equal(interaction[:, 0], torch.tensor([0, 0, 0, -2]).double())
    assert torch.equal(linear[:, 0], torch.tensor([0, 1, 1, 2]).double())
    assert torch.equal(constant[:, 0], torch.zeros(4).double())
    parts = boolean_layer("nand", dtype=torch.float64).tensor().parts()
    assert parts.constant.tolist() == [1]
    assert parts.linear.tolist() == [[0, 0]]
    form = parts.quadratic.interaction(torch.ones(1, dtype=torch.float64))
    assert form.tolist() == [[0, -0.5], [-0.5, 0]]


def test_and_without_biases_reads_the_pair_alone():
    tensor = boolean_layer("and", bias=False, dtype=torch.float64).tensor()
    assert tensor.interaction(torch.ones(1).double()).tolist() == [[0, 0.5], [0.5, 0]]
    tensor = boolean_layer("xor", bias=False, dtype=torch.float64).tensor()
    assert tensor.interaction(torch.ones(1).double()).tolist() == [[1, -1], [-1, 1]]


def test_mutants_of_the_product_fail():
    """(bx + a₂)(y + a₁/b) + c − a₁a₂/b with a part swapped or left out is another gate."""
    layer = boolean_layer("xor", dtype=torch.float64)
    x, y = bits(2).T
    w, v = layer.left.weight[0], layer.right.weight[0]
    b1, b2, rest = layer.left.bias, layer.right.bias, layer.out.bias

    def value(first, second, third):
        return (w[0] * x + first) * (v[1] * y + second) + third

    assert torch.equal(value(b1, b2, rest), truth("xor"))
    for mutant in (value(b2, b1, rest), value(b1, b2, 0 * rest), value(b1, 0 * b2, rest)):
        assert not torch.equal(mutant, truth("xor"))


@given(st.integers(1, 5), st.integers(0, 10_000), st.booleans())
def test_every_quadratic_polynomial_of_n_inputs_is_exact(n, seed, bias):
    generator = torch.Generator().manual_seed(seed)
    tables = []
    for _ in range(3):
        a, b = (torch.randint(-3, 4, (n, k), generator=generator).double() for k in (1, n))
        constant = float(torch.randint(-3, 4, (1,), generator=generator)) if bias else 0.0
        tables.append((bits(n) @ b * bits(n)).sum(1) + (bits(n) @ a)[:, 0] + constant)
    layer = boolean_layer(*(t.tolist() for t in tables), bias=bias, dtype=torch.float64)
    assert layer.left.out_features == 3 * (max(n - 1, 1) if bias else n)
    assert torch.allclose(layer(bits(n)), torch.stack(tables, dim=1), atol=1e-12)
    if bias:
        parts = layer.tensor().parts()
        for place, table in enumerate(tables):
            function = multilinear(table.tolist())
            unit = torch.eye(3, dtype=torch.float64)[place]
            assert torch.allclose(parts.constant[place], function.constant, atol=1e-12)
            assert torch.allclose(parts.linear[place], function.linear, atol=1e-12)
            assert torch.allclose(parts.quadratic.interaction(unit), function.pairs, atol=1e-12)


def test_multilinear_is_the_polynomial_by_inclusion_and_exclusion():
    table = [float(value) for value in (2, -1, 0, 3, 5, 2, 3, 6)]  # no product of all three
    function = multilinear(table)
    assert function.constant == 2
    values = dict(zip(product((0, 1), repeat=3), table, strict=True))
    for i in range(3):
        one = tuple(int(k == i) for k in range(3))
        assert function.linear[i] == values[one] - 2
    for i, j in combinations(range(3), 2):
        both = tuple(int(k in (i, j)) for k in range(3))
        single = [values[tuple(int(k == s) for k in range(3))] for s in (i, j)]
        assert 2 * function.pairs[i, j] == values[both] - sum(single) + 2


def test_majority_and_parity_of_three_are_refused():
    """x·y + y·z + z·x − 2xyz and x + y + z − 2(…) + 4xyz."""
    majority = (0, 0, 0, 1, 0, 1, 1, 1)
    with pytest.raises(QuadricError, match=r"product x1·x2·x3 \(with weight -2\).*two layers"):
        boolean_layer(majority)
    parity = (0, 1, 1, 0, 1, 0, 0, 1)
    with pytest.raises(QuadricError, match=r"product x1·x2·x3 \(with weight 4\)"):
        boolean_layer(parity)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: boolean_layer("xnand"), "no gate 'xnand'; did you mean 'nand'"),
        (lambda: boolean_layer((0, 1, 1)), "has 3 values, expected 2ⁿ"),
        (lambda: boolean_layer((0, 1, float("nan"), 1)), "NaN"),
        (lambda: boolean_layer("and", (0, 1)), r"\[1, 2\] inputs"),
        (lambda: boolean_layer((1,)), r"\[0\] inputs"),
        (boolean_layer, "no truth table"),
        (lambda: boolean_layer((1, 0, 0, 1), bias=False), r"\(1, 0, 0, 1\) is 1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(QuadricError, match=message):
        call()


def test_making_a_layer_leaves_the_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    boolean_layer("xor")
    assert torch.equal(torch.rand(3), expected)

"""The element-wise functions: values, limits, slopes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from quadric import QuadricError
from quadric.layers.gates import apply_gate, check_gate, slope

Z = torch.linspace(-6, 6, 97, dtype=torch.float64)


def test_gates_are_what_their_names_say():
    plain = [
        (max(z, 0.0), z / (1 + math.exp(-z)), z * 0.5 * (1 + math.erf(z / 2**0.5)))
        for z in Z.tolist()
    ]
    relu, silu, gelu = torch.tensor(plain, dtype=torch.float64).T
    assert torch.equal(apply_gate(Z, "identity"), Z)
    assert torch.equal(apply_gate(Z, "relu"), relu)
    assert torch.allclose(apply_gate(Z, "silu"), silu, atol=1e-14)
    assert torch.allclose(apply_gate(Z, "gelu"), gelu, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_swish_holds_silu_to_the_bit_and_half_the_identity(dtype):
    z = Z.to(dtype)
    assert torch.equal(apply_gate(z, "swish", 1.0), functional.silu(z))
    assert torch.equal(apply_gate(z, "swish", 0.0), z / 2)
    assert not torch.equal(apply_gate(z, "swish", 0.0), z)


def test_swish_goes_from_half_the_identity_to_relu():
    assert torch.allclose(apply_gate(Z, "swish", 200.0), Z.relu(), atol=2e-3)
    between = apply_gate(Z, "swish", 0.3)
    assert ((between >= apply_gate(Z, "swish", 0.0)) & (between <= Z.relu())).all()
    assert torch.allclose(between - apply_gate(-Z, "swish", 0.3), Z, atol=1e-14)


def test_beta_is_read_by_swish_alone():
    for gate in ("identity", "relu", "silu", "gelu"):
        assert torch.equal(apply_gate(Z, gate, 0.0), apply_gate(Z, gate, 1.0))


def test_slopes_are_those_of_the_linear_gates():
    assert (slope("identity"), slope("swish", 0.0)) == (1.0, 0.5)
    for gate, beta in (("swish", 1.0), ("swish", 1e-6), ("relu", 0.0), ("silu", 0.0), ("gelu", 0)):
        assert slope(gate, beta) is None
    for gate, beta in (("identity", 1.0), ("swish", 0.0)):
        assert torch.equal(apply_gate(Z, gate, beta), slope(gate, beta) * Z)


def test_unknown_gates_are_refused_with_the_nearest_name():
    for gate in ("identity", "relu", "silu", "gelu", "swish"):
        check_gate(gate)
    with pytest.raises(QuadricError, match=r"gate is 'sliu', .*did you mean 'silu'"):
        check_gate("sliu")

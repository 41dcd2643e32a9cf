"""Boolean functions as one bilinear layer, exact on {0, 1}ⁿ.

A truth table has exactly one polynomial without squares,

    f(x) = c + Σ_i a_i x_i + Σ_{i<j} b_ij x_i x_j + (products of three or more),

and a layer with biases computes it when the last part is missing: the constant c, the linear a and
the interaction b are the three terms of arXiv 2410.08417, appendix J. Every function of two inputs
is of this kind, and one product is enough for it: with b ≠ 0,

    c + a₁x + a₂y + b·xy = (bx + a₂)(y + a₁/b) + (c − a₁a₂/b).

Without biases the output at 0 is 0, so NOT, NAND, NOR, XNOR and TRUE do not exist; the others do,
because x² = x lets a square stand for a linear term.

    layer = boolean_layer("xor")
    layer(torch.tensor([[0., 0.], [0., 1.], [1., 0.], [1., 1.]]))     # 0, 1, 1, 0
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError, nearest
from quadric.layers.layer import GatedLayer

GATES: dict[str, tuple[int, int, int, int]] = {
    "false": (0, 0, 0, 0), "and": (0, 0, 0, 1), "x and not y": (0, 0, 1, 0), "x": (0, 0, 1, 1),
    "y and not x": (0, 1, 0, 0), "y": (0, 1, 0, 1), "xor": (0, 1, 1, 0), "or": (0, 1, 1, 1),
    "nor": (1, 0, 0, 0), "xnor": (1, 0, 0, 1), "not y": (1, 0, 1, 0), "x or not y": (1, 0, 1, 1),
    "not x": (1, 1, 0, 0), "y or not x": (1, 1, 0, 1), "nand": (1, 1, 1, 0), "true": (1, 1, 1, 1),
}  # fmt: skip
"""The sixteen functions of two inputs: their values at (x, y) = (0,0), (0,1), (1,0) and (1,1)."""

Table = str | Sequence[float]
"""A gate's name, or 2ⁿ values in the order in which the inputs count in binary, x₁ slowest."""


class Multilinear(NamedTuple):
    """f(x) = constant + linear·x + xᵀ·pairs·x on {0, 1}ⁿ."""

    constant: Float[Tensor, ""]
    """c, the value at 0."""
    linear: Float[Tensor, "n"]
    """a_i."""
    pairs: Float[Tensor, "n n"]
    """½b_ij in both triangles, 0 on the diagonal: the interaction matrix."""


def multilinear(table: Table) -> Multilinear:
    """The polynomial of a truth table, in float64 (Möbius inversion over subsets of the inputs).

    Raises:
        QuadricError: the gate is unknown, the values are not 2ⁿ, or the polynomial has a product of
            three or more inputs.
    """
    values = _values(table)
    n = len(values).bit_length() - 1
    cube = values.view((2,) * n) if n else values
    for axis in range(n):
        low, high = cube.unbind(axis)
        cube = torch.stack([low, high - low], dim=axis)
    coefficients = cube.flatten()
    masks = [1 << (n - 1 - i) for i in range(n)]
    allowed = {0, *masks, *(a | b for a, b in combinations(masks, 2))}
    scale = float(values.abs().max()) or 1.0
    for mask, value in enumerate(coefficients.tolist()):
        if mask not in allowed and abs(value) > 1e-12 * scale:
            inputs = "·".join(f"x{i + 1}" for i in range(n) if mask & masks[i])
            raise QuadricError(
                f"the table needs the product {inputs} (with weight {value:g}), which one bilinear "
                "layer cannot make: stack two layers"
            )
    pairs = values.new_zeros(n, n)
    for i, j in combinations(range(n), 2):
        pairs[i, j] = pairs[j, i] = coefficients[masks[i] | masks[j]] / 2
    return Multilinear(coefficients[0], coefficients[masks], pairs)


def boolean_layer(
    *tables: Table, bias: bool = True, dtype: torch.dtype | None = None
) -> GatedLayer:
    """A layer whose outputs are these functions of the same n inputs, exactly on {0, 1}ⁿ.

    With biases a function takes n − 1 products (one of a single input takes 1) and its terms are
    those of its :class:`Multilinear`. Without, it takes n, and squares hold the linear part.

    Args:
        tables: one function per output.
        bias: whether the layer has biases, the output bias included.
        dtype: of the weights; torch's default when None.

    Raises:
        QuadricError: there is no table, tables differ in their inputs or have none, one is no
            polynomial of degree 2, or it is not 0 at 0 and there are no biases.
    """
    if not tables:
        raise QuadricError("there is no truth table, expected one for each output")
    functions = [multilinear(table) for table in tables]
    sizes = sorted({len(function.linear) for function in functions})
    if len(sizes) > 1 or sizes[0] < 1:
        raise QuadricError(f"the tables have {sizes} inputs, expected the same positive number")
    if not bias:
        for table, function in zip(tables, functions, strict=True):
            if function.constant != 0:
                raise QuadricError(
                    f"{_shown(table)} is {float(function.constant):g} where all inputs are 0, and "
                    "a layer without biases is 0 there: use bias=True"
                )
    products = [_with_bias(f) if bias else _without_bias(f) for f in functions]
    each = len(products[0].left)
    out = torch.eye(len(tables), dtype=torch.float64).repeat_interleave(each, dim=1)
    with torch.random.fork_rng(devices=[]):  # its random start is overwritten
        layer = GatedLayer(sizes[0], out.shape[1], len(tables), bias=bias, out_bias=bias)
    layer = layer.to(dtype or torch.get_default_dtype())
    assert layer.out is not None
    weights = {
        layer.left.weight: [p.left for p in products],
        layer.right.weight: [p.right for p in products],
        layer.out.weight: [out],
    }
    if bias:
        weights[layer.left.bias] = [p.left_bias for p in products]
        weights[layer.right.bias] = [p.right_bias for p in products]
        weights[layer.out.bias] = [torch.stack([p.rest for p in products])]
    with torch.no_grad():
        for parameter, parts in weights.items():
            parameter.copy_(torch.cat(parts))
    return layer


class _Products(NamedTuple):
    """f = Σ_k (left_k·x + left_bias_k)(right_k·x + right_bias_k) + rest."""

    left: Float[Tensor, "k n"]
    right: Float[Tensor, "k n"]
    left_bias: Float[Tensor, "k"]
    right_bias: Float[Tensor, "k"]
    rest: Float[Tensor, ""]


def _with_bias(function: Multilinear) -> _Products:
    """x_i(Σ_{j>i} b_ij x_j + a_i) for all inputs but two, and one product for those."""
    constant, linear, pairs = function
    n, upper = len(linear), 2 * pairs.triu(1)
    kept = max(n - 1, 1)
    left, right = torch.eye(n, dtype=pairs.dtype)[:kept], upper[:kept].clone()
    left_bias, right_bias = linear.new_zeros(kept), linear[:kept].clone()
    b = upper[-2, -1] if n > 1 else linear.new_zeros(())
    if b != 0:
        # (b x + a₂)(y + a₁/b) + (c − a₁a₂/b) of the last two inputs x and y
        left[-1], right[-1] = b * left[-1], torch.eye(n, dtype=pairs.dtype)[-1]
        left_bias[-1], right_bias[-1] = linear[-1], linear[-2] / b
        constant = constant - linear[-2] * linear[-1] / b
    else:
        left[-1], left_bias[-1] = 0, 1
        right[-1, -2:], right_bias[-1] = linear[-2:], 0
    return _Products(left, right, left_bias, right_bias, constant)


def _without_bias(function: Multilinear) -> _Products:
    """x_i(a_i x_i + Σ_{j>i} b_ij x_j) for every input, since x_i² = x_i."""
    _, linear, pairs = function
    none = torch.zeros_like(linear)
    eye = torch.eye(len(linear), dtype=pairs.dtype)
    return _Products(eye, torch.diag(linear) + 2 * pairs.triu(1), none, none, none.sum())


def _values(table: Table) -> Float[Tensor, "2**n"]:
    if isinstance(table, str):
        if table.lower() not in GATES:
            hint = nearest(table.lower(), GATES) or f"; there are {', '.join(GATES)}"
            raise QuadricError(f"no gate {table!r}{hint}")
        table = GATES[table.lower()]
    values = torch.tensor([float(value) for value in table], dtype=torch.float64)
    if not len(values) or len(values) & (len(values) - 1):
        raise QuadricError(f"the table has {len(values)} values, expected 2ⁿ for n inputs")
    if not values.isfinite().all():
        raise QuadricError("the table holds NaN or infinity")
    return values


def _shown(table: Table) -> str:
    return table.upper() if isinstance(table, str) else f"the table {tuple(table)}"

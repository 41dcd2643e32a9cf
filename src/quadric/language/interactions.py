"""How pairs of input features make an output feature, from weights alone.

Between a dictionary at a bilinear layer's input and one at its output (arXiv 2410.08417 §3.1, §5.1)

    y_a = Σ_b Σ_c b̃_abc z_b z_c,   b̃_abc = d_bᵀQ_a d_c = ½ Σ_h c_ah (l_hb r_hc + l_hc r_hb),

with Q_a the form of output feature a, c_a its weights of the neurons, and l_hb = w_h·d_b,
r_hb = v_h·d_b. The sum is exact with two pseudo-features of activation 1 among the pairs: the BIAS,
[b_dec; 1], which carries every bias of the layer and of both dictionaries, and the ERROR ε of the
input dictionary at this token. The tensor b̃ has q·p² entries and is never held: ask for a block,
for the tiles of one output, for its largest entries (quadric.language.screening), or for one token.

    found = interactions_between(layer, InputDictionary(W_dec, b_dec), OutputDictionary(W_enc.T))
    found.block([1882], [240, 766], [326, 1376])   # a submatrix of b̃
    found.contributions(1882, codes, x)            # one token, pair by pair

A pair of different features enters the sum twice: it contributes 2 b̃_abc z_b z_c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms import BilinearTensor
from quadric.forms.blocks import row_blocks
from quadric.language.dictionaries import InputDictionary, OutputDictionary, check_width
from quadric.layers import GatedLayer

Indices = Sequence[int] | Int[Tensor, "s"]
"""Which features, by number."""


class Tile(NamedTuple):
    """b̃_abc for the b in ``rows`` and every c from the first of them on, so all pairs b ≤ c."""

    rows: slice
    values: Float[Tensor, "t p+1-start"]


class Contributions(NamedTuple):
    """What each ordered pair adds to one output feature at one token: all entries sum to y_a."""

    features: Int[Tensor, "s"]
    """The features that are on; p stands for the bias, p + 1 for the error."""
    values: Float[Tensor, "s s"]
    """b̃_abc z_b z_c, symmetric."""


class Account(NamedTuple):
    """The pre-activations in four parts, by what the pairs are made of; they sum to y."""

    pairs: Float[Tensor, "*batch q"]
    """Two features, or one with itself."""
    linear: Float[Tensor, "*batch q"]
    """A feature and the bias."""
    constant: Float[Tensor, "*batch q"]
    """The bias with itself."""
    error: Float[Tensor, "*batch q"]
    """Every pair with the input dictionary's error; zero where no x was given."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """b̃ between p input and q output features, as factors; made by ``interactions_between``."""

    forms: BilinearTensor
    """y_a as quadratic forms of [x; 1]; all constants included."""
    basis: Float[Tensor, "p+1 d+1"]
    """Rows [d_b; 0] of the features, and last the bias pseudo-feature [b_dec; 1]."""

    @property
    def p(self) -> int:
        """Number of input features; also the bias pseudo-feature's number."""
        return len(self.basis) - 1

    @property
    def q(self) -> int:
        """Number of output features."""
        return self.forms.m

    @torch.no_grad()
    def form(self, output: int) -> Float[Tensor, "d+1 d+1"]:
        """Q_a on [x; 1], exactly symmetric.

        Raises:
            QuadricError: there is no such output feature.
        """
        (output,) = checked_indices("output", [output], self.q).tolist()
        unit = self.basis.new_zeros(self.q)
        unit[output] = 1
        return self.forms.interaction(unit)

    @torch.no_grad()
    def block(self, outputs: Indices, first: Indices, second: Indices) -> Float[Tensor, "a b c"]:
        """b̃_abc for some outputs a and features b in ``first``, c in ``second``; p is the bias.

        O(n·b·c) an output, from the factors.

        Raises:
            QuadricError: a feature does not exist.
        """
        assert self.forms.out is not None
        weights = self.forms.out[self._checked("outputs", outputs, self.q)]
        rows = self.basis[self._checked("first", first, self.p + 1)]
        columns = self.basis[self._checked("second", second, self.p + 1)]
        left, right = rows @ self.forms.left.mT, rows @ self.forms.right.mT
        across_left, across_right = columns @ self.forms.left.mT, columns @ self.forms.right.mT
        found = rows.new_empty(len(weights), len(rows), len(columns))
        for values, weight in zip(found, weights, strict=True):
            torch.matmul(left * weight, across_right.mT, out=values)
            values.addmm_(right * weight, across_left.mT).div_(2)
        return found

    @torch.no_grad()
    def tiles(self, output: int) -> Iterator[Tile]:
        """All b̃_abc of one output with b ≤ c, some rows at a time; the bias is the last column.

        O((n + p)·d² + p²·d/2) time; memory p·d and one tile.

        Raises:
            QuadricError: there is no such output feature.
        """
        turned = self.form(output) @ self.basis.mT
        for rows in row_blocks(len(self.basis), len(self.basis)):
            yield Tile(rows, self.basis[rows] @ turned[:, rows.start :])

    @torch.no_grad()
    def contributions(
        self, output: int, codes: Float[Tensor, "p"], x: Float[Tensor, "d"] | None = None
    ) -> Contributions:
        """Every pair's part in y_a at one token: only pairs of features that are on have one.

        Args:
            output: the output feature a.
            codes: z, the input features' activations.
            x: the layer's input, for the error pseudo-feature and with it the exact y_a. Without
                it the pairs sum to y_a of the reconstruction zᵀD + b_dec.

        Raises:
            QuadricError: a shape is wrong, a number not finite, or the feature does not exist.
        """
        if codes.ndim != 1:
            raise QuadricError(f"codes have shape {tuple(codes.shape)}, expected ({self.p},)")
        _, bias, error = self._parts(codes, x)
        on = codes.nonzero()[:, 0]
        rows = [self.basis[on] * codes.to(self.basis)[on, None], bias[None]]
        numbers = [on, on.new_tensor([self.p])]
        if error is not None:
            rows.append(error[None])
            numbers.append(on.new_tensor([self.p + 1]))
        made = torch.cat(rows)
        values = made @ self.form(output) @ made.mT
        return Contributions(torch.cat(numbers), (values + values.mT) / 2)

    @torch.no_grad()
    def account(
        self, codes: Float[Tensor, "*batch p"], x: Float[Tensor, "*batch d"] | None = None
    ) -> Account:
        """The sums over kinds of pairs, for all output features at many tokens.

        Raises:
            QuadricError: a shape is wrong or a number not finite.
        """
        scaled, bias, error = self._parts(codes, x)
        pairs = self.forms(scaled)
        rest = torch.zeros_like(pairs)
        if error is not None:
            rest = self.forms(error) + 2 * self._between(error, scaled + bias)
        return Account(
            pairs,
            2 * self._between(scaled, bias),
            self.forms(bias).expand_as(pairs),
            rest,
        )

    def _between(
        self, x: Float[Tensor, "*batch d+1"], y: Float[Tensor, "*#batch d+1"]
    ) -> Float[Tensor, "*batch q"]:
        """xᵀQ_ay for every a."""
        left, right = self.forms.left.mT, self.forms.right.mT
        return self.forms.read_out((x @ left) * (y @ right) + (x @ right) * (y @ left)) / 2

    def _parts(self, codes: Tensor, x: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """[zᵀD; 0], the bias pseudo-feature and [ε; 0], which sum to [x; 1]."""
        if codes.shape[-1:] != (self.p,):
            raise QuadricError(
                f"codes have shape {tuple(codes.shape)}, expected their last axis to be {self.p}: "
                "one number per input feature"
            )
        _check_finite("codes", codes)
        scaled = codes.to(self.basis) @ self.basis[:-1]
        bias = self.basis[-1]
        if x is None:
            return scaled, bias, None
        width = self.forms.d - 1
        if x.shape != (*codes.shape[:-1], width):
            raise QuadricError(
                f"x has shape {tuple(x.shape)}, expected {(*codes.shape[:-1], width)}: one layer "
                "input per row of codes"
            )
        _check_finite("x", x)
        lifted = torch.nn.functional.pad(x.to(self.basis), (0, 1), value=1.0)
        return scaled, bias, lifted - scaled - bias

    def _checked(self, name: str, indices: Indices, size: int) -> Int[Tensor, "s"]:
        return checked_indices(name, indices, size).to(self.basis.device)


@torch.no_grad()
def interactions_between(
    layer: GatedLayer | BilinearTensor, inputs: InputDictionary, outputs: OutputDictionary
) -> Interactions:
    """b̃ between a dictionary at the layer's input and one at its output.

    A ``BilinearTensor`` counts as a layer without biases.

    Raises:
        QuadricError: the layer is not bilinear, or a dictionary's width is not the layer's.
    """
    readout = outputs.read(layer)
    forms = readout.forms
    assert forms.out is not None
    check_width("decoder", inputs.decoder, readout.width, "inputs")
    left, right = forms.left, forms.right
    if not readout.lifted:
        left, right = (torch.nn.functional.pad(factor, (0, 1)) for factor in (left, right))
    # One more neuron reads the constant twice and carries what the dictionary adds itself.
    constant = left.new_zeros(1, readout.width + 1)
    constant[0, -1] = 1
    forms = BilinearTensor(
        torch.cat([left, constant]),
        torch.cat([right, constant]),
        torch.cat([forms.out, readout.offset[:, None]], dim=1),
    )
    basis = torch.nn.functional.pad(inputs.decoder.detach().to(left), (0, 1, 0, 1))
    if inputs.bias is not None:
        basis[-1, :-1] = inputs.bias.detach().to(left)
    basis[-1, -1] = 1
    return Interactions(forms, basis)


def checked_indices(name: str, indices: Indices, size: int) -> Int[Tensor, "s"]:
    """Feature numbers as a tensor.

    Raises:
        QuadricError: one is not in 0…size−1.
    """
    found = torch.as_tensor(indices, dtype=torch.long).flatten()
    bad = found[(found < 0) | (found >= size)]
    if len(bad):
        raise QuadricError(f"{name}: no feature {int(bad[0])}, expected 0 to {size - 1}")
    return found


def _check_finite(name: str, values: Tensor) -> None:
    if not values.isfinite().all():
        raise QuadricError(f"{name} holds NaN or infinity")

"""One module for bilinear layers and gated linear units, which differ in σ alone.

    h = (Wx + b₁) ⊙ σ(Vx + b₂),    layer(x) = P h + b_P

(arXiv 2410.08417, equation 1). With σ the identity every output is a quadratic form of [x; 1], and
``tensor`` gives all of them as a :class:`BilinearTensor`. Which factor is gated matters only
with an element-wise σ: ``gate_side`` says it (Llama's gate_proj is the gated side).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, Terms
from quadric.layers.gates import Gate, apply_gate, check_gate, slope

Side = Literal["left", "right"]
"""Which factor σ acts on."""
Space = Literal["hidden", "input"]
"""What forms read: the layer's own input ("hidden"), or what an embedding before it reads."""


class GatedLayer(nn.Module):
    """(Wx + b₁) ⊙ σ(Vx + b₂), then P and b_P where there is an output matrix.

    Attributes:
        left: W and b₁.
        right: V and b₂.
        out: P and b_P; None where the products themselves are the outputs.
    """

    def __init__(
        self,
        d_in: int,
        d_hidden: int,
        d_out: int | None = None,
        *,
        bias: bool = False,
        out_bias: bool = False,
        gate: Gate = "identity",
        beta: float = 1.0,
        gate_side: Side = "right",
    ) -> None:
        """Args:
            d_in: number of inputs.
            d_hidden: number of products.
            d_out: number of outputs behind P; None for no P.
            bias: whether the two factors have biases.
            out_bias: whether P has one.
            gate: σ.
            beta: β of a swish gate.
            gate_side: the factor that σ acts on.

        Raises:
            QuadricError: a size is below 1, the gate or its side is unknown, or an output bias is
                asked for without an output matrix.
        """
        super().__init__()
        for name, size in {"d_in": d_in, "d_hidden": d_hidden, "d_out": d_out}.items():
            if size is not None and size < 1:
                raise QuadricError(f"{name} is {size}, expected 1 or more")
        check_gate(gate)
        if gate_side not in get_args(Side):
            raise QuadricError(f"gate_side is {gate_side!r}, expected left or right")
        if out_bias and d_out is None:
            raise QuadricError("out_bias needs an output matrix: give d_out")
        self.left = nn.Linear(d_in, d_hidden, bias=bias)
        self.right = nn.Linear(d_in, d_hidden, bias=bias)
        self.out = None if d_out is None else nn.Linear(d_hidden, d_out, bias=out_bias)
        self.gate: Gate = gate
        self.beta = beta
        self.gate_side: Side = gate_side

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """The layer's outputs."""
        left, right = self.left(x), self.right(x)
        if self.gate_side == "left":
            left = apply_gate(left, self.gate, self.beta)
        else:
            right = apply_gate(right, self.gate, self.beta)
        products = left * right
        outputs: Tensor = products if self.out is None else self.out(products)
        return outputs

    def extra_repr(self) -> str:
        """The gate and its side."""
        shown = f"{self.gate}, beta={self.beta:g}" if self.gate == "swish" else self.gate
        return f"gate={shown}, gate_side={self.gate_side}"

    @property
    def lifted(self) -> bool:
        """Whether the layer has biases, so that its forms read [x; 1]."""
        out_bias = self.out is not None and self.out.bias is not None
        return self.left.bias is not None or self.right.bias is not None or out_bias

    def tensor(
        self, space: Space = "hidden", embed: Float[Tensor, "d_in p"] | None = None
    ) -> BilinearTensor:
        """The layer's outputs as quadratic forms: tensor(x) = layer(x), or with biases of [x; 1].

        Args:
            space: "hidden": forms of the layer's own input. "input": forms of y where x = Ey.
            embed: E, for the input space only.

        The factors share the module's memory where they can and carry no gradients.

        Raises:
            QuadricError: the gate is not linear, or ``embed`` and ``space`` do not fit.
        """
        tensor = self._forms()
        if space not in get_args(Space):
            raise QuadricError(f"space is {space!r}, expected hidden or input")
        if (embed is None) != (space == "hidden"):
            raise QuadricError(
                "the input space needs the matrix of the embedding, and the hidden space has "
                f"none: space is {space!r} and embed is {'missing' if embed is None else 'given'}"
            )
        if embed is None:
            return tensor
        if embed.ndim != 2 or len(embed) != self.left.in_features:
            raise QuadricError(
                f"embed has shape {tuple(embed.shape)}, expected ({self.left.in_features}, p)"
            )
        embed = embed.detach().to(tensor.left)
        return tensor.with_input_basis(lift_basis(embed) if self.lifted else embed)

    def terms(self, x: Float[Tensor, "*batch d_in"]) -> Terms:
        """Interaction, linear and constant part of the outputs, which sum to layer(x).

        (arXiv 2410.08417, appendix J.)

        Raises:
            QuadricError: the gate is not linear.
        """
        tensor = self._forms()
        if self.lifted:
            return tensor.terms(x)
        values = tensor(x)
        return Terms(values, torch.zeros_like(values), torch.zeros_like(values))

    def _forms(self) -> BilinearTensor:
        factor = slope(self.gate, self.beta)
        if factor is None:
            raise QuadricError(
                f"the layer is not bilinear: its {self.gate_side} factor passes through "
                f"{self.gate}; train it with gate='identity', or anneal a swish gate's β to 0"
            )
        left, right = self.left.weight.detach(), self.right.weight.detach()
        out = None if self.out is None else self.out.weight.detach()
        # The gate's ½ goes to the factor that it acts on, with its bias.
        scales = (factor, 1.0) if self.gate_side == "left" else (1.0, factor)
        if factor != 1:
            left, right = left * scales[0], right * scales[1]
        tensor = BilinearTensor(left, right, out)
        if not self.lifted:
            return tensor
        biases = [
            scale * (left.new_zeros(len(left)) if linear.bias is None else linear.bias.detach())
            for scale, linear in zip(scales, (self.left, self.right), strict=True)
        ]
        out_bias = None if self.out is None or self.out.bias is None else self.out.bias.detach()
        return tensor.fold_bias(biases[0], biases[1], out_bias)


def lift_basis(embed: Float[Tensor, "d p"]) -> Float[Tensor, "d+1 p+1"]:
    """[[E, 0], [0, 1]]: the basis under which [x; 1] = lift_basis(E) [y; 1] when x = Ey."""
    lifted = torch.nn.functional.pad(embed, (0, 1, 0, 1))
    lifted[-1, -1] = 1
    return lifted

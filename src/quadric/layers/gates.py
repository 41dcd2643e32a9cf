"""The element-wise function σ on one side of a gated layer.

Swish_β(z) = z·sigmoid(βz) holds three of them: β = 1 is SiLU, β → ∞ is ReLU, and β = 0 is z/2,
which is linear. A layer is bilinear exactly when its σ is linear.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from quadric.errors import QuadricError, nearest

Gate = Literal["identity", "relu", "silu", "gelu", "swish"]
"""Names of σ; swish takes a β."""


def apply_gate(z: Tensor, gate: Gate, beta: float = 1.0) -> Tensor:
    """σ(z), of z's shape; ``beta`` is read by swish alone. Swish at β = 1 is SiLU to the bit."""
    if gate == "relu":
        return F.relu(z)
    if gate == "gelu":
        return F.gelu(z)
    if gate == "silu" or (gate == "swish" and beta == 1):
        return F.silu(z)
    if gate == "swish":
        return z * torch.sigmoid(beta * z)
    return z


def slope(gate: Gate, beta: float = 1.0) -> float | None:
    """The s of σ(z) = s·z where the gate is linear (1, or ½ for swish at β = 0), else None."""
    if gate == "identity":
        return 1.0
    return 0.5 if gate == "swish" and beta == 0 else None


def check_gate(gate: str) -> None:
    """Refuse an unknown gate.

    Raises:
        QuadricError: there is no gate of that name; the message names the nearest.
    """
    if gate not in get_args(Gate):
        hint = nearest(str(gate), get_args(Gate))
        raise QuadricError(f"gate is {gate!r}, expected one of {', '.join(get_args(Gate))}{hint}")

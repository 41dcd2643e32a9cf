"""Any torch model's bilinear layer as a :class:`GatedLayer`.

    layer = wrap(model.mlp)                                     # factors found by their names
    layer = wrap(model.mlp, left="w_in", right="w_gate", out="w_out")

Where factors are and which function stands between them is read from names and attributes, which
can mislead; so the layer that results is run beside the module on random inputs, both in evaluation
mode, and refused unless they give the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from quadric.errors import QuadricError, nearest
from quadric.layers.gates import Gate
from quadric.layers.layer import GatedLayer, Side


class _Names(NamedTuple):
    """How one family of models names the parts of its gated layers."""

    gated: str
    other: str
    out: str | None


NAMES = (
    _Names("gate_proj", "up_proj", "down_proj"),
    _Names("w1", "w3", "w2"),
    _Names("wi_0", "wi_1", "wo"),
    _Names("right", "left", "out"),
    _Names("V", "W", "P"),
    _Names("v", "w", "p"),
)
"""The factor that σ acts on, the other one, and the output; the output may be absent."""

_GATES: dict[str, Gate] = {
    "identity": "identity", "linear": "identity", "linearactivation": "identity", "relu": "relu",
    "silu": "silu", "siluactivation": "silu", "swish": "silu", "gelu": "gelu",
    "geluactivation": "gelu",
}  # fmt: skip
"""Activation modules and functions by their lower-case name."""

_ACTIVATIONS = ("act_fn", "act", "activation", "activation_fn", "gate")
_PROBES = 8
_LOOSEST = 0.05
"""Relative error allowed in half precision, where 100 units in the last place allow anything."""


def find_layers(model: nn.Module) -> list[str]:
    """Names of the submodules that look like gated layers, by the names of their parts.

    The empty string stands for the model itself.
    """
    return [name for name, module in model.named_modules() if _recognise(module) is not None]


def wrap(
    module: nn.Module,
    *,
    left: str | None = None,
    right: str | None = None,
    out: str | None = None,
    gate: Gate | None = None,
    gate_side: Side = "right",
) -> GatedLayer:
    """A gated layer with the module's own weights that computes what the module computes.

    Args:
        module: the layer, or a model that holds exactly one.
        left: attribute of W (an ``nn.Linear``); with ``right`` None: recognised by usual names.
        right: attribute of V.
        out: attribute of P; None where there is none.
        gate: σ; None to read it from the module's activation, the identity if there is none.
        gate_side: the factor that σ acts on, for named factors.

    Raises:
        QuadricError: there is no such layer, or several; a part is missing or no linear map; or
            the module computes something else.
    """
    if (left is None) != (right is None) or (out is not None and left is None):
        raise QuadricError("name left and right together, with out where there is one, or none")
    if left is None or right is None:
        module, names = _only_layer(module)
        if isinstance(module, GatedLayer):
            return module
        left, right, out, gate_side = names.other, names.gated, names.out, "right"
    parts = [None if name is None else _linear(module, name) for name in (left, right, out)]
    first, second, last = parts
    assert first is not None and second is not None
    if first.weight.shape != second.weight.shape:
        raise QuadricError(
            f"{left} and {right} have shapes {tuple(first.weight.shape)} and "
            f"{tuple(second.weight.shape)}, expected the same"
        )
    found, beta = _gate_of(module) if gate is None else (gate, 1.0)
    layer = GatedLayer(
        first.in_features,
        first.out_features,
        None if last is None else last.out_features,
        gate=found,
        beta=beta,
        gate_side=gate_side,
    )
    layer.left, layer.right, layer.out = first, second, last
    layer.train(module.training)
    _check_equal(module, layer)
    return layer


def _recognise(module: nn.Module) -> _Names | None:
    """The naming that a module follows, with ``out`` None where it has no output matrix."""
    children = dict(module.named_children())
    for names in NAMES:
        if {names.gated, names.other} <= children.keys():
            return names if names.out in children else names._replace(out=None)
    return None


def _only_layer(model: nn.Module) -> tuple[nn.Module, _Names]:
    found = find_layers(model)
    if not found:
        raise QuadricError(
            f"{type(model).__name__} has no bilinear layer that can be recognised: name its "
            "factors with left=…, right=… and out=…"
        )
    if len(found) > 1:
        raise QuadricError(
            f"{type(model).__name__} has {len(found)} gated layers ({found[0]!r}, {found[1]!r}…): "
            "pass one of them, model.get_submodule(name)"
        )
    module = model.get_submodule(found[0])
    names = _recognise(module)
    assert names is not None
    return module, names


def _linear(module: nn.Module, name: str) -> nn.Linear:
    children = dict(module.named_children())
    part = children.get(name)
    if isinstance(part, nn.Linear):
        return part
    if part is None:
        raise QuadricError(
            f"{type(module).__name__} has no submodule {name!r}{nearest(name, children)}"
        )
    raise QuadricError(f"{name!r} is a {type(part).__name__}, expected a torch.nn.Linear")


def _gate_of(module: nn.Module) -> tuple[Gate, float]:
    """σ and its β, by the name of the module's activation; a swish that has a β keeps it."""
    for name in _ACTIVATIONS:
        activation = getattr(module, name, None)
        if callable(activation):
            kind = getattr(activation, "__name__", type(activation).__name__).lower()
            if kind == "swish" and hasattr(activation, "beta"):
                return "swish", float(activation.beta)
            if kind in _GATES:
                return _GATES[kind], 1.0
            raise QuadricError(
                f"{type(module).__name__}.{name} is {kind}, expected one of {', '.join(_GATES)}: "
                "give gate=… if it is one of them"
            )
    return "identity", 1.0


@torch.no_grad()
def _check_equal(module: nn.Module, layer: GatedLayer) -> None:
    weight = layer.left.weight
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_PROBES, weight.shape[1], generator=generator).to(weight)
    given = _evaluated(module, x)
    if not isinstance(given, Tensor):
        raise QuadricError(
            f"{type(module).__name__} returns a {type(given).__name__}, expected a tensor"
        )
    found = layer(x)
    if given.shape == found.shape:
        tolerance = min(100 * torch.finfo(weight.dtype).eps, _LOOSEST) * float(given.abs().max())
        if float((given - found).abs().max()) <= tolerance:
            return
    raise QuadricError(
        f"{type(module).__name__} computes something else than a gated layer of these factors "
        f"with gate={layer.gate!r} on the {layer.gate_side} one"
    )


def _evaluated(module: nn.Module, x: Tensor) -> object:
    """The module's answer without dropout; every part of it keeps its own mode."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        return module(x)
    finally:
        for part in training:
            part.training = True

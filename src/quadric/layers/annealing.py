"""Turn the SwiGLU layers of a language model into bilinear ones by annealing their gates.

    Swish_β(z) = z·sigmoid(βz):    β = 1 is the SiLU of the model,    β = 0 is z/2

(arXiv 2410.08417, appendix H). While the model is fine-tuned β goes from 1 to 0 and the weights
follow; then the ½ is folded into the gate's weights, and every MLP is exactly P(Wx ⊙ Vx).

    convert(model)                                  # gates at β = 1: the same outputs, to the bit
    for step in range(steps):
        set_beta(model, beta_at(step, steps))       # "constant" for the control
        ...                                         # one step of training
    set_beta(model, 0.0)
    fold(model)
    model.save_pretrained("bilinear")               # a plain transformers model

A model of which only some layers are folded, or one half-way, is not a plain model: transformers
has one ``hidden_act`` for all layers. Its config then says ``hidden_act = "annealed"``, which
transformers refuses to load, and lists the gate of every layer in ``mlp_gates``, which
:func:`from_pretrained` reads, and with it every command that takes a model. So it can be saved, and
nothing ever takes it for the SwiGLU model that it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quadric.errors import QuadricError
from quadric.layers.gates import apply_gate
from quadric.layers.wrapping import wrap

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedConfig, PreTrainedModel

MARK = "annealed"
"""The ``hidden_act`` of a model whose layers have different gates, or gates half-way."""
_LAYERS = "mlp_gates"
"""The config's list for such a model: for each layer "silu", "linear" or the β of its Swish."""
_PARTS = ("gate_proj", "up_proj", "down_proj")


class Swish(nn.Module):
    """z·sigmoid(βz); at β = 1 SiLU to the bit.

    Attributes:
        beta: β, a buffer without axes. It is not in the state dict, so that the weights keep the
            names and the number they had.
    """

    beta: Float[Tensor, ""]

    def __init__(self, beta: float = 1.0) -> None:
        """A gate with this β."""
        super().__init__()
        self.register_buffer("beta", torch.tensor(beta, dtype=torch.float32), persistent=False)

    def forward(self, z: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Swish_β(z)."""
        return apply_gate(z, "swish", float(self.beta))

    def extra_repr(self) -> str:
        """β."""
        return f"beta={float(self.beta):g}"


def convert(model: PreTrainedModel, only: Sequence[int] | None = None) -> list[int]:
    """Replace SwiGLU gates by Swish_β at β = 1, in place. The model's outputs do not change.

    Args:
        model: any transformers model with one MLP per block that computes
            down_proj(SiLU(gate_proj(x)) ⊙ up_proj(x)).
        only: the blocks to convert, from 0; all when None.

    Returns:
        The blocks converted by this call, in ascending order.

    Raises:
        QuadricError: an MLP is no such pair or has another activation, a block does not exist or
            is converted already. The model is then unchanged.
    """
    mlps = _gated(model)
    chosen = sorted(set(range(len(mlps)) if only is None else only))
    if not chosen:
        raise QuadricError("no layer was chosen: name at least one, or leave only=None for all")
    for i in chosen:
        if not 0 <= i < len(mlps):
            raise QuadricError(
                f"there is no layer {i}: the model has {len(mlps)} (0–{len(mlps) - 1})"
            )
        _check_silu(i, mlps[i])
    if getattr(model.config, "hidden_act", None) not in ("silu", "swish", MARK):
        raise QuadricError(
            f"the config of {type(model).__name__} has no hidden_act = 'silu': what its gates "
            "become could not be saved"
        )
    for i in chosen:
        mlps[i].act_fn = Swish().to(mlps[i].gate_proj.weight.device)
    _mark(model, mlps)
    return chosen


def set_beta(model: PreTrainedModel, beta: float) -> None:
    """Give all gates that are not folded yet this β.

    Raises:
        QuadricError: β is negative or not finite, or the model has no such gate.
    """
    if not (math.isfinite(beta) and beta >= 0):
        raise QuadricError(f"beta is {beta:g}, expected a number of 0 or more")
    mlps = _gated(model)
    for _, _, gate in _swishes(mlps):
        gate.beta.fill_(beta)
    _mark(model, mlps)


def layers(model: PreTrainedModel) -> list[int]:
    """The blocks that were converted, folded or not, in ascending order.

    Raises:
        QuadricError: the model has no gated MLPs.
    """
    return [i for i, mlp in enumerate(_gated(model)) if _gate_of(mlp) != "silu"]


@torch.no_grad()
def fold(model: PreTrainedModel) -> list[int]:
    """Make the converted MLPs exactly bilinear, in place: ½ into gate_proj, and a linear gate.

    Halving is exact in floating point, so the outputs stay the same to the bit. When all layers
    are folded the config's ``hidden_act`` is "linear", and the model is a plain transformers model
    again. ``quadric.layers.wrap(mlp).tensor()`` gives the forms of a folded MLP.

    Returns:
        The blocks folded by this call.

    Raises:
        QuadricError: a gate's β is not 0, or there is none to fold. The model is then unchanged.
    """
    mlps = _gated(model)
    found = list(_swishes(mlps))
    for i, mlp, gate in found:
        if float(gate.beta) != 0:
            raise QuadricError(
                f"layer {i} has β = {float(gate.beta):g}: only β = 0 is linear, "
                "so train on and set_beta(model, 0.0) first"
            )
        if not mlp.gate_proj.weight.is_floating_point():
            raise QuadricError(
                f"layer {i} has weights of {mlp.gate_proj.weight.dtype}, "
                "which cannot be halved: load the model without quantisation"
            )
    for _, mlp, _ in found:
        for parameter in mlp.gate_proj.parameters():
            parameter.mul_(0.5)
        mlp.act_fn = _named("linear")
    _mark(model, mlps)
    return [i for i, _, _ in found]


def from_pretrained(location: str | Path, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load a causal language model that was saved at any stage, with the gates that it had then.

    Plain models too. Only safetensors are read, and code that comes with a model is never run.
    What transformers raises about a missing or unreadable model comes through.

    Raises:
        QuadricError: the list of gates does not fit the model's layers.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(location), trust_remote_code=False)
    gates = getattr(config, _LAYERS, None)
    annealed = is_annealed(config)
    if annealed:
        config.hidden_act = "silu"
    model = AutoModelForCausalLM.from_pretrained(
        str(location), config=config, dtype=dtype, use_safetensors=True, trust_remote_code=False
    )
    if annealed or gates is not None:
        _install(model, gates)
    return model.eval()


def is_annealed(config: PreTrainedConfig) -> bool:
    """Whether a saved model's gates differ, so that only :func:`from_pretrained` can load it."""
    return bool(config.to_dict().get("hidden_act") == MARK)


def _install(model: PreTrainedModel, gates: Any) -> None:
    """Put the gates of a saved list into a freshly loaded model."""
    mlps = _gated(model)
    if not isinstance(gates, list) or len(gates) != len(mlps):
        raise QuadricError(f"{_LAYERS} is {gates!r:.60}, expected one gate for each of the layers")
    for mlp, gate in zip(mlps, gates, strict=True):
        if gate == "linear":
            mlp.act_fn = _named("linear")
        elif isinstance(gate, int | float) and math.isfinite(gate) and gate >= 0:
            mlp.act_fn = Swish(float(gate))
        elif gate != "silu":
            raise QuadricError(f"{_LAYERS} holds {gate!r:.40}, expected silu, linear or a β")
    _mark(model, mlps)


def _gated(model: PreTrainedModel) -> list[Any]:
    """The MLPs of the blocks, in their order."""
    found = [m for m in model.modules() if all(hasattr(m, part) for part in (*_PARTS, "act_fn"))]
    name, blocks = type(model).__name__, getattr(model.config, "num_hidden_layers", 0)
    if not found:
        raise QuadricError(
            f"{name} has no gated MLP ({', '.join(_PARTS)} and act_fn): there is no gate to anneal"
        )
    if len(found) != blocks:
        raise QuadricError(
            f"{name} has {len(found)} gated MLPs in {blocks} blocks, expected one in each"
        )
    return found


def _check_silu(i: int, mlp: Any) -> None:
    if _gate_of(mlp) != "silu":
        raise QuadricError(f"layer {i} is converted already: its gate is {mlp.act_fn}")
    if not isinstance(mlp.act_fn, nn.SiLU | type(_named("silu"))):
        raise QuadricError(
            f"layer {i} is gated by {type(mlp.act_fn).__name__}, expected SiLU (Swish with β = 1)"
        )
    try:
        wrap(mlp)  # runs the MLP and compares
    except QuadricError as error:
        raise QuadricError(f"layer {i} is no SwiGLU: {error}") from error


def _gate_of(mlp: Any) -> str | float:
    """The entry of a layer in ``mlp_gates``: "silu" for what was never converted."""
    if isinstance(mlp.act_fn, Swish):
        return float(mlp.act_fn.beta)
    return "linear" if isinstance(mlp.act_fn, type(_named("linear"))) else "silu"


def _swishes(mlps: Iterable[Any]) -> Iterable[tuple[int, Any, Swish]]:
    found = [(i, m, m.act_fn) for i, m in enumerate(mlps) if isinstance(m.act_fn, Swish)]
    if not found:
        raise QuadricError("the model has no gate to anneal: convert(model) first")
    return found


def _mark(model: PreTrainedModel, mlps: Sequence[Any]) -> None:
    """Say in the config which gates the model has now."""
    gates = [_gate_of(mlp) for mlp in mlps]
    if all(gate == gates[0] for gate in gates) and gates[0] in ("silu", "linear"):
        model.config.hidden_act = gates[0]
        if hasattr(model.config, _LAYERS):
            delattr(model.config, _LAYERS)
    else:
        model.config.hidden_act = MARK
        setattr(model.config, _LAYERS, gates)


def _named(activation: str) -> nn.Module:
    from transformers.activations import ACT2FN

    module: nn.Module = ACT2FN[activation]
    return module

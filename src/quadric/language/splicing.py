"""What an autoencoder of directions costs the language model when it is spliced in.

    added     = (patch − clean) / clean
    recovered = 1 − (patch − clean) / (zero − clean)

are made of three losses on the same text: of the untouched model, of the one that goes on from x̂
instead of x, and of the one that goes on from 0 (arXiv 2410.08417, appendix F.3, equation 4).

    losses = SplicedLosses(language, contexts)
    losses.measure(place_of(language.model, "blocks.4.hook_mlp_out"), autoencoder).added

Every position of a context is replaced unless ``keep_first`` says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quadric.activations.capture import capture, splice
from quadric.activations.hooks import Hook, resolve
from quadric.activations.models import LanguageModel
from quadric.errors import QuadricError
from quadric.evaluation import SplicedLoss
from quadric.language.saelens import LinearAutoencoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NORMS = ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2")
"""The norm in front of a block's MLP, the first of these names that the block has."""
ROWS_AT_ONCE = 4096
_PROBES = 8
_CLOSE = 1e-3


class Place(NamedTuple):
    """Where an autoencoder's activations are, and what goes on from them."""

    hook: Hook
    """What is read, and replaced."""
    block_output: Hook | None = None
    """Set where the activation is the residual stream in the middle of a block: its replacement is
    read by the MLP and also carried on beside it, to the block's output."""


class LossAdded(NamedTuple):
    """Mean next-token losses in nats."""

    clean: float
    """Of the untouched model."""
    patch: float
    """With the reconstruction in place."""
    zero: float
    """With zero in place."""

    @property
    def added(self) -> float:
        """(patch − clean) / clean: 0 for a perfect reconstruction."""
        return (self.patch - self.clean) / self.clean

    @property
    def recovered(self) -> float | None:
        """1 − (patch − clean) / (zero − clean): 1 for a perfect one, 0 for one as bad as zero."""
        if self.zero == self.clean:
            return None
        return 1 - (self.patch - self.clean) / (self.zero - self.clean)

    def as_dict(self) -> dict[str, float | None]:
        """JSON values: the three losses and what follows from them."""
        return {
            "loss_clean": self.clean,
            "loss_patch": self.patch,
            "loss_zero": self.zero,
            "loss_added": self.added,
            "loss_recovered": self.recovered,
        }


def place_of(model: PreTrainedModel, name: str) -> Place:
    """The place that a hook's name stands for.

    Beyond the names that :mod:`quadric.activations.hooks` knows there are TransformerLens'
    ``blocks.{i}.hook_resid_mid``, the residual stream between attention and MLP, and
    ``blocks.{i}.ln2.hook_normalized``, the MLP's input where the norm before it has no gain.

    Raises:
        QuadricError: the model has no such hook, or the name is a pattern of several.
    """
    middle = re.fullmatch(r"(blocks\.\d+)\.hook_resid_mid", name)
    if middle:
        return _middle(model, middle[1])
    normed = re.fullmatch(r"(blocks\.\d+)\.ln2\.hook_normalized", name)
    if normed:
        (hook,) = resolve(model, [f"{normed[1]}.mlp.hook_in"])
        (output,) = resolve(model, [f"{normed[1]}.hook_resid_post"])
        norm = _norm(output)
        if norm is None or any(bool((gain != 1).any()) for _, gain in norm[1].named_parameters()):
            raise QuadricError(
                f"hook {name!r} lies before the gain of the norm, and the MLP reads what is behind "
                f"it: fold the gain into the autoencoder and name {normed[1]}.mlp.hook_in"
            )
        return Place(hook)
    hooks = resolve(model, [name])
    if len(hooks) != 1:
        raise QuadricError(f"{name!r} names {len(hooks)} hooks, expected one")
    return Place(hooks[0])


class SplicedLosses:
    """A language model's losses on fixed contexts, with activations of any place replaced."""

    def __init__(
        self,
        language: LanguageModel,
        contexts: Int[Tensor, "contexts tokens"],
        *,
        keep_first: int = 0,
    ) -> None:
        """Args:
        language: a causal language model.
        contexts: token ids of held-out text.
        keep_first: leading positions of every context left as they are; none in the paper.
        """
        self.language, self.contexts, self.keep_first = language, contexts.long(), keep_first

    @cached_property
    def clean(self) -> float:
        """The untouched model's loss."""
        (anywhere,) = resolve(self.language.model, ["blocks.0.hook_resid_pre"])
        return float(self._at(anywhere).clean.double().mean())

    def spliced(self, place: Place, replacement: Callable[[Tensor], Tensor]) -> float:
        """The loss with activations (contexts, positions, d) of a place replaced."""
        losses = self._at(place.hook)
        if place.block_output is None:
            return float(losses.spliced(replacement).double().mean())
        moved: list[Tensor] = []

        def replace(x: Tensor) -> Tensor:
            new = replacement(x).to(x)
            moved.append(nn.functional.pad(new - x, (0, 0, self.keep_first, 0)))
            return new

        with splice(self.language.model, place.block_output, lambda y: y + moved.pop()):
            return float(losses.spliced(replace).double().mean())

    def measure(self, place: Place, replacement: Callable[[Tensor], Tensor]) -> LossAdded:
        """The three losses of a replacement, an autoencoder for instance."""
        zero = self.spliced(place, torch.zeros_like)
        return LossAdded(self.clean, self.spliced(place, replacement), zero)

    def _at(self, hook: Hook) -> SplicedLoss:
        zero = torch.zeros(1)
        return SplicedLoss(self.language, hook, self.contexts, zero, keep_first=self.keep_first)


@torch.no_grad()
def quality(autoencoder: LinearAutoencoder, x: Float[Tensor, "t d"]) -> dict[str, float]:
    """What an autoencoder makes of activations, without the language model.

    Returns:
        ``explained_variance``, 1 − Σ‖x − x̂‖² / Σ‖x − mean x‖²; ``l0``, features on at a token, on
        average; and ``alive``, the share of features that are on at one of these tokens or more.
    """
    x = x.float()
    total = (x.double() - x.double().mean(0)).square().sum()
    residual, on = torch.zeros_like(total), torch.zeros_like(total)
    ever = torch.zeros(len(autoencoder.encoder), dtype=torch.bool, device=x.device)
    for rows in torch.split(x, ROWS_AT_ONCE):
        z = autoencoder.encode(rows)
        residual += (rows - autoencoder.decode(z)).double().square().sum()
        on += (z != 0).sum()
        ever |= (z != 0).any(0)
    return {
        "explained_variance": float(1 - residual / total),
        "l0": float(on / len(x)),
        "alive": float(ever.double().mean()),
    }


def _middle(model: PreTrainedModel, block: str) -> Place:
    """The residual stream between a block's attention and its MLP.

    Raises:
        QuadricError: the block is none that adds attention and then an MLP of the normed sum.
    """
    mlp, output = resolve(model, [f"{block}.hook_mlp_out", f"{block}.hook_resid_post"])
    norm = _norm(output)
    if norm is not None:
        (hook,) = resolve(model, [f"{norm[0]}.hook_in"])
        if _adds_up(model, hook, mlp, output):
            return Place(hook, output)
    raise QuadricError(
        f"hook '{block}.hook_resid_mid' is not available: {type(output.module).__name__} does not "
        "add its MLP to what the norm before the MLP reads; use hook_mlp_out or mlp.hook_in"
    )


def _norm(output: Hook) -> tuple[str, nn.Module] | None:
    """Path and module of the norm in front of the MLP of the block that an output belongs to."""
    parts = dict(output.module.named_children())
    name = next((name for name in NORMS if name in parts), None)
    if name is None:
        return None
    return f"{output.hf_hook_name.removesuffix('.hook_out')}.{name}", parts[name]


def _adds_up(model: PreTrainedModel, middle: Hook, mlp: Hook, output: Hook) -> bool:
    """Whether middle + MLP = output, which names alone do not tell: some blocks are parallel."""
    ids = torch.arange(_PROBES, device=model.device)[None] % model.config.vocab_size
    found = capture(model, [middle, mlp, output], ids)
    before, added, after = (found[hook.hook_name].float() for hook in (middle, mlp, output))
    eps = torch.finfo(model.dtype).eps
    allowed = max(_CLOSE, 10 * eps) * float(after.abs().max())
    return float((before + added - after).abs().max()) <= allowed

"""What a reconstruction costs the language model: spliced cross-entropy.

The model runs three times on the same contexts: untouched, with the activations at the hook
replaced by their reconstructions, and with them replaced by their mean. The score

    ce_loss_score = (ablation − reconstruction) / (ablation − clean)

is 1 when the reconstruction is as good as the original and 0 when it is as bad as the mean. It is
given for all positions together, and for predictions made from each type of token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple, TypedDict

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quadric.activations.capture import splice
from quadric.activations.hooks import Hook
from quadric.activations.models import LanguageModel
from quadric.autoencoders import BilinearAutoencoder
from quadric.evaluation.positions import TYPES, token_types

CONTEXTS_AT_ONCE = 8


class PositionLoss(TypedDict):
    """Mean losses in nats at the spliced positions that hold one type of token."""

    count: int
    """Predictions made from such positions."""
    clean: float | None
    """Loss of the untouched model; None without positions, as below."""
    with_sae: float | None
    """Loss with reconstructed activations."""
    ablated: float | None
    """Loss with every activation replaced by the mean."""
    score: float | None
    """(ablated − with_sae) / (ablated − clean); None where the two are equal."""


class CrossEntropy(NamedTuple):
    """Mean next-token losses in nats, and their score."""

    ce_loss_score: float | None
    """1: as good as the untouched model; 0: as bad as the mean activation; None where these two
    are equal."""
    ce_loss_without_sae: float
    """Loss of the untouched model."""
    ce_loss_with_sae: float
    """Loss with reconstructed activations."""
    ce_loss_with_ablation: float
    """Loss with every activation replaced by the mean."""
    ce_by_position_type: dict[str, PositionLoss]
    """The same by the type of the token at the position a prediction is made from, see
    :mod:`quadric.evaluation.positions`. The leading positions, which are never replaced, count in
    the figures above but not here."""


class SplicedLoss:
    """The language model's losses on fixed contexts, clean and with something spliced in.

    The clean and the ablated losses do not depend on the autoencoder: they are computed once and
    shared by every ``score``.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        hook: Hook,
        contexts: Int[Tensor, "contexts tokens"],
        mean: Float[Tensor, " d_in"],
        *,
        keep_first: int = 1,
    ) -> None:
        """Args:
        language_model: a causal language model.
        hook: where the activations come from.
        contexts: token ids of held-out text.
        mean: the mean activation, which the ablation puts in place.
        keep_first: leading positions left as they are in both replacements. Attention sinks
            live there; autoencoders are not trained on them, and no other position stands in
            for them.
        """
        self.language_model, self.hook, self.contexts = language_model, hook, contexts
        self.mean, self.keep_first = mean, keep_first

    @cached_property
    def clean(self) -> Float[Tensor, "contexts predictions"]:
        """The untouched model's loss in every prediction."""
        return _losses(self.language_model, self.contexts)

    @cached_property
    def ablated(self) -> Float[Tensor, "contexts predictions"]:
        """The losses with every activation replaced by the mean."""
        return self.spliced(lambda x: self.mean.expand(x.shape))

    @cached_property
    def groups(self) -> dict[str, Bool[Tensor, "contexts predictions"]]:
        """Which predictions are made from a spliced position that holds a token of each type."""
        types = token_types(self.language_model.tokenizer, self.contexts.cpu())[:, :-1].clone()
        types[:, : self.keep_first] = -1
        return {name: types == number for number, name in enumerate(TYPES)}

    def score(self, model: BilinearAutoencoder) -> CrossEntropy:
        """Splice an autoencoder into the language model it was trained on."""

        def reconstruction(x: Tensor) -> Tensor:
            estimate: Tensor = model(x.to(model.device, model.dtype))
            return estimate

        losses = self.spliced(reconstruction)
        every = torch.ones_like(losses, dtype=torch.bool)
        clean, with_sae, ablated = (_mean(each, every) for each in self._all(losses))
        return CrossEntropy(
            _score(clean, with_sae, ablated),
            clean,
            with_sae,
            ablated,
            {name: self._grouped(losses, group) for name, group in self.groups.items()},
        )

    @torch.no_grad()
    def spliced(
        self, replacement: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "contexts predictions"]:
        """The losses with activations (contexts, positions, d_in) replaced."""

        def replace(x: Tensor) -> Tensor:
            kept = x[:, : self.keep_first]
            return torch.cat([kept, replacement(x[:, self.keep_first :]).to(x)], dim=1)

        with splice(self.language_model.model, self.hook, replace):
            return _losses(self.language_model, self.contexts)

    def _all(self, losses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.clean, losses, self.ablated

    def _grouped(self, losses: Tensor, group: Tensor) -> PositionLoss:
        count = int(group.sum())
        if not count:
            return PositionLoss(count=0, clean=None, with_sae=None, ablated=None, score=None)
        clean, with_sae, ablated = (_mean(each, group) for each in self._all(losses))
        return PositionLoss(
            count=count,
            clean=clean,
            with_sae=with_sae,
            ablated=ablated,
            score=_score(clean, with_sae, ablated),
        )


def _mean(losses: Tensor, group: Tensor) -> float:
    return losses[group].double().mean().item()


def _score(clean: float, with_sae: float, ablated: float) -> float | None:
    return None if ablated == clean else (ablated - with_sae) / (ablated - clean)


@torch.no_grad()
def _losses(
    language_model: LanguageModel, contexts: Tensor
) -> Float[Tensor, "contexts predictions"]:
    """Next-token cross-entropies in nats, in float32 on the CPU; entry p is predicted from p."""
    pieces = []
    for start in range(0, len(contexts), CONTEXTS_AT_ONCE):
        tokens = contexts[start : start + CONTEXTS_AT_ONCE].to(language_model.model.device)
        logits = language_model.model(tokens).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
        )
        pieces.append(losses.reshape(len(tokens), -1).cpu())
    return torch.cat(pieces)

"""What a reconstruction costs the language model: spliced cross-entropy.

The model runs three times on the same contexts: untouched, with the activations at the hook
replaced by their reconstructions, and with them replaced by their mean. The score

    ce_loss_score = (ablation − reconstruction) / (ablation − clean)

is 1 when the reconstruction is as good as the original and 0 when it is as bad as the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.capture import splice
from quadric.activations.hooks import Hook
from quadric.activations.models import LanguageModel
from quadric.autoencoders import BilinearAutoencoder

CONTEXTS_AT_ONCE = 8


class CrossEntropy(NamedTuple):
    """Mean next-token losses in nats, and their score."""

    ce_loss_score: float
    """1: as good as the untouched model; 0: as bad as the mean activation."""
    ce_loss_without_sae: float
    """Loss of the untouched model."""
    ce_loss_with_sae: float
    """Loss with reconstructed activations."""
    ce_loss_with_ablation: float
    """Loss with every activation replaced by the mean."""


class SplicedLoss:
    """The language model's losses on fixed contexts, clean and with something spliced in.

    The clean and the ablated loss do not depend on the autoencoder: they are computed once and
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
    def clean(self) -> float:
        """The loss of the untouched model."""
        return _loss(self.language_model, self.contexts)

    @cached_property
    def ablated(self) -> float:
        """The loss with every activation replaced by the mean."""
        return self.spliced(lambda x: self.mean.expand(x.shape))

    def score(self, model: BilinearAutoencoder) -> CrossEntropy:
        """Splice an autoencoder into the language model it was trained on."""

        def reconstruction(x: Tensor) -> Tensor:
            estimate: Tensor = model(x.to(model.device, model.dtype))
            return estimate

        loss = self.spliced(reconstruction)
        score = (self.ablated - loss) / (self.ablated - self.clean)
        return CrossEntropy(score, self.clean, loss, self.ablated)

    @torch.no_grad()
    def spliced(self, replacement: Callable[[Tensor], Tensor]) -> float:
        """The loss with activations (contexts, positions, d_in) replaced."""

        def replace(x: Tensor) -> Tensor:
            kept = x[:, : self.keep_first]
            return torch.cat([kept, replacement(x[:, self.keep_first :]).to(x)], dim=1)

        with splice(self.language_model.model, self.hook, replace):
            return _loss(self.language_model, self.contexts)


@torch.no_grad()
def _loss(language_model: LanguageModel, contexts: Tensor) -> float:
    """Mean next-token cross-entropy in nats, in float32."""
    total, count = 0.0, 0
    for start in range(0, len(contexts), CONTEXTS_AT_ONCE):
        tokens = contexts[start : start + CONTEXTS_AT_ONCE].to(language_model.model.device)
        logits = language_model.model(tokens).logits[:, :-1].float()
        total += torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum"
        ).item()
        count += tokens[:, 1:].numel()
    return total / count

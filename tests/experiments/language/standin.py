"""A layer between two dictionaries with text to read, small and made by hand.

It has what ``quadric.language.features.LayerDictionaries`` has: the readings take it for one. Every
token is named after the input feature that is largest at it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor

from quadric.language import InputDictionary, OutputDictionary
from quadric.layers import GatedLayer
from tests.forms.builders import noise

D, N, M, P, Q = 12, 31, 10, 30, 26
K_IN, K_OUT = 4, 5
CONTEXTS, LENGTH = 6, 150


class Tokens(NamedTuple):
    """One batch."""

    ids: Tensor
    x: Tensor
    y: Tensor


class Words:
    """A tokeniser that only decodes."""

    def __len__(self) -> int:
        return P

    def decode(self, ids: list[int]) -> str:
        return {0: " $a_b$", 1: "\n", 2: "  "}.get(ids[0], f" w{ids[0]}")


@dataclass(frozen=True, eq=False)
class StandIn:
    """``LayerDictionaries`` without a language model."""

    layer: GatedLayer
    inputs: InputDictionary
    outputs: OutputDictionary
    x: Tensor
    y: Tensor
    language: SimpleNamespace
    readers: tuple[None, SimpleNamespace]
    k_in: int = K_IN
    k_out: int = K_OUT
    block: int = 3

    def encode(self, x: Tensor) -> Tensor:
        drive = (x - self.inputs.bias) @ self.inputs.decoder.T
        kept = drive.topk(self.k_in, dim=1)
        return torch.zeros_like(drive).scatter(1, kept.indices, kept.values.clamp_min(0))

    def measure(self, y: Tensor) -> tuple[Tensor, Tensor]:
        values = (y - self.outputs.centre) @ self.outputs.encoder.T + self.outputs.bias
        least = values.topk(self.k_out, dim=1).values[:, -1:]
        return values, (values >= least) & (values > 0)

    def ids(self, x: Tensor) -> Tensor:
        return self.encode(x).argmax(dim=1)

    def tokens(self, contexts: int) -> Iterator[Tokens]:
        for start in range(0, min(contexts, CONTEXTS) * LENGTH, 2 * LENGTH):
            rows = slice(start, min(start + 2 * LENGTH, contexts * LENGTH))
            yield Tokens(self.ids(self.x[rows]), self.x[rows], self.y[rows])


def stand_in(seed: int = 0, *, bias: bool = True, gate: str = "identity") -> StandIn:
    """Another one for every seed; float32, as real ones are."""
    decoder = torch.nn.functional.normalize(noise(seed, P, D), dim=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = GatedLayer(D, N, M, bias=bias, out_bias=bias, gate=gate)  # type: ignore[arg-type]
        for parameter in layer.parameters():
            parameter.data = torch.randn(parameter.shape) / parameter.shape[-1] ** 0.5
    layer.requires_grad_(False)
    rows = CONTEXTS * LENGTH
    codes = noise(seed + 1, rows, P).abs() * (noise(seed + 2, rows, P) > 1.1)
    x = (codes @ decoder + 0.2 * noise(seed + 3, D) + 0.05 * noise(seed + 4, rows, D)).float()
    y = layer(x)
    outputs = OutputDictionary(
        torch.nn.functional.normalize(noise(seed + 5, Q, M), dim=1).float(),
        0.1 * noise(seed + 6, Q).float(),
        y.mean(dim=0),
    )
    inputs = InputDictionary(decoder.float(), 0.2 * noise(seed + 3, D).float())
    language = SimpleNamespace(name="stand-in", tokenizer=Words())
    readers = (None, SimpleNamespace(decoder=noise(seed + 7, Q, M).float()))
    return StandIn(layer, inputs, outputs, x, y, language, readers)

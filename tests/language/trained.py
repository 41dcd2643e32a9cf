"""A tiny Llama, rows of random tokens, and a training of nine steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from quadric.language.config import FitConfig
from quadric.language.text import Rows
from quadric.training import log

V, T = 61, 12
CONFIG = FitConfig(
    steps=9, batch_contexts=5, lr=0.01, lr_warmup=2, eval_every=4, dtype="float32", device="cpu"
)


def model(*, tied: bool = True, seed: int = 0, **changes: Any) -> Any:
    """A random Llama with gains that are not 1, its embedding also its head."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=V, hidden_size=16, intermediate_size=20, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied,
        max_position_embeddings=T, **{"initializer_range": 0.2, **changes},
    )  # fmt: skip
    found = LlamaForCausalLM(config)
    for name, parameter in found.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return found


def rows(contexts: int = 23, held_out: int = 7) -> Rows:
    ids = torch.randint(V, (contexts + held_out, T), generator=torch.Generator().manual_seed(3))
    return Rows(ids[held_out:].to(torch.int16), ids[:held_out].to(torch.int16), 0)


def cross_entropy(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """−log p of every next token, one by one, in nats."""
    logits = model(ids.long()).logits.double()
    losses = [
        torch.logsumexp(logits[b, t], 0) - logits[b, t, ids[b, t + 1].long()]
        for b in range(len(ids))
        for t in range(ids.shape[1] - 1)
    ]
    return torch.stack(losses).mean()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [line | {"seconds": 0} for line in log.read(folder / log.LOG)]


def same(left: Any, right: Any) -> bool:
    one, two = left.state_dict(), right.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)

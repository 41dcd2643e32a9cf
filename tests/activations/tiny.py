"""Random language models of a few thousand weights, one per architecture, and a byte tokeniser."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

VOCABULARY = 257
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "attn_implementation": "eager",
    # Far larger than usual, so that every module changes the residual stream visibly.
    "initializer_range": 0.5,
}


def tiny_model(kind: str, layers: int = 3, seed: int = 0) -> PreTrainedModel:
    """A random float64 model in evaluation mode."""
    torch.manual_seed(seed)
    sizes = SIZES | {"num_hidden_layers": layers}
    tokens = {"bos_token_id": None, "eos_token_id": 256, "pad_token_id": None}
    match kind:
        case "llama":
            model = LlamaForCausalLM(LlamaConfig(**sizes, **tokens, num_key_value_heads=1))
        case "gpt2":
            model = GPT2LMHeadModel(GPT2Config(**sizes, **tokens))
        case "neox" | "neox-sequential":
            parallel = kind == "neox"
            model = GPTNeoXForCausalLM(
                GPTNeoXConfig(**sizes, **tokens, use_parallel_residual=parallel)
            )
        case "gemma2":
            model = Gemma2ForCausalLM(
                Gemma2Config(**sizes, **tokens, num_key_value_heads=1, head_dim=6)
            )
            # Fresh RMSNorm scales are all 1: make the norms after the modules do something.
            for name, weight in model.named_parameters():
                if "norm" in name:
                    torch.nn.init.normal_(weight)
        case "bert":
            model = BertForMaskedLM(BertConfig(**sizes, pad_token_id=0))
        case "opt":
            model = OPTForCausalLM(OPTConfig(**sizes, **tokens, ffn_dim=20, word_embed_proj_dim=12))
        case "t5":
            model = T5ForConditionalGeneration(
                T5Config(vocab_size=64, d_model=12, d_kv=6, d_ff=20, num_layers=3, num_heads=2)
            )
        case _:
            raise ValueError(kind)
    return model.double().eval()


def tiny_tokenizer(eos: str | None = "<eos>") -> PreTrainedTokenizerFast:
    """One token per byte, and an end token 256 unless ``eos`` is None."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({sign: i for i, sign in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos)


def save_tiny(folder: Path, kind: str = "llama", *, loud: int | None = None) -> Path:
    """A model with its tokeniser as a folder; the embedding of ``loud`` is 1000 times as long."""
    model = tiny_model(kind).float()
    if loud is not None:
        with torch.no_grad():
            model.get_input_embeddings().weight[loud] *= 1000
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder

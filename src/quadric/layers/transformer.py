"""A small transformer whose MLPs are gated layers, bilinear by default.

    x ← x + attention(norm(x)) / √(2L),    x ← x + MLP(norm(x)),    MLP(y) = P(Wy ⊙ σ(Vy))

for each of L blocks, then norm(x) and a matrix of its own to the tokens (arXiv 2410.08417,
appendix F.2 and figure 20). Positions are rotary, norm(x) = x / √(mean x² + 1e-8) has no gain and
nothing has a bias; so where σ is the identity, an MLP is a quadratic form of its normed input.

    config = GatedTransformerConfig()                       # gate="relu" or "silu" for the others
    model = GatedTransformerForCausalLM(config)
    model.model.layers[3].mlp.tensor()

Importing this module makes the model known to transformers' ``AutoConfig``, ``AutoModel`` and
``AutoModelForCausalLM``. Attention, rotary positions, masks, cache and loss are transformers' own.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaForCausalLM,
    LlamaModel,
    LlamaRotaryEmbedding,
)

from quadric.layers.layer import GatedLayer
from quadric.layers.transformer_config import GatedTransformerConfig

EPSILON = 1e-8
"""Of all norms."""


def _norm(config: GatedTransformerConfig) -> nn.RMSNorm:
    return nn.RMSNorm(config.hidden_size, eps=EPSILON, elementwise_affine=False)


class Block(GradientCheckpointingLayer):  # type: ignore[misc]
    """Attention and a gated layer, each added to the residual stream.

    Attributes:
        self_attn: transformers' attention, with rotary positions and grouped queries.
        mlp: the :class:`GatedLayer`.
        attention_scale: 1/√(2L), what attention is multiplied by.
    """

    def __init__(self, config: GatedTransformerConfig, index: int) -> None:
        """Block ``index``, from 0."""
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = _norm(config), _norm(config)
        self.self_attn = LlamaAttention(config, index)
        self.mlp = GatedLayer(
            config.hidden_size, config.intermediate_size, config.hidden_size, gate=config.gate
        )
        self.attention_scale = 1 / math.sqrt(2 * config.num_hidden_layers)

    def forward(
        self, hidden_states: Float[Tensor, "batch tokens d"], **kwargs: Any
    ) -> Float[Tensor, "batch tokens d"]:
        """The residual stream after this block."""
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        hidden_states = hidden_states + self.attention_scale * attended
        outputs: Tensor = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        return outputs


class GatedTransformer(LlamaModel):  # type: ignore[misc]
    """Embedding, blocks and the last norm; calling it is transformers' ``LlamaModel.forward``."""

    config_class = GatedTransformerConfig
    _no_split_modules: ClassVar[list[str]] = ["Block"]
    _can_record_outputs: ClassVar[dict[str, type]] = {
        "hidden_states": Block,
        "attentions": LlamaAttention,
    }

    def __init__(self, config: GatedTransformerConfig) -> None:
        """A model with random weights."""
        PreTrainedModel.__init__(self, config)  # not LlamaModel's, which makes Llama's blocks
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = _norm(config)
        self.rotary_emb = LlamaRotaryEmbedding(config)
        self.gradient_checkpointing = False
        self.post_init()


class GatedTransformerForCausalLM(LlamaForCausalLM):  # type: ignore[misc]
    """The transformer with a matrix to the logits, its own and not the embedding's.

    Attributes:
        model: the :class:`GatedTransformer`.
        lm_head: the matrix.
    """

    config_class = GatedTransformerConfig
    _no_split_modules: ClassVar[list[str]] = ["Block"]

    def __init__(self, config: GatedTransformerConfig) -> None:
        """A model with random weights."""
        PreTrainedModel.__init__(self, config)
        self.model = GatedTransformer(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()


AutoConfig.register(GatedTransformerConfig.model_type, GatedTransformerConfig, exist_ok=True)
AutoModel.register(GatedTransformerConfig, GatedTransformer, exist_ok=True)
AutoModelForCausalLM.register(GatedTransformerConfig, GatedTransformerForCausalLM, exist_ok=True)

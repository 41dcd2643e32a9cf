"""What a gated transformer is: its sizes and the one field by which bilinear models differ."""

from __future__ import annotations

import difflib
from typing import Any, ClassVar, get_args

from transformers import PreTrainedConfig

from quadric.errors import QuadricError
from quadric.layers.gates import Gate, check_gate

_GATES = tuple(gate for gate in get_args(Gate) if gate != "swish")
_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "max_position_embeddings",
)  # fmt: skip
_FIXED = {
    "hidden_act": "the field is gate",
    "tie_word_embeddings": "the logits have a matrix of their own",
    "attention_bias": "nothing has a bias",
    "mlp_bias": "nothing has a bias",
    "attention_dropout": "there is no dropout",
    "rms_norm_eps": "it is 1e-8",
    "head_dim": "the heads share the width evenly",
}
"""What Llama's config has and this one does not, and why."""


class GatedTransformerConfig(PreTrainedConfig):  # type: ignore[misc]
    """Sizes of a transformer and σ of its MLPs; the names are those of transformers.

    The default is the model of arXiv 2410.08417, appendix F.2: 29.36 million parameters.

    Raises:
        QuadricError: a size is below 1, heads do not divide the width or each other, the gate is
            unknown, or a key is a misspelt field.
    """

    model_type: ClassVar[str] = "gated_transformer"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    vocab_size: int = 4096
    """Number of tokens."""
    hidden_size: int = 512
    """Width of the residual stream."""
    intermediate_size: int = 2048
    """Products of each MLP."""
    num_hidden_layers: int = 6
    """Number of blocks."""
    num_attention_heads: int = 8
    """Heads of each attention layer; they share the width evenly."""
    num_key_value_heads: int | None = None
    """Heads of keys and values, each shared by a group of heads; as many as heads when None."""
    gate: Gate = "identity"
    """σ of the MLPs: identity (bilinear), relu (ReGLU), silu (SwiGLU) or gelu (GeGLU)."""
    max_position_embeddings: int = 256
    """Number of tokens that the model is trained on at once."""
    initializer_range: float = 0.02
    """Standard deviation of all weights at the start, as in GPT-2."""
    rope_parameters: dict[str, Any] | None = None
    """Rotary positions, in transformers' format; base 10,000 when None."""
    use_cache: bool = True
    """Whether generation keeps the keys and values of earlier tokens."""
    pad_token_id: int | None = None
    """Id of the padding token."""
    bos_token_id: int | None = None
    """Id of the token that begins a text."""
    eos_token_id: int | list[int] | None = None
    """Id of the token that ends a text."""

    # What transformers asks for and this model does not choose.
    tie_word_embeddings: ClassVar[bool] = False
    attention_bias: ClassVar[bool] = False
    attention_dropout: ClassVar[float] = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        """Check the fields."""
        known = GatedTransformerConfig.__annotations__
        for key in kwargs.keys() - known.keys():
            if close := difflib.get_close_matches(key, known, 1, 0.8):
                raise QuadricError(f"the model has no {key!r}; did you mean {close[0]!r}?")
        for key in kwargs:
            if key in _FIXED:
                raise QuadricError(f"the model has no choice of {key!r}: {_FIXED[key]}")
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        for name in _SIZES:
            size = getattr(self, name)
            if not isinstance(size, int) or size < 1:
                raise QuadricError(f"{name} is {size!r}, expected a whole number of 1 or more")
        heads, width = self.num_attention_heads, self.hidden_size
        if width % heads or (width // heads) % 2:
            raise QuadricError(f"hidden_size is {width}, expected a multiple of 2 × {heads} heads")
        if heads % self.num_key_value_heads:
            raise QuadricError(
                f"num_key_value_heads is {self.num_key_value_heads}, expected a divisor of the "
                f"{heads} heads"
            )
        if self.gate not in _GATES:
            check_gate(self.gate)
            raise QuadricError(f"gate is {self.gate!r}, expected one of {', '.join(_GATES)}")
        super().__post_init__(**kwargs)

"""Sparse autoencoders in SAELens' format: those of others are read, quadric's own are written.

    write_saelens(folder, model, hook_name="blocks.4.hook_mlp_out", model_name="runs/lm")
    autoencoder = read_saelens(folder)
    inputs, outputs = read_saelens_pair("blocks.4.ln2.hook_normalized", "blocks.4.hook_mlp_out")

A folder holds ``cfg.json`` and ``sae_weights.safetensors`` and stands for

    h = (x − b_dec)·W_enc + b_enc,    z = h where it is let through, else 0,    x̂ = z·W_dec + b_dec;

without ``apply_b_dec_to_input`` nothing is taken from x. SAELens itself is not needed. Of a pair
around one layer, the first is taken by what it writes, z·W_dec + b_dec, the second by what it
reads, h; so only autoencoders that are linear up to there will do.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

import quadric
from quadric.errors import QuadricError
from quadric.language.dictionaries import InputDictionary, OutputDictionary, dictionaries_of
from quadric.storage import read_json, read_tensors, write_json, write_tensors

if TYPE_CHECKING:
    from quadric.baselines import TopKAutoencoder

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
FORMAT = "6.0.0"
"""The version of SAELens whose format is written; where none is named, it expects an older one."""
LINEAR = ("standard", "topk", "batchtopk", "jumprelu")
"""Architectures with one linear pre-activation per feature."""
BEFORE_THE_NORM = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_mlp_in")
"""Hooks on the residual stream, which a layer reads only behind its norm and only adds to."""


@dataclass(frozen=True, eq=False)
class LinearAutoencoder:
    """An autoencoder of directions; made by ``read_saelens``."""

    encoder: Float[Tensor, "q d"]
    """W_encᵀ, one row per feature."""
    encoder_bias: Float[Tensor, "q"]
    """b_enc."""
    decoder: Float[Tensor, "q d"]
    """W_dec, one row per feature."""
    bias: Float[Tensor, "d"]
    """b_dec."""
    centred: bool
    """Whether b_dec is taken from x before it is encoded."""
    k: int | None
    """Only the k largest pre-activations of a token are let through; None for no such limit."""
    threshold: Float[Tensor, "q"]
    """Only pre-activations above this are let through; 0 or more."""
    hook_name: str | None
    """Where its activations come from, as its ``cfg.json`` says."""
    model_name: str | None
    """The language model they come from, as its ``cfg.json`` says."""

    def to(self, device: str | torch.device) -> LinearAutoencoder:
        """The same on a device."""
        return dataclasses.replace(
            self,
            encoder=self.encoder.to(device),
            encoder_bias=self.encoder_bias.to(device),
            decoder=self.decoder.to(device),
            bias=self.bias.to(device),
            threshold=self.threshold.to(device),
        )

    def read(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch q"]:
        """The pre-activations h."""
        x = x.to(self.encoder)
        return (x - self.bias if self.centred else x) @ self.encoder.mT + self.encoder_bias

    def kept(self, h: Float[Tensor, "*batch q"]) -> Bool[Tensor, "*batch q"]:
        """Which pre-activations are let through."""
        kept = h > self.threshold
        if self.k is not None:
            largest = h.topk(self.k, dim=-1).indices
            kept &= torch.zeros_like(kept).scatter(-1, largest, True)
        return kept

    def encode(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch q"]:
        """The activations z."""
        h = self.read(x)
        return torch.where(self.kept(h), h, 0.0)

    def decode(self, z: Float[Tensor, "*batch q"]) -> Float[Tensor, "*batch d"]:
        """x̂."""
        return z @ self.decoder + self.bias

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """x̂ of x."""
        return self.decode(self.encode(x))


class _Saved(NamedTuple):
    """One autoencoder's folder."""

    folder: Path
    config: dict[str, Any]
    weights: dict[str, Tensor]

    @property
    def centred(self) -> bool:
        """Whether b_dec is taken from what is encoded; so it is where nothing is said."""
        return bool(self.config.get("apply_b_dec_to_input", True))

    def named(self, key: str) -> str | None:
        """A setting that newer versions keep under ``metadata``, or None where it is unknown."""
        for place in (self.config.get("metadata"), self.config.get("meta"), self.config):
            if isinstance(place, dict) and isinstance(found := place.get(key), str):
                return found
        return None


def write_saelens(
    folder: Path,
    model: TopKAutoencoder,
    *,
    hook_name: str,
    model_name: str,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write quadric's TopK baseline as a SAELens autoencoder with the same z and x̂.

    SAELens knows no input transform, so quadric's goes into the weights; ``cfg.json`` comes last.

    Args:
        folder: it is made where it is missing.
        model: the autoencoder.
        hook_name: where its activations come from, preferably as TransformerLens spells it.
        model_name: the language model they come from.
        metadata: more of what SAELens keeps there, such as ``context_size``.

    Raises:
        QuadricError: the transform divides every activation by its own norm, or the folder cannot
            be written.
    """
    inputs, outputs = dictionaries_of(model)
    assert inputs.bias is not None and outputs.bias is not None
    weights = {
        "W_enc": outputs.encoder.mT,
        "b_enc": outputs.bias,
        "W_dec": inputs.decoder,
        "b_dec": inputs.bias,
    }
    write_tensors(folder / WEIGHTS, weights)
    config = {
        "architecture": "topk",
        "k": model.k,
        "d_in": model.d_in,
        "d_sae": model.d_sae,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": False,
        "metadata": {
            "sae_lens_version": FORMAT,
            "quadric_version": quadric.__version__,
            "model_name": model_name,
            "hook_name": hook_name,
            **(metadata or {}),
        },
    }
    write_json(folder / CONFIG, config)


def read_saelens(folder: str | Path) -> LinearAutoencoder:
    """An autoencoder with its activations, in float32 at least.

    Raises:
        QuadricError: the folder is not whole, or the autoencoder is not linear, normalises what it
            reads, or does not say which of its pre-activations are let through.
    """
    saved = _read(Path(folder))
    weights = {
        name: value.to(torch.promote_types(value.dtype, torch.float32))
        for name, value in saved.weights.items()
    }
    k, threshold = _rule(saved)
    features = len(weights["b_enc"])
    if k is not None and not 1 <= k <= features:
        raise QuadricError(f"{folder}: k is {k}, expected 1 to {features}, its features")
    return LinearAutoencoder(
        encoder=weights["W_enc"].mT,
        encoder_bias=weights["b_enc"],
        decoder=weights["W_dec"],
        bias=weights["b_dec"],
        centred=saved.centred,
        k=k,
        threshold=threshold.to(weights["b_enc"]).clamp_min(0).expand(features),
        hook_name=saved.named("hook_name"),
        model_name=saved.named("model_name"),
    )


def read_saelens_pair(
    inputs: str | Path, outputs: str | Path
) -> tuple[InputDictionary, OutputDictionary]:
    """The dictionary at a layer's input and the one at its output, from their SAELens folders.

    Raises:
        QuadricError: a folder is not whole; an autoencoder is not linear or normalises what it
            reads; or the two belong to different models or layers, or to the residual stream.
    """
    first, second = _read(Path(inputs)), _read(Path(outputs))
    for saved in (first, second):
        _check_layer(saved)
    for what in ("model_name", "hook_name"):
        one, other = (saved.named(what) for saved in (first, second))
        if what == "hook_name":
            one, other = (_block(name) for name in (one, other))
        if one is not None and other is not None and one != other:
            kind = "models" if what == "model_name" else "layers"
            raise QuadricError(
                f"{inputs} and {outputs} belong to different {kind}, {one} and {other}: take two "
                "dictionaries around one layer"
            )
    return (
        InputDictionary(first.weights["W_dec"], first.weights["b_dec"]),
        OutputDictionary(
            second.weights["W_enc"].mT,
            second.weights["b_enc"],
            second.weights["b_dec"] if second.centred else None,
        ),
    )


def _read(folder: Path) -> _Saved:
    saved = _Saved(folder, read_json(folder / CONFIG), read_tensors(folder / WEIGHTS))
    missing = [name for name in ("W_enc", "b_enc", "W_dec", "b_dec") if name not in saved.weights]
    if missing:
        raise QuadricError(f"{folder}: {WEIGHTS} has no {', '.join(missing)}")
    encoder, decoder = saved.weights["W_enc"].shape, saved.weights["W_dec"].shape
    if encoder != decoder[::-1]:
        raise QuadricError(
            f"{folder}: W_enc and W_dec have shapes {tuple(encoder)} and {tuple(decoder)}, "
            "expected (d_in, d_sae) and (d_sae, d_in)"
        )
    architecture = saved.config.get("architecture", "standard")
    if architecture not in LINEAR:
        raise QuadricError(
            f"{folder}: architecture is {architecture!r}, expected one of {', '.join(LINEAR)}: "
            "its pre-activations must be linear"
        )
    normalised = saved.config.get("normalize_activations") or "none"
    if normalised != "none":
        raise QuadricError(
            f"{folder}: normalize_activations is {normalised!r}, expected 'none': fold a constant "
            "factor with fold_activation_norm_scaling_factor first; another norm is not linear"
        )
    if saved.config.get("rescale_acts_by_decoder_norm"):
        raise QuadricError(
            f"{folder}: rescale_acts_by_decoder_norm is on: call fold_W_dec_norm and save again"
        )
    return saved


def _rule(saved: _Saved) -> tuple[int | None, Tensor]:
    """Which pre-activations an autoencoder lets through: the k largest, and those above these."""
    config, zero = saved.config, torch.zeros(1)
    architecture = config.get("architecture", "standard")
    if architecture in ("jumprelu", "batchtopk"):
        # Training ends by turning a batch's TopK, which depends on the batch, into a threshold.
        threshold = saved.weights.get("threshold", saved.weights.get("topk_threshold"))
        if threshold is None:
            raise QuadricError(
                f"{saved.folder}: architecture is {architecture!r} but {WEIGHTS} has no threshold: "
                "save it as an inference model"
            )
        return None, threshold
    # Before version 6, TopK was an activation function of the standard architecture.
    function = config.get("activation_fn") or config.get("activation_fn_str") or "relu"
    if architecture == "topk" or function == "topk":
        options = config.get("activation_fn_kwargs") or {}
        k = config.get("k", options.get("k") if isinstance(options, dict) else None)
        if not isinstance(k, int):
            raise QuadricError(f"{saved.folder}: k is {k!r} in {CONFIG}, expected a whole number")
        return k, zero
    if function != "relu":
        raise QuadricError(
            f"{saved.folder}: activation_fn is {function!r}, expected 'relu' or 'topk'"
        )
    return None, zero


def _check_layer(saved: _Saved) -> None:
    hook = saved.named("hook_name") or ""
    if hook.endswith(BEFORE_THE_NORM):
        raise QuadricError(
            f"{saved.folder}: hook {hook!r} is on the residual stream, before the layer's norm: "
            "expected the layer's own input (behind the norm) and output, such as "
            "ln2.hook_normalized and hook_mlp_out"
        )


def _block(hook: str | None) -> str | None:
    """The number of the layer in a hook's name."""
    found = re.search(r"\b(?:blocks|layers|h)\.(\d+)\b", hook or "")
    return found and found[1]

"""Two sparse autoencoders saved by SAELens, as the dictionaries on both sides of one layer.

    inputs, outputs = read_saelens_pair("blocks.4.ln2.hook_normalized", "blocks.4.hook_mlp_out")
    found = interactions_between(layer, inputs, outputs)

Reads each folder's ``cfg.json`` and ``sae_weights.safetensors``, without SAELens. Of the first it
takes what is written, z·W_dec + b_dec, of the second what is read, (y − b_dec)·W_enc + b_enc; so
only autoencoders that are linear up to there will do.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from quadric.errors import QuadricError
from quadric.language.dictionaries import InputDictionary, OutputDictionary
from quadric.storage import read_json, read_tensors

LINEAR = ("standard", "topk", "batchtopk", "jumprelu")
"""Architectures with one linear pre-activation per feature."""
BEFORE_THE_NORM = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_mlp_in")
"""Hooks on the residual stream, which a layer reads only behind its norm and only adds to."""


class _Saved(NamedTuple):
    """One autoencoder's folder."""

    folder: Path
    config: dict[str, Any]
    weights: dict[str, Tensor]

    def named(self, key: str) -> str | None:
        """A setting that newer versions keep under ``metadata``, or None where it is unknown."""
        for place in (self.config.get("metadata"), self.config.get("meta"), self.config):
            if isinstance(place, dict) and isinstance(found := place.get(key), str):
                return found
        return None


def read_saelens_pair(
    inputs: str | Path, outputs: str | Path
) -> tuple[InputDictionary, OutputDictionary]:
    """The dictionary at a layer's input and the one at its output, from their SAELens folders.

    Raises:
        QuadricError: a folder is not whole; an autoencoder is not linear or normalises what it
            reads; or the two belong to different models or layers, or to the residual stream.
    """
    first, second = _read(Path(inputs)), _read(Path(outputs))
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
    centre = second.config.get("apply_b_dec_to_input", True)
    return (
        InputDictionary(first.weights["W_dec"], first.weights["b_dec"]),
        OutputDictionary(
            second.weights["W_enc"].mT,
            second.weights["b_enc"],
            second.weights["b_dec"] if centre else None,
        ),
    )


def _read(folder: Path) -> _Saved:
    saved = _Saved(
        folder, read_json(folder / "cfg.json"), read_tensors(folder / "sae_weights.safetensors")
    )
    missing = [name for name in ("W_enc", "b_enc", "W_dec", "b_dec") if name not in saved.weights]
    if missing:
        raise QuadricError(f"{folder}: sae_weights.safetensors has no {', '.join(missing)}")
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
    hook = saved.named("hook_name") or ""
    if hook.endswith(BEFORE_THE_NORM):
        raise QuadricError(
            f"{folder}: hook {hook!r} is on the residual stream, before the layer's norm: expected "
            "the layer's own input (behind the norm) and output, such as ln2.hook_normalized and "
            "hook_mlp_out"
        )
    return saved


def _block(hook: str | None) -> str | None:
    """The number of the layer in a hook's name."""
    found = re.search(r"\b(?:blocks|layers|h)\.(\d+)\b", hook or "")
    return found and found[1]

"""Sparse dictionaries at the input and the output of one block's MLP: train them, open them.

    train("runs/lm", TextConfig("news"), DictionaryConfig(layer=4), Path("runs/dictionaries"))
    found = open_dictionaries("runs/lm", Path("runs/dictionaries"))
    interactions_between(found.layer, found.inputs, found.outputs)

The input is what the MLP reads, behind the norm; the output what it adds to the residual stream.
Both are harvested in one pass over the text, held in memory, and given to quadric's TopK baseline.
The folder holds ``in`` and ``out`` in SAELens' format, ``training.json`` with what was asked for
and, written last, ``dictionaries.json``; two such subfolders of anyone else can be opened as well.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

import quadric
from quadric.activations.hooks import Hook
from quadric.activations.models import LanguageModel, load_model
from quadric.errors import QuadricError
from quadric.language.config import DictionaryConfig, TextConfig
from quadric.language.dictionaries import InputDictionary, OutputDictionary
from quadric.language.fitting import fit, source_of
from quadric.language.harvesting import batches, gated_layer, harvest, held_out
from quadric.language.saelens import (
    LinearAutoencoder,
    read_saelens,
    read_saelens_pair,
    write_saelens,
)
from quadric.language.splicing import SplicedLosses, place_of, quality
from quadric.layers import GatedLayer
from quadric.settings import from_dict
from quadric.storage import check_unused, make_folder, read_json, write_json
from quadric.training.loop import resolve_device

if TYPE_CHECKING:
    from rich.console import Console

CONFIG, METRICS = "training.json", "dictionaries.json"
Site = Literal["in", "out", "mid"]
SITES: dict[Site, str] = {
    "in": "blocks.{}.mlp.hook_in",
    "out": "blocks.{}.hook_mlp_out",
    "mid": "blocks.{}.hook_resid_mid",
}
"""The MLP's input, its output, and the residual stream in front of its norm."""
LOSS_TOKENS = 16_384
"""Held-out tokens behind every spliced loss, rounded down to whole contexts."""
COUNTED_CONTEXTS = 16
"""Held-out contexts in which features are counted where no TopK says how many are on."""


def train(
    model: str,
    text: TextConfig,
    config: DictionaryConfig,
    out: Path,
    *,
    sites: Sequence[Site] = ("in", "out"),
    console: Console | None = None,
) -> dict[str, Any]:
    """Train dictionaries around a block's MLP and write them; returns what is in ``METRICS``.

    What the same call finished before is read, not trained again. Explained variance, features on
    per token and the share that is ever on are those of the held-out text without the leading
    positions; the losses are those of :mod:`quadric.language.splicing`, every position replaced.

    Args:
        model: ``smollm2-135m``, a local folder or a hub id.
        text: what is read: its training part harvested, its held-out part measured on.
        config: the dictionaries.
        out: the folder to write.
        sites: which activations; each has a subfolder of its name.
        console: where progress is drawn.

    Raises:
        QuadricError: the model has no such block, its MLP is no gated pair, its tokeniser does not
            fit, the text cannot be read, or ``out`` holds something else.
    """
    request = {
        "model": model,
        "text": dataclasses.asdict(text),
        "config": dataclasses.asdict(config),
        "sites": list(sites),
    }
    _begin(out, request)
    if (out / METRICS).is_file():
        return read_json(out / METRICS)
    started = time.monotonic()
    language = load_model(model, dtype=torch.float32, device=resolve_device("auto"))
    width = gated_layer(language, config.layer).left.in_features
    if config.k > config.expansion * width:
        raise QuadricError(
            f"k is {config.k}, expected 1 to {config.expansion * width}, the features of a "
            "dictionary"
        )
    places = {site: place_of(language.model, SITES[site].format(config.layer)) for site in sites}
    hooks = [place.hook for place in places.values()]
    harvested = harvest(language, hooks, text, config, console)
    contexts = harvested.held_out[: max(1, LOSS_TOKENS // text.context_size)]
    losses = SplicedLosses(language, contexts)
    found = {}
    for site, place in places.items():
        source = source_of(harvested, place.hook, config)
        fitted = fit(source, config, language.model.device, site, console)
        hook_name = SITES[site].format(config.layer)
        metadata = {
            "hf_hook_name": place.hook.hf_hook_name,
            "context_size": text.context_size,
            "prepend_bos": False,
            "dataset_path": text.dataset,
        }
        write_saelens(out / site, fitted, hook_name=hook_name, model_name=model, metadata=metadata)
        # What is measured is what was written.
        written = read_saelens(out / site).to(language.model.device)
        kept = source.held_out(harvested.held_out.numel())
        found[site] = {
            "hook_name": hook_name,
            "features": fitted.d_sae,
            "k": fitted.k,
            "held_out_tokens": len(kept),
            **quality(written, kept.to(language.model.device)),
            **losses.measure(place, written).as_dict(),
        }
    metrics = {
        "quadric_version": quadric.__version__,
        **request,
        "device": language.model.device.type,
        "training_tokens": harvested.training_tokens,
        "loss_tokens": contexts.numel(),
        "seconds": time.monotonic() - started,
        "dictionaries": found,
    }
    write_json(out / METRICS, metrics)
    return metrics


class LayerTokens(NamedTuple):
    """Tokens of a text and what goes into and out of a layer at each."""

    ids: Int[Tensor, "t"]
    """Token ids."""
    x: Float[Tensor, "t d"]
    """The MLP's inputs, behind the norm."""
    y: Float[Tensor, "t m"]
    """The MLP's outputs."""


@dataclass(frozen=True, eq=False)
class LayerDictionaries:
    """A language model's layer between two dictionaries; made by ``open_dictionaries``."""

    language: LanguageModel
    """The model, in float32 on the CPU."""
    layer: GatedLayer
    """Its MLP, bilinear or not."""
    inputs: InputDictionary
    """What the layer's inputs are made of."""
    outputs: OutputDictionary
    """What is read from its outputs."""
    k_in: int
    """Input features on at a token: TopK's k, or what was counted on held-out text."""
    k_out: int
    """Output features on at a token, likewise."""
    block: int
    """The block, from 0."""
    text: TextConfig
    """The text whose held-out part ``tokens`` reads."""
    drop_first: int
    """Leading positions of every context that are left out."""
    readers: tuple[LinearAutoencoder, LinearAutoencoder]
    """The autoencoders at the input and at the output."""

    def encode(self, x: Float[Tensor, "t d"]) -> Float[Tensor, "t p"]:
        """The activations z of the input dictionary at the layer's inputs."""
        return self.readers[0].encode(x)

    def measure(self, y: Float[Tensor, "t m"]) -> tuple[Float[Tensor, "t q"], Bool[Tensor, "t q"]]:
        """Output pre-activations at the layer's outputs, and which of them are let through."""
        pre = self.readers[1].read(y)
        return pre, self.readers[1].kept(pre)

    def tokens(self, contexts: int) -> Iterator[LayerTokens]:
        """Held-out text, a few contexts at once, without the leading positions.

        Args:
            contexts: at most so many; a text holds out ``TextConfig.held_out`` of them or fewer.

        Raises:
            QuadricError: the text cannot be read.
        """
        rows = held_out(self.language, self.text)[:contexts]
        hooks = [_hook(self.language, site, self.block) for site in ("in", "out")]
        for ids, found in batches(self.language, hooks, rows):
            kept = [value[:, self.drop_first :].flatten(0, 1).float() for value in found]
            yield LayerTokens(ids[:, self.drop_first :].flatten(), *kept)


def open_dictionaries(
    model: str, folder: Path, text: TextConfig | None = None
) -> LayerDictionaries:
    """The layer, its dictionaries and its text, from a model and a folder with ``in`` and ``out``.

    Args:
        model: the model that the dictionaries were trained on.
        folder: what ``train`` wrote, or two SAELens autoencoders of anyone's.
        text: what is read; None for the text of ``train``, or else all that is embedded.

    Raises:
        QuadricError: the folders are not whole, do not fit each other or the model, or lie at no
            MLP's input and output; or the MLP is no gated pair.
    """
    inputs, outputs = read_saelens_pair(folder / "in", folder / "out")
    readers = read_saelens(folder / "in"), read_saelens(folder / "out")
    language = load_model(model, dtype=torch.float32, device="cpu")
    block = _common_block(language, folder, readers)
    layer = gated_layer(language, block)
    widths = layer.left.in_features, layer.left.out_features
    if layer.out is not None:
        widths = layer.left.in_features, layer.out.out_features
    for site, reader, width in zip(("in", "out"), readers, widths, strict=True):
        check_belongs(reader, model, width, folder / site)
    asked = read_json(folder / METRICS) if (folder / METRICS).is_file() else {}
    if text is None:
        text = from_dict(TextConfig, asked.get("text", {}), f"{folder / METRICS}, text")
    trained = asked.get("config", {})
    found = LayerDictionaries(
        language=language,
        layer=layer,
        inputs=inputs,
        outputs=outputs,
        k_in=readers[0].k or 0,
        k_out=readers[1].k or 0,
        block=block,
        text=text,
        drop_first=trained.get("drop_first", DictionaryConfig.drop_first),
        readers=readers,
    )
    return found if found.k_in and found.k_out else _counted(found)


def check_belongs(autoencoder: LinearAutoencoder, model: str, width: int, folder: Path) -> None:
    """Refuse an autoencoder of another model, or of activations of another width.

    Models are compared by the last part of their names: ``HuggingFaceTB/x``, ``runs/x`` and ``x``
    are one.

    Raises:
        QuadricError: it is.
    """
    named = autoencoder.model_name
    if named is not None and _last(named) != _last(model):
        raise QuadricError(
            f"{folder} was trained on {named!r}, not on {model!r}: if they are the same model, "
            f"write this name as model_name in {folder / 'cfg.json'}"
        )
    if autoencoder.encoder.shape[1] != width:
        raise QuadricError(
            f"{folder} reads {autoencoder.encoder.shape[1]} dimensions at "
            f"{autoencoder.hook_name!r}, where {model} has {width}"
        )


def _begin(out: Path, request: dict[str, Any]) -> None:
    """Write down what is asked for, or find that the same was asked before.

    Raises:
        QuadricError: the folder holds something else.
    """
    make_folder(out)
    if (out / CONFIG).is_file():
        if read_json(out / CONFIG) != request:
            raise QuadricError(
                f"{out} was begun with another configuration than the one given: choose another "
                "folder"
            )
    else:
        check_unused(out)
    write_json(out / CONFIG, request)


def _common_block(
    language: LanguageModel, folder: Path, readers: Sequence[LinearAutoencoder]
) -> int:
    """The block whose MLP two autoencoders stand around.

    Raises:
        QuadricError: they stand elsewhere, or do not say where.
    """
    blocks = []
    sides: tuple[tuple[Site, str], ...] = (("in", "input"), ("out", "output"))
    for (site, side), reader in zip(sides, readers, strict=True):
        if reader.hook_name is None:
            raise QuadricError(f"{folder / site}: cfg.json names no hook: write hook_name into it")
        hook = place_of(language.model, reader.hook_name).hook
        found = re.fullmatch(SITES[site].replace(".", r"\.").format(r"(\d+)"), hook.hook_name)
        if found is None:
            raise QuadricError(
                f"{folder / site} was trained at {reader.hook_name!r}, expected the {side} of an "
                f"MLP, such as {SITES[site].format(0)}"
            )
        blocks.append(int(found[1]))
    if blocks[0] != blocks[1]:
        raise QuadricError(
            f"{folder} holds dictionaries of blocks {blocks[0]} and {blocks[1]}, expected two "
            "around one MLP"
        )
    return blocks[0]


def _counted(found: LayerDictionaries) -> LayerDictionaries:
    """With mean numbers of features on, counted on held-out text, where no TopK says them."""
    first = next(found.tokens(COUNTED_CONTEXTS))
    z, (_, kept) = found.encode(first.x), found.measure(first.y)
    counts = [max(1, round(float(on.sum() / len(on)))) for on in (z != 0, kept)]
    return dataclasses.replace(found, k_in=found.k_in or counts[0], k_out=found.k_out or counts[1])


def _hook(language: LanguageModel, site: Site, block: int) -> Hook:
    return place_of(language.model, SITES[site].format(block)).hook


def _last(name: str) -> str:
    """The last part of a model's name; a folder's own where it is a folder."""
    path = Path(name).expanduser()
    return (path.resolve().name if path.is_dir() else path.name).casefold()

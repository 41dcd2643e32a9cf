"""Bilinear autoencoders at the input and the output of one block's MLP: train them, open them.

    train("runs/lm", TextConfig("news"), QuadraticConfig(layer=4), Path("runs/quadratic"))
    found = open_between("runs/lm", Path("runs/quadratic/in"), Path("runs/quadratic/out"))
    found.composition.latent(7)

The input is what the MLP reads, behind the norm; the output what it adds to the residual stream.
Any two autoencoders that quadric trained at these places can be opened, whoever trained them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

import quadric
from quadric.activations.hooks import resolve
from quadric.activations.loader import ShuffledRows
from quadric.activations.models import LanguageModel, load_model
from quadric.activations.rows import MemoryRows
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder, Metadata
from quadric.errors import QuadricError
from quadric.language.composition import Composition, compose
from quadric.language.config import DictionaryConfig, TextConfig
from quadric.language.harvesting import batches, gated_layer, harvest, held_out
from quadric.layers import GatedLayer
from quadric.settings import from_dict
from quadric.storage import make_folder, read_json, write_json
from quadric.training import TrainingConfig
from quadric.training import train as train_autoencoders
from quadric.training.loop import resolve_device

if TYPE_CHECKING:
    from rich.console import Console

METRICS = "quadratic.json"
Site = Literal["in", "out"]
HOOKS: dict[Site, str] = {"in": "blocks.{}.mlp.hook_in", "out": "blocks.{}.hook_mlp_out"}


@dataclass(frozen=True)
class QuadraticConfig:
    """The bilinear autoencoders at the input and the output of one block's MLP.

    Raises:
        QuadricError: a value is out of range.
    """

    layer: int = 0
    """The block, from 0."""
    products: int = 4
    """Products per dimension of each autoencoder."""
    block: int = 4
    """Products of each output latent; an input latent is one product."""
    density_weight: float = 0.1
    """Weight of the Hoyer density in the loss."""
    steps: int = 1000
    """Optimiser steps of each autoencoder."""
    batch_size: int = 4096
    """Activations per step."""
    lr: float = 0.2
    """Peak learning rate."""
    dictionary_tokens: int = 2_000_000
    """At most so many tokens are harvested; when the steps need more they are read again."""
    drop_first: int = 1
    """Leading positions of every context left out: attention sinks live at position 0."""
    seed: int = 0
    """Seed of the weights and of the order of activations."""

    def __post_init__(self) -> None:
        """Check what no configuration behind this one checks."""
        for name in ("products", "block"):
            if getattr(self, name) < 1:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected a positive integer")

    def autoencoder(self, site: Site, width: int) -> AutoencoderConfig:
        """Products at the input; composites, which hold whole manifolds, at the output.

        The input is not centred: behind a norm, and in a layer without biases, the forms then have
        no linear part that the dictionary would miss.
        """
        count = self.products * width
        parts: dict[str, Any] = {"centre": False}
        if site == "out":
            count = max(1, count // self.block)
            parts = {"variant": "composite", "block": self.block}
        return AutoencoderConfig(
            width, count, norm="constant", density_weight=self.density_weight, seed=self.seed,
            **parts,
        )  # fmt: skip

    def digest(self, text: TextConfig) -> str:
        """Sixteen hexadecimal digits that name these autoencoders on a text."""
        values = [dataclasses.asdict(self), dataclasses.asdict(text)]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def train(
    model: str,
    text: TextConfig,
    config: QuadraticConfig,
    out: Path,
    *,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train both autoencoders into ``out/in`` and ``out/out``; returns what is in ``METRICS``.

    What the same call finished before is read, not trained again.

    Raises:
        QuadricError: the model has no such block, its MLP is no gated pair, the text cannot be
            read, training diverged, or ``out`` holds something else.
    """
    request = {
        "model": model,
        "text": dataclasses.asdict(text),
        "config": dataclasses.asdict(config),
    }
    if (out / METRICS).is_file():
        found = read_json(out / METRICS)
        if {key: found.get(key) for key in request} != request:
            raise QuadricError(
                f"{out} holds other autoencoders than those asked for: choose another folder"
            )
        return found
    language = load_model(model, dtype=torch.float32, device=resolve_device("auto"))
    gated_layer(language, config.layer)
    hooks = {
        site: resolve(language.model, [name.format(config.layer)])[0]
        for site, name in HOOKS.items()
    }
    wanted = DictionaryConfig(
        layer=config.layer,
        steps=config.steps,
        batch_size=config.batch_size,
        dictionary_tokens=config.dictionary_tokens,
        drop_first=config.drop_first,
    )
    harvested = harvest(language, list(hooks.values()), text, wanted, console)
    errors = {}
    for site, hook in hooks.items():
        x = harvested.activations[hook.hook_name]
        source = ShuffledRows(
            MemoryRows(x),
            batch_size=config.batch_size,
            seed=config.seed,
            held_out_fraction=len(harvested.held_out) / len(x),
            drop_first=config.drop_first,
        )
        source.batch_size = min(source.batch_size, source.training_rows)
        fit = TrainingConfig(
            steps=config.steps, batch_size=source.batch_size, lr=config.lr, seed=config.seed,
            eval_every=max(1, config.steps // 10),
        )  # fmt: skip
        metadata = Metadata(
            model_name=model,
            hook_name=hook.hook_name,
            hf_hook_name=hook.hf_hook_name,
            dataset=text.dataset,
            context_size=text.context_size,
        )
        (trained,) = train_autoencoders(
            source, {str(site): config.autoencoder(site, source.d_in)}, fit, out / site,
            metadata=metadata, console=console,
        ).values()  # fmt: skip
        kept = source.held_out(fit.eval_rows).to(trained.device)
        errors[site] = float(trained.product_error(kept).mean())
    metrics = {
        "quadric_version": quadric.__version__,
        **request,
        "training_tokens": harvested.training_tokens,
        "product_error": errors,
    }
    write_json(make_folder(out) / METRICS, metrics)
    return metrics


class Tokens(NamedTuple):
    """Tokens of held-out text and what goes into and out of a layer at each."""

    ids: Int[Tensor, "t"]
    x: Float[Tensor, "t d"]
    y: Float[Tensor, "t m"]


@dataclass(frozen=True, eq=False)
class Between:
    """A language model's bilinear layer between two bilinear autoencoders."""

    language: LanguageModel
    """The model, in float32 on the CPU."""
    layer: GatedLayer
    """Its MLP."""
    block: int
    """The block, from 0."""
    composition: Composition
    """The output latents, as functions of the layer's input."""
    text: TextConfig
    """The text whose held-out part ``tokens`` reads."""

    def tokens(self, contexts: int) -> Tokens:
        """At most so many held-out contexts, without their first position.

        Raises:
            QuadricError: the text cannot be read.
        """
        rows = held_out(self.language, self.text)[:contexts]
        names = [name.format(self.block) for name in HOOKS.values()]
        parts = [
            (ids[:, 1:].flatten(), *(value[:, 1:].flatten(0, 1).float() for value in values))
            for ids, values in batches(self.language, resolve(self.language.model, names), rows)
        ]
        return Tokens(*(torch.cat(column) for column in zip(*parts, strict=True)))


def open_between(
    model: str, run_in: Path, run_out: Path, text: TextConfig | None = None
) -> Between:
    """Two trained autoencoders with the MLP that lies between them.

    Args:
        model: the model that they were trained on.
        run_in: an autoencoder of the MLP's input.
        run_out: an autoencoder of its output.
        text: what is read; None for the text of the output autoencoder.

    Raises:
        QuadricError: they are not at the input and the output of one MLP of this model, or cannot
            be composed with it.
    """
    inputs, outputs = (BilinearAutoencoder.load_from_disk(run) for run in (run_in, run_out))
    blocks = [
        _block(site, run, found)
        for site, run, found in (("in", run_in, inputs), ("out", run_out, outputs))
    ]
    if blocks[0] != blocks[1]:
        raise QuadricError(
            f"{run_in} is at block {blocks[0]} and {run_out} at block {blocks[1]}: take two "
            "autoencoders around one MLP"
        )
    for run, found in ((run_in, inputs), (run_out, outputs)):
        named = found.metadata.model_name
        if named is not None and Path(named).name != Path(model).name:
            raise QuadricError(
                f"{run} was trained on {named!r}, not on {model!r}: if they are the same model, "
                f"write this name as model_name in {run / 'cfg.json'}"
            )
    language = load_model(model, dtype=torch.float32, device="cpu")
    layer = gated_layer(language, blocks[0])
    read = outputs.metadata
    if text is None:
        known = {"dataset": read.dataset, "context_size": read.context_size}
        given = {key: value for key, value in known.items() if value is not None}
        text = from_dict(TextConfig, given, f"{run_out / 'cfg.json'}, metadata")
    return Between(language, layer, blocks[0], compose(inputs, layer, outputs), text)


def _block(site: str, run: Path, model: BilinearAutoencoder) -> int:
    """The block at whose MLP's input or output an autoencoder is.

    Raises:
        QuadricError: it is somewhere else, or does not say where.
    """
    expected = {"in": r"blocks\.(\d+)\.mlp\.hook_in", "out": r"blocks\.(\d+)\.hook_mlp_out"}[site]
    name = model.metadata.hook_name
    found = re.fullmatch(expected, name or "")
    if found is None:
        wanted = {"in": "blocks.N.mlp.hook_in", "out": "blocks.N.hook_mlp_out"}[site]
        raise QuadricError(
            f"{run} was trained at {name!r}, expected {wanted}: quadric train MODEL DATASET "
            f"--hook {wanted} trains one there"
        )
    return int(found[1])

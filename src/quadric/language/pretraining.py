"""Train a gated transformer from scratch and leave it as a transformers folder.

    train(Recipe(fit=FitConfig(steps=500)), Path("runs/lm"))
    model = load_model("runs/lm", dtype=torch.float32, device="cpu")

The folder holds what ``save_pretrained`` writes (weights as safetensors, config, tokeniser),
``training.json`` with the recipe, ``metrics.jsonl`` with every step and, written last,
``metrics.json``.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from quadric.activations.models import load_tokenizer, quietly
from quadric.language.begun import check_begun, read_begun, write_begun
from quadric.language.config import Recipe
from quadric.language.loop import compute_dtype, fit
from quadric.language.text import Deduplicated, read_documents, read_rows
from quadric.language.tokenizer import train_tokenizer
from quadric.layers.transformer import GatedTransformerForCausalLM
from quadric.layers.transformer_config import GatedTransformerConfig
from quadric.storage import read_json, write_json
from quadric.training.loop import resolve_device

if TYPE_CHECKING:
    from rich.console import Console
    from transformers import PreTrainedTokenizerBase

CONFIG, METRICS, TOKENIZER = "training.json", "metrics.json", "tokenizer.json"


def train(
    recipe: Recipe, out: Path, *, resume: bool = False, console: Console | None = None
) -> dict[str, Any]:
    """Train a language model and write it to ``out``; what ``metrics.json`` holds is returned.

    Args:
        recipe: what it is, reads, and how it is trained.
        out: the folder to write.
        resume: continue what was begun there with the same recipe.
        console: where progress is drawn.

    Raises:
        QuadricError: the text cannot be read, the sizes do not fit, training diverged, or the
            folder holds another run.
        Interrupted: the run was asked to stop; it can be resumed.
    """
    check_begun(out, recipe, read_recipe, resume=resume)
    if (out / METRICS).is_file():
        return read_json(out / METRICS)
    # What cannot be is refused before the text is read, and that before the folder is made.
    GatedTransformerConfig(**dataclasses.asdict(recipe.architecture))
    resolve_device(recipe.fit.device)
    tokenizer = _tokenizer(recipe, out)
    rows = read_rows(tokenizer, recipe.text)
    model = build(recipe, tokenizer)
    write_begun(out / CONFIG, recipe.as_dict())
    _keep(tokenizer, out)

    def finish() -> None:
        with quietly():
            model.eval().save_pretrained(out)

    points = fit(model, rows, recipe.fit, out, finish=finish, resume=resume, console=console)
    metrics = {
        "gate": recipe.architecture.gate,
        "dtype": str(compute_dtype(recipe.fit, model.device)).removeprefix("torch."),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "text_tokens": rows.train.numel(),
        "text_copies_dropped": rows.copies,
        **points[-1]._asdict(),
        "points": [point._asdict() for point in points],
    }
    write_json(out / METRICS, metrics)
    return metrics


def build(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> GatedTransformerForCausalLM:
    """A new model with random weights, drawn with the recipe's seed.

    Raises:
        QuadricError: its sizes do not fit together.
    """
    # No pad_token_id: torch gives no gradient to that embedding, and here it also ends texts.
    config = GatedTransformerConfig(
        **dataclasses.asdict(recipe.architecture) | {"vocab_size": len(tokenizer)},
        max_position_embeddings=recipe.text.context_size,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.fit.seed)
        return GatedTransformerForCausalLM(config)


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run, finished or not.

    Raises:
        QuadricError: the folder holds none.
    """
    return read_begun(folder / CONFIG, Recipe.from_dict, "language model in training")


def _tokenizer(recipe: Recipe, out: Path) -> PreTrainedTokenizerBase:
    """That of the run, or one for a run that has none yet."""
    if (out / TOKENIZER).is_file():
        return load_tokenizer(str(out))
    if recipe.tokenizer is not None:
        return load_tokenizer(recipe.tokenizer)
    texts = Deduplicated(read_documents(recipe.text))
    return train_tokenizer(texts, recipe.architecture.vocab_size)


def _keep(tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Write a tokeniser, unless it is there; where ``tokenizer.json`` is, the rest is whole."""
    if (out / TOKENIZER).is_file():
        return
    with tempfile.TemporaryDirectory(dir=out) as folder:
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).iterdir(), key=lambda path: path.name == TOKENIZER):
            path.replace(out / path.name)

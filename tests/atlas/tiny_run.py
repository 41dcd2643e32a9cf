"""A run of a few thousand weights on a random language model, and an atlas of some of its forms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from quadric.activations.cache import ActivationCache
from quadric.activations.config import DataConfig, HarvestConfig
from quadric.activations.harvest import harvest
from quadric.atlas.content.axes import Group, group_forms, latent_forms
from quadric.atlas.content.points import completed, form_points, transformed
from quadric.atlas.contract import Measure, Statistic
from quadric.atlas.folder.writer import AtlasWriter
from quadric.atlas.records import FormRow, Page
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.autoencoders.config import Metadata
from quadric.runs.config import RunConfig
from quadric.training.config import TrainingConfig
from tests.activations.tiny import save_tiny, tiny_tokenizer

CONTEXT = 16
HOOK = "blocks.1.hook_resid_pre"
TEXT = "".join(
    f"On {day} the {thing} was {number}, and nobody asked why it was {number + 1}. "
    for number, day in enumerate(("Monday", "Tuesday", "Thursday", "Sunday", "Friday"))
    for thing in ("moon", "river", "house of cards", "letter", "price of tin", "quiet sea")
)
GROUP = 9
"""The number of the group in the atlas: d_sae and one."""


@dataclass(frozen=True)
class TinyRun:
    """Where everything lies."""

    run: Path
    atlas: Path
    cache: Path
    model: BilinearAutoencoder
    store: ActivationCache


def tiny_run(root: Path, **parts: object) -> TinyRun:
    """A run of d_sae 8 in ``root``/run, and the atlas of latents 0, 5 and 2 and of a group."""
    text = root / "text.txt"
    text.write_text(TEXT)
    language = save_tiny(root / "language")
    wanted = HarvestConfig(
        model=str(language), dataset=str(text), hook=HOOK, tokens=1024, context_size=CONTEXT,
        dtype="float32", device="cpu",
    )  # fmt: skip
    cache = root / "cache"
    harvest(wanted, cache)
    store = ActivationCache(cache)
    config = AutoencoderConfig(d_in=12, d_sae=8, **parts)  # type: ignore[arg-type]
    metadata = Metadata(
        model_name=str(language), hook_name=HOOK, hf_hook_name="model.layers.1.hook_in"
    )
    model = BilinearAutoencoder(config, metadata).eval()
    model.transform.fit(store.gather(torch.arange(len(store))))
    run = root / "run"
    model.save_pretrained(run)
    RunConfig(DataConfig(activations=str(cache)), TrainingConfig(), {"main": config}).write(
        run, finished=True
    )
    write_atlas(root / "atlas", model, store)
    return TinyRun(run, root / "atlas", cache, model, store)


def write_atlas(folder: Path, model: BilinearAutoencoder, store: ActivationCache) -> None:
    """Forms on twenty of their rows, some of them shared."""
    forms = [
        *latent_forms(model, [0, 5, 2]),
        *group_forms(model, [Group(GROUP, (1, 4, 6), (1.0, -0.5, 2.0))]),
    ]
    tokenizer = tiny_tokenizer()
    ids = store.token_ids(torch.arange(len(store)))
    with AtlasWriter(
        folder,
        title="tiny",
        modality="text",
        facts={},
        rows=len(store),
        context_size=CONTEXT,
        statistics=[Statistic("importance", "Importance", "Σλ²")],
        colour="importance",
        size="importance",
        measures=[Measure("gram", "Same form", "cosine")],
        run="../run",
    ) as atlas:
        rows = []
        for place, form in enumerate(forms):
            chosen = (torch.arange(20) * 7 + 3 * place + 40) % len(store)
            y = transformed(model, store.gather(chosen))
            full = completed(form, y)
            present = torch.arange(20) < 15
            atlas.add(Page(form.id, form_points(full, y), chosen.numpy(), present.numpy()))
            positive, negative = form.signature
            kind = "group" if form.id == GROUP else "latent"
            rows.append(
                FormRow(
                    form.id,
                    kind,
                    "blob",
                    0.1 * place,
                    0.0,
                    positive,
                    negative,
                    {},
                    label=f"label {form.id}",
                    written_label="written" if form.id == 5 else "",
                    members=form.members,
                    weights=form.weights,
                )
            )
        atlas.finish(
            rows,
            tokens=lambda start, stop: ids[start:stop].numpy(),
            texts=lambda numbers: [tokenizer.decode([number]) for number in numbers],
        )

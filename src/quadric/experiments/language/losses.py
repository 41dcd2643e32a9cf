"""What dictionaries cost a language model when they are spliced in, block by block.

    quadric experiment lm-losses            # trains what it measures
    quadric lm losses MODEL DATASET SAE…    # autoencoders in SAELens' format, of anyone

A dictionary's loss added is (patch − clean) / clean, with the model's loss clean and with the
activations replaced by the dictionary's reconstruction (arXiv 2410.08417, appendix F.3). Measured
are the dictionaries of every block's MLP outputs and of the residual stream in front of every MLP.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from quadric.errors import QuadricError
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.language.experiment import PAPER, LanguageExperiment
from quadric.experiments.language.figures.losses import draw
from quadric.experiments.language.settings import DICTIONARIES, MODEL, LanguageSettings
from quadric.experiments.table import Line, lines
from quadric.language import features
from quadric.language.config import TextConfig
from quadric.storage import read_json

if TYPE_CHECKING:
    from quadric.experiments.language.workshop import Workshop

OUT, MID = "hook_mlp_out", "hook_resid_mid"
KINDS = {OUT: "MLP outputs", MID: "residual stream"}
"""What the paper spliced dictionaries into, by the end of the hook's name."""
PUBLISHED = {
    OUT: (0.0119, 0.0205, 0.0379, 0.0487, 0.0593, 0.0868),
    MID: (0.0173, 0.0278, 0.0878, 0.165, 0.220, 0.286),
}
"""Loss added at the first to the sixth block: the constants of the authors' code, figure 21."""


@dataclass(frozen=True)
class LossOptions:
    """What may be chosen of the losses.

    Raises:
        QuadricError: a value is out of range.
    """

    keep_first: int = 0
    """Leading positions of every context whose activations are not replaced."""

    def __post_init__(self) -> None:
        """Check the range."""
        if self.keep_first < 0:
            raise QuadricError(f"keep_first is {self.keep_first}, expected 0 or more")


def measure(settings: LanguageSettings, workshop: Workshop) -> Measured:
    """Dictionaries of the MLP outputs and of the residual stream at every block.

    Raises:
        QuadricError: as for the workshop.
    """
    recipe = settings.recipe()
    model = workshop.model(recipe)
    rows = []
    for block in range(settings.num_hidden_layers):
        config = settings.dictionaries(block)
        around = workshop.dictionaries(model, recipe.text, config)
        stream = model / f"residual-{config.digest(recipe.text)}"
        features.train(
            str(model), recipe.text, config, stream, sites=("mid",), console=workshop.console
        )
        for folder in (around, stream):
            written = read_json(folder / features.METRICS)
            rows += [
                {**_place(one["hook_name"]), **one}
                for one in written["dictionaries"].values()
                if one["hook_name"].endswith((OUT, MID))
            ]
    head = {
        "model": f"{recipe.architecture.gate}, {settings.num_hidden_layers} blocks of width "
        f"{settings.hidden_size}",
        "dataset": recipe.text.dataset,
        "blocks": settings.num_hidden_layers,
        "features_per_dimension": settings.dictionary_expansion,
        "k": settings.k,
        "tokens": written["loss_tokens"],
        "keep_first": 0,
        "published": PUBLISHED,
    }
    return Measured({**head, "rows": rows})


@torch.no_grad()
def analyse(
    model: str, text: TextConfig, folders: Sequence[Path], options: LossOptions
) -> Measured:
    """The losses of autoencoders in SAELens' format, wherever in the model they were trained.

    Explained variance, features on and the share that is ever on are taken at the positions that
    are replaced.

    Raises:
        QuadricError: a folder cannot be read, or is not of this model.
    """
    from quadric.activations.models import load_model
    from quadric.language.harvesting import batches, held_out
    from quadric.language.saelens import read_saelens
    from quadric.language.splicing import SplicedLosses, place_of, quality
    from quadric.training.loop import resolve_device

    autoencoders = [read_saelens(folder) for folder in folders]
    device = resolve_device("auto")
    language = load_model(model, dtype=torch.float32, device=device)
    places = []
    for folder, autoencoder in zip(folders, autoencoders, strict=True):
        if autoencoder.hook_name is None:
            raise QuadricError(f"{folder}: cfg.json names no hook: write hook_name into it")
        places.append(place_of(language.model, autoencoder.hook_name))
    contexts = held_out(language, text)
    if options.keep_first >= contexts.shape[1]:
        raise QuadricError(
            f"keep_first is {options.keep_first}, but a context has {contexts.shape[1]} tokens: "
            "nothing would be replaced"
        )
    losses = SplicedLosses(language, contexts, keep_first=options.keep_first)
    rows = []
    for folder, autoencoder, place in zip(folders, autoencoders, places, strict=True):
        parts = [values[0] for _, values in batches(language, [place.hook], contexts)]
        x = torch.cat(parts)[:, options.keep_first :].flatten(0, 1)
        features.check_belongs(autoencoder, model, x.shape[1], folder)
        here = autoencoder.to(device)
        rows.append(
            {
                "folder": str(folder),
                **_place(autoencoder.hook_name or ""),
                "hook_name": autoencoder.hook_name,
                "features": len(autoencoder.encoder),
                "k": autoencoder.k,
                **quality(here, x),
                **losses.measure(place, here).as_dict(),
            }
        )
    head = {
        "model": model,
        "dataset": text.dataset,
        "blocks": None,
        "tokens": contexts.numel(),
        "keep_first": options.keep_first,
    }
    return Measured({**head, "rows": rows})


def _place(hook: str) -> dict[str, Any]:
    """The block that a hook's name is about, and what of it; block None where it is none."""
    found = re.search(r"(?:blocks|layers|h)\.(\d+)\.(.+)$", hook)
    return {"block": int(found[1]) if found else None, "kind": found[2] if found else hook}


def compare(measured: Measured) -> Comparison:
    """Whether loss added rises through the blocks, and is larger for the residual stream."""
    data = measured.data
    added = {
        kind: [row["loss_added"] for row in data["rows"] if row["kind"] == kind] for kind in KINDS
    }
    recovered = {
        kind: [row["loss_recovered"] for row in data["rows"] if row["kind"] == kind]
        for kind in KINDS
    }
    parts = [
        f"{KINDS[kind]}: {_percents(added[kind])} of the loss added and "
        f"{_percents(recovered[kind])} recovered"
        for kind in KINDS
    ]
    return Comparison(
        measured=(
            f"On {data['dataset']}, {data['model']}, {data['features_per_dimension']} features per "
            f"dimension, {data['k']} on, loss {data['rows'][0]['loss_clean']:.3f}, first to last "
            f"block. {'; '.join(parts)}."
        ),
        agrees=_agrees(added) if data["blocks"] >= len(PUBLISHED[OUT]) else None,
        rule=(
            f"with {len(PUBLISHED[OUT])} or more blocks: loss added is larger in the last block "
            "than in the first, for both, and in every block larger for the residual stream"
        ),
        figures={
            f"{row['hook_name']}/{name}": row[name]
            for row in data["rows"]
            for name in ("loss_added", "loss_recovered", "explained_variance", "alive")
        },
        lines=lines(*_table(data, added)),
    )


def _agrees(added: dict[str, list[float]]) -> bool:
    rising = all(values[-1] > values[0] for values in added.values())
    return rising and all(o < m for o, m in zip(added[OUT], added[MID], strict=True))


def _table(data: dict[str, Any], added: dict[str, list[float]]) -> list[Line]:
    """Loss added by block; between the ends published figures only where the depth is the same."""
    count = data["blocks"]
    rows = []
    for kind, values in added.items():
        published = PUBLISHED[kind]
        for block, value in enumerate(values):
            paper = ""
            if count == len(published) or block == 0:
                paper = f"{100 * published[block]:.2f} %"
            elif block == count - 1:
                paper = f"{100 * published[-1]:.2f} % (block {len(published)} of {len(published)})"
            name = f"loss added, {KINDS[kind]}, block {block + 1} of {count}"
            rows.append(Line(name, paper, "", f"{100 * value:.2f} %"))
    return rows


def _percents(values: Sequence[float | None]) -> str:
    return ", ".join("–" if value is None else f"{100 * value:.1f} %" for value in values)


EXPERIMENT = LanguageExperiment(
    name="losses",
    title="Loss added by sparse dictionaries, block by block",
    statement=(
        "TopK dictionaries with 4 features per dimension and 30 on add 1.2 % of the loss at the "
        "first block's MLP outputs and 8.7 % at the sixth's; in the residual stream before the MLP "
        "1.7 % and 28.6 %."
    ),
    source=f"{PAPER} appendix F.3, figure 21",
    settings=(*MODEL, *DICTIONARIES),
    measure=measure,
    draw=draw,
    compare=compare,
)

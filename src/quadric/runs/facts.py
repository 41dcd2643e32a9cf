"""What an autoencoder is and what its run found, as short facts in words."""

from __future__ import annotations

from pathlib import Path

from quadric.autoencoders import BilinearAutoencoder
from quadric.runs import calendar, evaluate
from quadric.storage import read_json, read_json_rows

_VARIANTS = {
    "vanilla": "single products",
    "ordered": "single products, the first ones most important",
    "mixed": "single products, mixed by a matrix",
    "combined": "single products, mixed by a matrix and ordered",
    "composite": "sums of {block} products",
    "topk": "single products, the {k} strongest {of}",
}
_NORMS = {"unit": "brought to length 1", "constant": "divided by the mean length", "none": ""}
_SCALES = {"dimension": "every dimension scaled", "whole": "scaled as a whole", "none": ""}


def of_model(model: BilinearAutoencoder) -> dict[str, str]:
    """Model, hook, text and configuration."""
    config, origin = model.config, model.metadata
    steps = ["centred" if config.centre else "", _SCALES[config.scale], _NORMS[config.norm]]
    kept = {"k": config.k, "of": "on average" if config.batch_topk else "of every row"}
    latents = _VARIANTS[config.variant].format(block=config.block, **kept)
    known = {
        "Model": origin.model_name,
        "Hook": origin.hook_name,
        "Text": origin.dataset,
        "Trained on": origin.tokens and f"{origin.tokens:,} rows",
        "Latents": f"{config.d_sae:,}: {latents}",
        "Input": ", ".join([f"{config.d_in:,} dimensions", *filter(None, steps)]),
        "Affine": "with linear and constant parts" if config.affine else None,
        "Density penalty": None if config.variant == "topk" else f"{config.penalty:g}",
        "Seed": str(config.seed),
    }
    return {name: value for name, value in known.items() if value}


def of_run(run: Path, model: BilinearAutoencoder, *, searched: int, rows: int) -> dict[str, str]:
    """The same, with how well it reconstructs and where known classes stand in its table.

    Args:
        run: the run's folder.
        model: its autoencoder.
        searched: leading rows of the store that were looked at.
        rows: rows of the store.
    """
    found = of_model(model)
    metrics = read_json(run / evaluate.FILE) if (run / evaluate.FILE).is_file() else {}
    if "product_error" in metrics:
        found["Product error"] = f"{metrics['product_error']:.3f} of ‖X‖², held out"
    if metrics.get("ce_loss_score") is not None:
        found["Cross-entropy kept"] = f"{metrics['ce_loss_score']:.1%}"
    found["Looked at"] = f"the first {searched:,} of {rows:,} rows"
    if (run / calendar.FILE).is_file():
        for finding in read_json_rows(run / calendar.FILE):
            place = f"form {finding['id']}, place {finding['rank']} of {finding['of']}"
            found[finding["name"].capitalize()] = place
    return found

"""Quadratic dictionaries on both sides of a bilinear MLP: which pairs make an output latent.

    quadric lm compose MODEL RUN_IN RUN_OUT

A bilinear autoencoder at the input of the MLP and one at its output. From the weights alone every
output latent is a quartic of the input, and a quadratic form of the input latents. Measured is how
much of the latent that form explains on held-out text, with all pairs of input latents and with the
few largest; how far the forms that the latent reads lie in the input dictionary; and the same with
the input dictionary rotated at random, which keeps everything but its fit to the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.language.experiment import LanguageExperiment
from quadric.experiments.language.figures.composition import draw
from quadric.experiments.language.reading import Peaks, listed, rounded
from quadric.experiments.language.settings import MODEL
from quadric.experiments.table import Line, lines
from quadric.language.composed_latents import ComposedLatent, Overlap
from quadric.language.composition import Composition, explained
from quadric.language.latent_forms import rotation

if TYPE_CHECKING:
    from quadric.experiments.language.settings import LanguageSettings
    from quadric.experiments.language.workshop import Workshop
    from quadric.language.quadratic_dictionaries import Between, Tokens

CONTEXTS = 128
"""Held-out contexts that are read, where there are so many."""
CHOSEN = 32
"""Output latents that are looked at one by one: those that vary most."""
MOST_PAIRS = 1024
"""Pairs of input latents that are tried."""
SHOWN_PAIRS = 8
"""Pairs of the latent that is shown."""
EXACT = 1e-6
"""How far the parts of a latent may be from it, relative to its largest value, in float64."""
BATCH_SIZE = 1024
_POINTS = 600
_ROWS = 2048


def measure(settings: LanguageSettings, workshop: Workshop) -> Measured:
    """Train what is missing, and compose it."""
    from quadric.language.quadratic_dictionaries import QuadraticConfig, open_between, train

    recipe = settings.recipe()
    model = workshop.model(recipe)
    config = QuadraticConfig(
        layer=settings.layer,
        products=settings.dictionary_expansion,
        steps=settings.dictionary_steps,
        batch_size=BATCH_SIZE,
        seed=settings.seed,
    )
    folder = model / f"quadratic-{config.digest(recipe.text)}"
    train(str(model), recipe.text, config, folder, console=workshop.console)
    return analyse(
        open_between(str(model), folder / "in", folder / "out", recipe.text),
        CONTEXTS,
        settings.seed,
    )


def analyse(between: Between, contexts: int = CONTEXTS, seed: int = 0) -> Measured:
    """How the latents at a layer's output are made of those at its input.

    Raises:
        QuadricError: the text cannot be read.
    """
    made, tokens = between.composition, between.tokens(contexts)
    null = made.null(seed)
    x, y = tokens.x.double(), tokens.y.double()
    latents, exact = _measured(between, x, y)
    parts = _in_pieces(lambda rows: torch.stack(made.account(rows)), x, dim=1)
    predicted = parts[:3].sum(0)
    ours = explained(latents, predicted)
    chance = explained(latents, _in_pieces(null.predict, x))
    scales = _in_pieces(made.codes, x).square().mean(0).sqrt()
    rank = latents.var(0).argsort(descending=True)
    chosen = [made.latent(int(number)) for number in rank[:CHOSEN]]
    turn = rotation(made.forms, seed)
    overlaps = [latent.overlap(made.dictionary) for latent in chosen]
    rotated = [latent.overlap(made.dictionary, turn) for latent in chosen]
    curves = [
        _by_pairs(made, latent, latents[:, number], x, scales)
        for latent, number in zip(chosen, rank.tolist(), strict=False)
    ]
    best = int(ours.r2[rank[: len(chosen)]].nan_to_num(-torch.inf).argmax())
    data = {
        "model": Path(between.language.name).name,
        "block": between.block,
        "inputs": _described(made.inputs, x),
        "outputs": _described(made.outputs, y),
        "tokens": len(x),
        "seed": seed,
        "exact_gap": float((parts.sum(0) - exact).abs().max() / exact.abs().max()),
        "measured_gap": float((parts.sum(0) - latents).abs().max() / latents.abs().max()),
        "layer_r2": _layer_r2(made, x),
        "shares": dict(zip(("pairs", "linear", "constant", "error"), _shares(parts), strict=True)),
        "r2": listed(ours.r2),
        "pearson": listed(ours.pearson),
        "null_r2": listed(chance.r2),
        "null_pearson": listed(chance.pearson),
        "pairs": curves[0]["pairs"],
        "latents": [
            {
                "latent": int(number),
                "r2": rounded(float(ours.r2[number])),
                "pearson": rounded(float(ours.pearson[number])),
                "by_pairs": curve["pearson"],
                "quartic": listed(latent.spectrum().values),
                "forms": listed(latent.forms.eigh_many(None, 4).values),
                "on_latents": listed(latent.on_latents.eigh_many(None, 4).values[0]),
                "overlap": _overlap(overlap),
                "null": _overlap(turned),
            }
            for number, latent, curve, overlap, turned in zip(
                rank.tolist(), chosen, curves, overlaps, rotated, strict=False
            )
        ],
        "shown": _shown(between, tokens, int(rank[best]), chosen[best], scales, latents, predicted),
    }
    return Measured(data)


def _measured(
    between: Between, x: Float[Tensor, "t d"], y: Float[Tensor, "t m"]
) -> tuple[Float[Tensor, "t q"], Float[Tensor, "t q"]]:
    """The output latents of the activations, and of the layer run in float64 on its inputs."""
    outputs, layer = between.composition.outputs, between.layer
    tensor = layer.tensor().to(dtype=torch.float64)
    lifted = torch.nn.functional.pad(x, (0, 1), value=1.0) if layer.lifted else x
    return outputs.encode(y), outputs.encode(tensor(lifted))


def _in_pieces(function: Any, x: Float[Tensor, "t d"], dim: int = 0) -> Tensor:
    return torch.cat([function(rows) for rows in torch.split(x, _ROWS)], dim=dim)


def _described(model: Any, x: Float[Tensor, "t d"]) -> dict[str, Any]:
    config = model.config
    return {
        "latents": config.d_sae,
        "products": config.factors,
        "width": config.d_in,
        "variant": config.variant,
        "norm": config.norm,
        "centre": config.centre,
        "affine": config.affine,
        "product_error": float(model.product_error(x).mean()),
    }


def _layer_r2(made: Composition, x: Float[Tensor, "t d"]) -> float:
    """Share of the variance of the layer's outputs that Gz + c explains, over all outputs."""
    v = _in_pieces(lambda rows: made.forms(made.lifted(rows)), x)
    found = _in_pieces(made.codes, x) @ made.readout.mT + made.constant
    return float(1 - (v - found).square().sum() / (v - v.mean(0)).square().sum())


def _shares(parts: Float[Tensor, "4 t q"]) -> list[float]:
    """Root mean square of each part over that of the whole, median over latents."""
    whole = parts.sum(0).square().mean(0).sqrt()
    sizes = parts.square().mean(1).sqrt() / whole.where(whole > 0, torch.nan)
    return [float(value) for value in sizes.nanmedian(dim=1).values]


def _by_pairs(
    made: Composition,
    latent: ComposedLatent,
    measured: Float[Tensor, "t"],
    x: Float[Tensor, "t d"],
    scales: Float[Tensor, "p"],
) -> dict[str, Any]:
    """Correlation of the measured latent with its 1, 2, 4 … largest pairs."""
    pairs = latent.top_pairs(MOST_PAIRS, scales)
    counts = [1 << power for power in range(len(pairs.weights).bit_length())]
    made_of = pairs.contributions(made.codes(x)) / made.divisor(x)
    sums = made_of.cumsum(dim=1)[:, [count - 1 for count in counts]]
    found = explained(measured[:, None].expand_as(sums), sums)
    return {"pairs": counts, "pearson": listed(found.pearson)}


def _overlap(overlap: Overlap) -> dict[str, Any]:
    """Means over the forms of a latent; ``cosine`` is the largest |cosine|, ``latent`` whose."""
    largest = overlap.cosines.abs().amax(dim=1)
    return {
        "span": float(overlap.span.mean()),
        "kept": float(overlap.kept.mean()),
        "linear": float(overlap.linear.mean()),
        "cosine": float(largest.mean()),
        "latents": overlap.cosines.abs().argmax(dim=1).tolist(),
    }


def _shown(
    between: Between,
    tokens: Tokens,
    number: int,
    latent: ComposedLatent,
    scales: Float[Tensor, "p"],
    latents: Float[Tensor, "t q"],
    predicted: Float[Tensor, "t q"],
) -> dict[str, Any]:
    """One output latent: points, its pairs, and the tokens that name them."""
    made = between.composition
    pairs = latent.top_pairs(SHOWN_PAIRS, scales)
    codes = _in_pieces(made.codes, tokens.x.double())
    sizes = pairs.contributions(codes).square().mean(0).sqrt()
    inside = sorted({*pairs.first.tolist(), *pairs.second.tolist()} - {made.p})
    step = max(1, len(latents) // _POINTS)
    return {
        "latent": number,
        "measured": listed(latents[::step, number]),
        "predicted": listed(predicted[::step, number]),
        "names": _names(between, tokens.ids, latents[:, [number]])[0],
        "pairs": [
            {
                "first": first,
                "second": None if second == made.p else second,
                "weight": rounded(weight),
                "size": rounded(size),
            }
            for first, second, weight, size in zip(
                pairs.first.tolist(), pairs.second.tolist(), pairs.weights.tolist(),
                sizes.tolist(), strict=True,
            )
        ],
        "inputs": {
            str(place): names
            for place, names in zip(
                inside, _names(between, tokens.ids, codes[:, inside]), strict=True
            )
        },
    }  # fmt: skip


def _names(
    between: Between, ids: Int[Tensor, "t"], values: Float[Tensor, "t s"]
) -> list[list[dict[str, Any]]]:
    """The tokens at which the sizes of some latents are largest."""
    peaks = Peaks(values.shape[1], len(between.language.tokenizer))
    peaks.update(ids, values.abs())
    return peaks.names(between.language.tokenizer)


def compare(measured: Measured) -> Comparison:
    """Nothing was published: the figures stand by themselves."""
    data = measured.data
    r2, null = _median(data["r2"]), _median(data["null_r2"])
    pearson, chance = _median(data["pearson"]), _median(data["null_pearson"])
    span, turned = (_mean(data, key, "span") for key in ("overlap", "null"))
    kept, kept_null = (_mean(data, key, "kept") for key in ("overlap", "null"))
    few = min(len(data["pairs"]) - 1, 4)
    sixteen = _median([row["by_pairs"][few] for row in data["latents"]])
    text = (
        f"In block {data['block']} of {data['model']}, pairs of {data['inputs']['latents']} input "
        f"latents (product error {data['inputs']['product_error']:.2f}) explain the "
        f"{data['outputs']['latents']} output latents with a median R² of {r2:.2f} (rotated "
        f"dictionary {null:.2f}) and correlation of {pearson:.2f} ({chance:.2f}), over "
        f"{data['tokens']} held-out tokens; the {data['pairs'][few]} largest pairs correlate "
        f"{sixteen:.2f}. {100 * span:.0f} % of the forms that output latents read lie in the span "
        f"of the input latents' forms ({100 * turned:.0f} % rotated). The parts of a latent sum to "
        f"it to {data['exact_gap']:.0e}."
    )
    rows = (
        Line("output latents explained by pairs of input latents, median R²", "", "", f"{r2:.2f}"),
        Line("the same with the input dictionary rotated", "", "", f"{null:.2f}"),
        Line("correlation with all pairs, median", "", "", f"{pearson:.2f}"),
        Line(f"correlation with the {data['pairs'][few]} largest pairs", "", "", f"{sixteen:.2f}"),
        Line("layer outputs explained by input latents, R²", "", "", f"{data['layer_r2']:.2f}"),
        Line("share of the read forms in the input dictionary's span", "", "", f"{span:.2f}"),
        Line("the same rotated", "", "", f"{turned:.2f}"),
        Line("parts of a latent against the latent, relative", "", "", f"{data['exact_gap']:.0e}"),
    )
    return Comparison(
        measured=text,
        agrees=None,
        rule=f"nothing was published; the parts must sum to each latent to {EXACT:g}",
        figures={
            "r2_median": r2,
            "r2_median_null": null,
            "pearson_median": pearson,
            "pearson_median_null": chance,
            f"pearson_{data['pairs'][few]}_pairs_median": sixteen,
            "layer_r2": data["layer_r2"],
            "span": span,
            "span_null": turned,
            "kept": kept,
            "kept_null": kept_null,
            "exact_gap": data["exact_gap"],
        },
        lines=lines(*rows),
    )


def _median(values: Sequence[float | None]) -> float:
    return float(torch.tensor([v for v in values if v is not None], dtype=torch.float64).median())


def _mean(data: dict[str, Any], key: str, what: str) -> float:
    return float(sum(row[key][what] for row in data["latents"]) / len(data["latents"]))


EXPERIMENT = LanguageExperiment(
    name="composition",
    title="Quadratic dictionaries on both sides of a bilinear layer",
    statement="Nothing: that weights alone say which pairs of input latents make an output latent.",
    source="not published",
    settings=(*MODEL, "layer", "dictionary_expansion", "dictionary_steps"),
    measure=measure,
    draw=draw,
    compare=compare,
)

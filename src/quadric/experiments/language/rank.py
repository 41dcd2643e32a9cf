"""How few eigenvectors of a bilinear MLP explain the features read from its output.

    quadric lm rank MODEL DICTIONARIES

Every output feature is approximated by its k leading eigen-terms and correlated with what is
measured at the layer's output: over the tokens where TopK keeps the feature, and over all tokens
against the value before TopK (arXiv 2410.08417 §5.2, figure 9). Beside it stand the same
eigenvalues in random frames, how the shares depend on how often a feature must be on, and the check
that all eigen-terms together give a correlation of 1.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.language.experiment import PAPER, LanguageExperiment
from quadric.experiments.language.figures.rank import draw
from quadric.experiments.language.reading import (
    CONTEXTS,
    DECIDING_WIDTH,
    WELL_SAMPLED,
    listed,
    open_layer,
    rounded,
    usage,
)
from quadric.experiments.language.settings import DICTIONARIES, MODEL
from quadric.experiments.table import Line, lines
from quadric.language.dictionaries import OutputDictionary
from quadric.language.low_rank import HIGH, CorrelationSums, Fit, LowRank, leading_terms

if TYPE_CHECKING:
    from quadric.experiments.language.settings import LanguageSettings
    from quadric.experiments.language.workshop import Workshop
    from quadric.language.features import LayerDictionaries, LayerTokens

RANKS = 64
"""Eigen-terms of every feature, or as many as there are."""
SHOWN = (1, 2, 4, 8, 16)
"""Ranks whose distributions are kept."""
PAIR = 2
"""The rank of the published share and of the scatter."""
CHECKED = 5
"""Features that are also approximated at full rank, in float64."""
EXACT = 1e-6
"""How far from 1 their correlation may be."""
ENOUGH = 100
"""Well-sampled features below which a share decides nothing."""
BINS = 40
_POINTS = 600
"""Points of the scatter, of either kind."""


def measure(settings: LanguageSettings, workshop: Workshop) -> Measured:
    """The correlations of the settings' model, trained first where it is missing."""
    return analyse(open_layer(settings, workshop), CONTEXTS, settings.seed)


def analyse(layers: LayerDictionaries, contexts: int = CONTEXTS, seed: int = 0) -> Measured:
    """Correlations by rank of every output feature of a bilinear layer.

    Memory: three times the eigenvectors, q·k·d, the sums, and 8·d bytes a token.

    Raises:
        QuadricError: the layer is not bilinear, or no feature is on often enough.
    """
    text = list(layers.tokens(contexts))
    read = usage(layers, text)
    sampled = read.sampled()
    full = layers.layer.left.in_features + layers.layer.lifted
    approximation = leading_terms(layers.layer, layers.outputs, min(RANKS, full))
    ours = CorrelationSums(approximation)
    null = CorrelationSums(approximation.rotated(seed), everywhere=False)
    for batch in text:
        values, kept = layers.measure(batch.y)
        ours.update(batch.x, values, kept)
        null.update(batch.x, values, kept)
    active, everywhere, chance = ours.active(), ours.everywhere(), null.active()
    shown = [rank for rank in SHOWN if rank <= approximation.values.shape[1]]
    check = read.on.topk(min(CHECKED, len(read.on))).indices.sort().values
    typical = _typical(active, sampled, min(PAIR, shown[-1]))
    second = _second_pass(layers, text, check, approximation, typical)
    sets = {"active": active, "everywhere": everywhere, "null": chance}
    data = {
        "model": layers.language.name,
        "block": layers.block,
        "width": layers.layer.left.in_features,
        "full_rank": full,
        "features": len(read.on),
        "sampled": len(sampled),
        "minimum": WELL_SAMPLED,
        "k": layers.k_out,
        "tokens": read.tokens,
        "on_median": float(read.on.double().quantile(0.5)),
        "on_sampled_median": float(read.on[sampled].double().quantile(0.5)),
        "seed": seed,
        "high": HIGH,
        "shown": shown,
        "curves": {name: _curves(fit.pearson[sampled]) for name, fit in sets.items()},
        "shares": {name: _share(fit.pearson[sampled]) for name, fit in sets.items()},
        "r2": _middle(active.r2[sampled]),
        "slope": _middle(active.slope[sampled]),
        "histograms": {
            name: [_histogram(fit.pearson[sampled, rank - 1]) for rank in shown]
            for name, fit in sets.items()
        },
        "sensitivity": {
            str(rank): [
                {name: rounded(value) for name, value in row._asdict().items()}
                for row in ours.summaries(rank)
            ]
            for rank in shown
            if rank <= PAIR
        },
        "check": second.check,
        "scatter": second.scatter,
    }
    return Measured(data, _rows(read.on, sets, shown))


class _Second(NamedTuple):
    check: dict[str, Any]
    scatter: dict[str, Any]


def _second_pass(
    layers: LayerDictionaries,
    text: Sequence[LayerTokens],
    features: Int[Tensor, "s"],
    approximation: LowRank,
    typical: int,
) -> _Second:
    """Full rank in float64 for some features, and the points of one feature."""
    outputs = layers.outputs
    some = OutputDictionary(
        outputs.encoder[features].double(),
        None if outputs.bias is None else outputs.bias[features].double(),
        None if outputs.centre is None else outputs.centre.double(),
    )
    layer = copy.deepcopy(layers.layer).double()
    whole = leading_terms(layer, some, layer.left.in_features + layer.lifted)
    sums = CorrelationSums(whole)
    rank = min(PAIR, approximation.values.shape[1])
    points: dict[bool, list[Tensor]] = {True: [], False: []}
    for batch in text:
        values, kept = layers.measure(batch.y)
        sums.update(batch.x, values[:, features], kept[:, features])
        guess = approximation(batch.x, slice(typical, typical + 1))[:, 0, rank - 1]
        pair = torch.stack([guess, values[:, typical].double()], dim=1)
        for on, found in points.items():
            found.append(_first(pair, kept[:, typical] == on, _POINTS - sum(map(len, found))))
    fits = {"active": sums.active(), "everywhere": sums.everywhere()}
    lost = {name: 1 - fit.pearson[:, -1] for name, fit in fits.items()}
    return _Second(
        {
            "features": features.tolist(),
            "rank": whole.values.shape[1],
            **{name: float(values.nan_to_num(nan=2.0).max()) for name, values in lost.items()},
        },
        {
            "feature": typical,
            "rank": rank,
            "on": listed(torch.cat(points[True])),
            "off": listed(torch.cat(points[False])),
        },
    )


def _first(pairs: Float[Tensor, "t 2"], chosen: Bool[Tensor, "t"], count: int) -> Tensor:
    return pairs[chosen][: max(0, count)]


def _typical(fit: Fit, sampled: Int[Tensor, "s"], rank: int) -> int:
    """The well-sampled feature whose correlation at a rank is the lower median."""
    found = fit.pearson[sampled, rank - 1].nan_to_num(nan=-1.0)
    return int(sampled[found.argsort(stable=True)[(len(found) - 1) // 2]])


def _curves(pearson: Float[Tensor, "s k"]) -> dict[str, Any]:
    """Mean and quartiles over features, by rank."""
    quartiles = pearson.nanquantile(pearson.new_tensor([0.25, 0.5, 0.75]), dim=0)
    parts = zip(("low", "median", "high"), quartiles, strict=True)
    return {"mean": listed(pearson.nanmean(dim=0)), **{name: listed(row) for name, row in parts}}


def _share(pearson: Float[Tensor, "s k"]) -> list[float | None]:
    """Share of features above ``HIGH`` by rank, of those whose correlation is defined."""
    defined = (~pearson.isnan()).sum(dim=0)
    found: list[float | None] = listed((pearson > HIGH).sum(dim=0) / defined)
    return found


def _middle(values: Float[Tensor, "s k"]) -> list[float | None]:
    """Median over features by rank."""
    found: list[float | None] = listed(values.nanmedian(dim=0).values)
    return found


def _histogram(pearson: Float[Tensor, "s"]) -> list[int]:
    """Counts in equal bins from −1 to 1."""
    defined = pearson[~pearson.isnan()]
    return [int(count) for count in torch.histc(defined, BINS, -1, 1).tolist()]


def _rows(on: Int[Tensor, "q"], sets: dict[str, Fit], shown: list[int]) -> list[dict[str, Any]]:
    """One row per feature, for the Parquet file."""
    columns: dict[str, list[Any]] = {"feature": list(range(len(on))), "on": on.tolist()}
    for rank in shown:
        for name, fit in sets.items():
            columns[f"{name}_{rank}"] = listed(fit.pearson[:, rank - 1])
        columns[f"r2_{rank}"] = listed(sets["active"].r2[:, rank - 1])
        columns[f"slope_{rank}"] = listed(sets["active"].slope[:, rank - 1])
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def compare(measured: Measured) -> Comparison:
    """Whether two eigenvectors are enough for most features."""
    data = measured.data
    pair = min(PAIR, data["shown"][-1]) - 1
    mean, share = data["curves"]["active"]["mean"], data["shares"]["active"]
    chance = data["shares"]["null"][pair] or 0.0
    lost = max(data["check"]["active"], data["check"]["everywhere"])
    small = data["width"] < DECIDING_WIDTH or data["sampled"] < ENOUGH
    holds = lost <= EXACT and share[pair] > max(0.5, chance)
    text = (
        f"In block {data['block']} of {data['model']}, {data['sampled']} of {data['features']} "
        f"features are on at {data['minimum']} or more of {data['tokens']} tokens. Their "
        f"correlation with one eigenvector is {mean[0]:.2f} on average; with {pair + 1}, "
        f"{_percent(share[pair])} of them exceed {HIGH:g} ({_percent(chance)} in random frames). "
        f"Full rank misses a correlation of 1 by {lost:.1e} at most, over "
        f"{len(data['check']['features'])} features."
    )
    return Comparison(
        measured=text,
        agrees=None if small else holds,
        rule=(
            f"more than half of the well-sampled features exceed {HIGH:g} with two eigenvectors, "
            f"more than in random frames, and full rank gives 1 to {EXACT:g}; undecided below "
            f"width {DECIDING_WIDTH} or {ENOUGH} such features"
        ),
        figures={
            "mean_rank_1": mean[0],
            "share_rank_1": share[0],
            "share_rank_2": share[pair],
            "share_rank_2_null": chance,
            "full_rank_lost": lost,
            "r2_rank_2": data["r2"][pair],
            "slope_rank_2": data["slope"][pair],
        },
        lines=lines(*_table(data, mean, share, pair, lost)),
    )


def _table(
    data: dict[str, Any], mean: list[float], share: list[float], pair: int, lost: float
) -> list[Line]:
    everywhere = data["curves"]["everywhere"]
    above = f"features above {HIGH:g} with two eigenvectors"
    rows = [
        Line("mean correlation with one eigenvector, feature on", ".67", "", f"{mean[0]:.2f}"),
        Line("the same over all tokens, before TopK", "lower", "", f"{everywhere['mean'][0]:.2f}"),
        Line(f"features above {HIGH:g} with one eigenvector", "", "", _percent(share[0])),
        Line(
            above,
            "69 %",
            "32 % (ts-medium), 45 % (fw-medium; 73 % if well sampled), 65 % (fw-small)",
            _percent(share[pair]),
        ),
        Line(f"{above}, in random frames", "", "", _percent(data["shares"]["null"][pair])),
    ]
    rows += [
        Line(
            f"{above}, of the {row['features']:g} on at {row['minimum']:g} or more tokens",
            "",
            "",
            _percent(row["high"]),
        )
        for row in data["sensitivity"].get(str(pair + 1), [])
        if row["features"]
    ]
    return [*rows, Line("1 − correlation at full rank, largest", "", "", f"{lost:.1e}")]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


EXPERIMENT = LanguageExperiment(
    name="rank",
    title="Output features by few eigenvectors",
    statement=(
        "Where an output feature is on, its activation correlates .67 on average with the "
        "approximation by one eigenvector; 69 % of the features exceed .75 with two."
    ),
    source=f"{PAPER} §5.2, figure 9",
    settings=(*MODEL, *DICTIONARIES, "layer"),
    measure=measure,
    draw=draw,
    compare=compare,
)

"""Density of every latent, vanilla against ordered.

    quadric experiment latent_density --quick

The Parquet file has one row per latent: its place in the dictionary, density and root mean square.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from quadric.autoencoders import AutoencoderConfig, hoyer_density
from quadric.autoencoders.config import Variant
from quadric.evaluation.product import SILENT
from quadric.experiments import grid, picture
from quadric.experiments.experiment import Comparison, Experiment, Measured, Request, Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIR: tuple[Variant, ...] = ("vanilla", "ordered")


def measure(request: Request) -> Measured:
    """Train both on the same batches and measure every latent on held-out activations."""
    data = grid.open_for(request)
    configs: dict[str, AutoencoderConfig] = {
        variant: grid.configure(
            request.settings, data.source.d_in, variant, request.settings.weight
        )
        for variant in PAIR
    }
    trained = grid.train_grid(request, data, configs)
    table: list[dict[str, Any]] = []
    summary = {}
    for variant in PAIR:
        latents = grid.latents_of(trained.models[variant], trained.held_out)
        density, rms = hoyer_density(latents), latents.square().mean(0).sqrt()
        table += [
            {"variant": variant, "latent": latent, "density": d, "rms": r}
            for latent, (d, r) in enumerate(zip(density.tolist(), rms.tolist(), strict=True))
        ]
        n, tenth = len(density), max(1, len(density) // 10)
        summary[variant] = {
            "latents": n,
            "mean": density.mean().item(),
            "median": density.median().item(),
            "lowest": density.min().item(),
            "highest": density.max().item(),
            "first_tenth": density[:tenth].mean().item(),
            "last_tenth": density[-tenth:].mean().item(),
            "dead": int((rms <= SILENT * rms.median()).sum()),
            "order_correlation": _correlation(density),
        }
    return Measured({"origin": grid.origin(trained), "summary": summary}, table)


def _correlation(density: torch.Tensor) -> float | None:
    """Rank correlation of a latent's place with its density; None where it is undefined."""
    n = len(density)
    if n < 3 or bool((density == density[0]).all()):
        return None
    ranks = density.argsort().argsort().double()
    places = torch.arange(n, dtype=torch.float64)
    return float(torch.corrcoef(torch.stack([places, ranks]))[0, 1])


def draw(measured: Measured) -> Figure:
    """Density by place in the dictionary, and sorted."""
    figure = picture.blank(7, 2.7)
    by_place, by_rank = figure.subplots(1, 2, sharey=True)
    for variant in PAIR:
        density = [row["density"] for row in measured.table if row["variant"] == variant]
        colour, marker = picture.LOOKS[variant]
        by_place.plot(density, marker, color=colour, ms=1.5, mew=0, label=variant)
        by_rank.plot(sorted(density, reverse=True), color=colour, lw=1.5, label=variant)
    by_place.set(xlabel="place in the dictionary", ylabel="Hoyer density", ylim=(0, None))
    by_rank.set(xlabel="rank by density")
    by_rank.legend(frameon=False, fontsize=8)
    return figure


def compare(measured: Measured) -> Comparison:
    """Whether any latent died, and where ordering puts the dense ones."""
    vanilla, ordered = (measured.data["summary"][variant] for variant in PAIR)
    dead = vanilla["dead"] + ordered["dead"]
    return Comparison(
        measured=(
            f"{dead} of {vanilla['latents'] + ordered['latents']} latents are dead. Densities lie "
            f"between {vanilla['lowest']:.2f} and {vanilla['highest']:.2f} in vanilla (mean "
            f"{vanilla['mean']:.2f}) and between {ordered['lowest']:.2f} and "
            f"{ordered['highest']:.2f} in ordered (mean {ordered['mean']:.2f}), where the first "
            f"tenth of the latents has {ordered['first_tenth']:.2f} and the last "
            f"{ordered['last_tenth']:.2f}."
        ),
        agrees=dead == 0,
        rule=f"no latent's root mean square is below {SILENT:.0%} of the median latent's",
        figures={
            "dead": dead,
            "mean_density_vanilla": vanilla["mean"],
            "mean_density_ordered": ordered["mean"],
            "first_tenth_ordered": ordered["first_tenth"],
            "last_tenth_ordered": ordered["last_tenth"],
            "order_correlation_ordered": ordered["order_correlation"],
            "order_correlation_vanilla": vanilla["order_correlation"],
        },
    )


EXPERIMENT = Experiment(
    name="latent_density",
    title="Density per latent, vanilla and ordered",
    statement="The scale-invariant measure of sparsity avoids dead latents altogether.",
    source="the project page of arXiv 2510.16820",
    measure=measure,
    draw=draw,
    compare=compare,
    quick=Settings(expansion=1, density_weights="0.3", steps=150, batch_size=1024),
)

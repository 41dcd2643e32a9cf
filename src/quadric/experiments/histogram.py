"""The activation histogram of one latent.

    quadric experiment histogram --quick

The latent shown is the one of median density in a vanilla autoencoder, next to the same latent at
its random start: a product of two random directions on the same activations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder, hoyer_density
from quadric.experiments import grid, picture
from quadric.experiments.experiment import Comparison, Experiment, Measured, Request, Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 81
"""Odd, so that one bin is centred on zero."""


def measure(request: Request) -> Measured:
    """Train one vanilla autoencoder and read one latent on held-out activations."""
    data = grid.open_for(request)
    config = grid.configure(request.settings, data.source.d_in, "vanilla", request.settings.weight)
    trained = grid.train_grid(request, data, {"vanilla": config})
    model = trained.models["vanilla"]
    latents = grid.latents_of(model, trained.held_out)
    density = hoyer_density(latents)
    chosen = int(density.argsort()[len(density) // 2])
    start = BilinearAutoencoder(config).to(model.device)
    start.transform = model.transform
    before = grid.latents_of(start, trained.held_out)[:, chosen]
    return Measured(
        {
            "origin": grid.origin(trained),
            "latent": chosen,
            "trained": describe(latents[:, chosen]),
            "start": describe(before),
        },
    )


def describe(values: Float[Tensor, " rows"]) -> dict[str, Any]:
    """A latent's histogram in units of its root mean square, and how concentrated it is."""
    values = values.double()
    rms = values.square().mean().sqrt()
    if rms == 0:
        return {"rms": 0.0, "edges": [], "counts": [], "density": 0.0, "top_share": None,
                "quiet_share": 1.0, "extreme": None}  # fmt: skip
    scaled = values / rms
    limit = scaled.abs().max().item()
    counts, edges = torch.histogram(scaled, BINS, range=(-limit, limit))
    squares = scaled.square().sort(descending=True).values
    top = max(1, len(values) // 100)
    return {
        "rms": rms.item(),
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "density": hoyer_density(values[:, None]).item(),
        "top_share": (squares[:top].sum() / squares.sum()).item(),
        "quiet_share": (scaled.abs() < 0.1).double().mean().item(),
        "extreme": limit,
    }


def draw(measured: Measured) -> Figure:
    """Counts on a logarithmic scale, trained and at the random start."""
    figure = picture.blank(5.6, 3.3)
    axes = figure.subplots()
    for key, colour, label in (
        ("start", "#999999", "at its random start"),
        ("trained", picture.LOOKS["vanilla"][0], "trained"),
    ):
        shown = measured.data[key]
        if shown["counts"]:
            axes.stairs(
                shown["counts"], shown["edges"], color=colour, fill=key == "trained", alpha=0.75,
                label=f"{label}, density {shown['density']:.2f}",
            )  # fmt: skip
    axes.set_yscale("log")
    axes.set(
        xlabel="latent, in units of its root mean square", ylabel="tokens",
        title=f"latent {measured.data['latent']}",
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=8)
    return figure


def compare(measured: Measured) -> Comparison:
    """Whether training with the density penalty makes a latent specific."""
    trained, start = measured.data["trained"], measured.data["start"]
    shares = [
        "none" if found["top_share"] is None else f"{found['top_share']:.0%}"
        for found in (trained, start)
    ]
    return Comparison(
        measured=(
            f"The strongest 1 % of tokens hold {shares[0]} of the latent's energy, {shares[1]} at "
            f"its random start; {trained['quiet_share']:.0%} of tokens stay below a tenth of its "
            f"root mean square (start {start['quiet_share']:.0%}); density "
            f"{trained['density']:.3f} (start {start['density']:.3f})."
        ),
        agrees=trained["density"] < start["density"],
        rule="the latent's density is below that of its random start",
        figures={
            "density": trained["density"],
            "density_at_start": start["density"],
            "top_share": trained["top_share"],
            "top_share_at_start": start["top_share"],
        },
    )


EXPERIMENT = Experiment(
    name="histogram",
    title="Activation histogram of one latent",
    statement="The scale-invariant sparsity makes latents specific: few tokens, strong responses.",
    source="the project page of arXiv 2510.16820",
    measure=measure,
    draw=draw,
    compare=compare,
    quick=Settings(expansion=1, density_weights="0.3", steps=150, batch_size=1024),
)

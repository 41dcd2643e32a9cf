"""Error by layer: the four variants and a TopK sparse autoencoder on the same activations.

    quadric experiment layers --quick
    quadric experiment layers --hook 'blocks.*.hook_resid_pre'

A TopK autoencoder reconstructs x, not xxᵀ; its x̂ gives x̂x̂ᵀ, whose error is on the bilinear ones'
scale. All have the same number of parameters of encoder and decoder together, 2·n·d_in, and read
the same transformed activations.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadric.activations.harvest import harvest
from quadric.activations.manifest import MANIFEST, Manifest
from quadric.autoencoders import AutoencoderConfig
from quadric.baselines import train_topk
from quadric.experiments import grid, picture
from quadric.experiments.experiment import (
    FOLLOW_UP,
    Comparison,
    Experiment,
    Measured,
    Request,
    Settings,
)
from quadric.runs.data import cache_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOPK = "TopK SAE"
K = 32
"""Active latents of the TopK autoencoder."""


def measure(request: Request) -> Measured:
    """Train every variant and the TopK autoencoder at each hook."""
    layers: list[dict[str, Any]] = []
    for layer in _by_layer(request):
        data = grid.open_for(layer)
        configs: dict[str, AutoencoderConfig] = {
            variant: grid.configure(
                layer.settings, data.source.d_in, variant, layer.settings.weight
            )
            for variant in grid.VARIANTS
        }
        trained = grid.train_grid(layer, data, configs)
        figures = grid.figures_of(trained)
        settings = layer.settings
        n = settings.products(data.source.d_in)
        linear = train_topk(
            data.source, n, min(K, n), steps=settings.steps, seed=settings.seed,
            device=next(iter(trained.models.values())).device,
        )  # fmt: skip
        error = linear.product_error(trained.held_out.to(linear.decoder.device)).mean().item()
        layers.append(
            {
                "hook": data.metadata.hook_name or "activations",
                "errors": {
                    **{variant: figures[variant]["product_error"] for variant in grid.VARIANTS},
                    TOPK: error,
                },
                "densities": {v: figures[v]["density"] for v in grid.VARIANTS},
                "topk_explained_variance": grid.defined(
                    linear.explained_variance(trained.held_out.to(linear.decoder.device))
                ),
                "constant_predictor": figures["vanilla"]["product_error_mean_predictor"],
                "origin": grid.origin(trained),
            }
        )
    return Measured({"topk_k": K, "layers": layers})


def _by_layer(request: Request) -> list[Request]:
    """One request per hook; several hooks share one harvest."""
    path, hooks = request.data.activations, request.data.activations_hook
    names: list[str | None]
    if path is None:
        assert request.harvest is not None
        folder = cache_of(request.harvest)
        names = [*harvest(request.harvest, folder, console=request.console).hooks]
        path = str(folder)
    elif hooks is not None:
        names = [name.strip() for name in hooks.split(",")]
    elif (Path(path) / MANIFEST).exists():
        names = [*Manifest.read(Path(path)).widths]
    else:
        names = [None]
    data = dataclasses.replace(request.data, activations=path)
    return [
        dataclasses.replace(
            request, harvest=None, data=dataclasses.replace(data, activations_hook=name)
        )
        for name in names
    ]


def draw(measured: Measured) -> Figure:
    """Error over layers, one line each; the dashed line is the constant predictor."""
    figure = picture.blank(5.6, 3.5)
    axes = figure.subplots()
    layers = measured.data["layers"]
    places = list(range(len(layers)))
    for name in layers[0]["errors"]:
        picture.line(axes, name, places, [layer["errors"][name] for layer in layers])
    axes.plot(
        places, [layer["constant_predictor"] for layer in layers], "k--", lw=0.8,
        label="constant predictor",
    )  # fmt: skip
    labels = [layer["hook"].replace(".hook_resid_pre", "") for layer in layers]
    axes.set_xticks(places, labels, rotation=30 if len(places) > 6 else 0)
    axes.set(ylim=(0, 1.05), ylabel="product error")
    axes.legend(frameon=False, fontsize=8)
    return figure


def compare(measured: Measured) -> Comparison:
    """Whether the quadratic latents reconstruct better than the linear ones at every layer."""
    layers = measured.data["layers"]
    wins = [layer for layer in layers if layer["errors"]["vanilla"] < layer["errors"][TOPK]]
    shown = "; ".join(
        f"{layer['hook']} {layer['errors']['vanilla']:.3f} against {layer['errors'][TOPK]:.3f}"
        for layer in layers
    )
    return Comparison(
        measured=(
            f"Product error of vanilla against a TopK SAE with k = {K}: {shown}; vanilla is better "
            f"at {len(wins)} of {len(layers)} layers."
        ),
        agrees=len(wins) == len(layers),
        rule="vanilla's product error is below the TopK autoencoder's x̂x̂ᵀ at every layer",
        figures={
            f"{layer['hook']} {name}": error
            for layer in layers
            for name, error in layer["errors"].items()
        },
    )


EXPERIMENT = Experiment(
    name="layers",
    title="Error by layer for the four variants and a TopK sparse autoencoder",
    statement=(
        "Quadratic latents lower the reconstruction error in language models throughout, compared "
        "with linear ones."
    ),
    source=FOLLOW_UP,
    measure=measure,
    draw=draw,
    compare=compare,
    quick=Settings(expansion=0.5, density_weights="0.3", steps=100, batch_size=1024),
    quick_hook="blocks.4.hook_resid_pre,blocks.12.hook_resid_pre,blocks.20.hook_resid_pre",
    full_hook="blocks.*.hook_resid_pre",
)

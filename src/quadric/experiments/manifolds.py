"""Manifolds in 3-D: activations in the leading eigenvectors of a few forms.

    quadric experiment manifolds --quick          # trains composites, shows the most important
    quadric experiment manifolds --run RUN        # shows what quadric analyze RUN ranked first

A form's three leading eigenvectors give a slice of the input space. The points are the activations
that respond most in that slice and as many others; the colour is the signed value of the form
there, Σ_i λ_i (v_i·x)². The Parquet file holds the points.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.experiments import grid, picture
from quadric.experiments.experiment import (
    PAPER,
    Comparison,
    Experiment,
    Measured,
    Request,
    Settings,
)
from quadric.forms import lift, name_quadric
from quadric.manifolds import files
from quadric.manifolds.spectra import spectra
from quadric.runs import evaluate
from quadric.runs.config import RunConfig
from quadric.runs.data import open_data
from quadric.runs.inspect import tokenizer_of
from quadric.runs.latents import describe_latents
from quadric.storage import read_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 6
"""Forms in the picture."""
POINTS = 400
"""Strong points of each, and as many others."""
ROWS = 20_000
"""Activations searched for them."""
FLAT_SHARE = 0.8
"""A form with more than this share of Σ|λ| in one eigenvector counts as linear."""


class Slices(NamedTuple):
    """The slices to look into, and the activations to show in them."""

    names: list[str]
    axes: Float[Tensor, "slices 3 d"]
    values: Float[Tensor, "slices 3"]
    inputs: Float[Tensor, "rows d"]
    """Transformed (and, for an affine autoencoder, lifted) activations."""
    origin: dict[str, Any]


def measure(request: Request) -> Measured:
    """Take the slices of a run's manifolds, or of composites trained here, and project."""
    if request.run is not None:
        names, axes, values, inputs, origin = from_run(request.run, request)
    else:
        names, axes, values, inputs, origin = _from_training(request)
    forms, table = [], []
    for number, name in enumerate(names[:SHOWN]):
        points, heights = project(inputs, axes[number], values[number])
        table += [
            {"form": number, "x": x, "y": y, "z": z, "value": value}
            for (x, y, z), value in zip(points.tolist(), heights.tolist(), strict=True)
        ]
        level = heights[heights.abs().argmax()].item()
        forms.append(
            {
                "name": name,
                "eigenvalues": values[number].tolist(),
                "quadric": name_quadric(values[number].tolist(), level) if level else "empty",
            }
        )
    shares = values.abs() / values.abs().sum(1, keepdim=True).clamp_min(1e-30)
    linear = int((shares.amax(1) > FLAT_SHARE).sum())
    mixed = int(((values > 0.05 * values.abs().amax(1, keepdim=True)).any(1)
                 & (values < -0.05 * values.abs().amax(1, keepdim=True)).any(1)).sum())  # fmt: skip
    data = {"origin": origin, "forms": forms, "slices": len(values), "linear": linear,
            "both_signs": mixed}  # fmt: skip
    return Measured(data, table)


def project(
    inputs: Float[Tensor, "rows d"], axes: Float[Tensor, "3 d"], values: Float[Tensor, "3"]
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, " points"]]:
    """The strongest points of a slice and as many spread over the rest, with the form's values."""
    coordinates = inputs @ axes.T
    heights = coordinates.square() @ values
    order = heights.abs().argsort(descending=True)
    others = order[POINTS:]
    spread = others[:: max(1, len(others) // POINTS)][:POINTS]
    chosen = torch.cat([order[:POINTS], spread])
    return coordinates[chosen], heights[chosen]


def from_run(run: Path, request: Request) -> Slices:
    """The manifolds that ``quadric analyze`` ranked in a run, on the run's own activations.

    Raises:
        QuadricError: the run was not analysed, or its files contradict each other.
    """
    path = run / "manifolds.safetensors"
    if not path.is_file():
        raise QuadricError(f"{run} holds no ranked manifolds: run quadric analyze {run} first")
    tensors = read_tensors(path)
    if not {"axes", "values"} <= tensors.keys() or not len(tensors["axes"]):
        raise QuadricError(f"{path} holds no manifold: it needs the keys axes and values")
    axes, values = tensors["axes"].float(), tensors["values"].float()
    config = RunConfig.read(run)
    model = evaluate.load_member(run, config, next(iter(config.autoencoders)))
    opened = open_data(
        config.data, config.harvest, batch_size=config.training.batch_size,
        seed=config.training.seed, console=request.console,
    )  # fmt: skip
    inputs = inputs_of(model, opened.source.sample(ROWS))
    if axes.shape[-1] == model.d_in:
        inputs = inputs[:, : model.d_in]  # axes without an affine autoencoder's constant
    if axes.ndim != 3 or axes.shape[1:] != (3, inputs.shape[1]) or values.shape != axes.shape[:2]:
        raise QuadricError(
            f"{path}: axes {tuple(axes.shape)} and values {tuple(values.shape)} do not fit "
            f"activations of width {inputs.shape[1]}"
        )
    origin = {"run": str(run), "model": opened.metadata.model_name,
              "hook": opened.metadata.hook_name}  # fmt: skip
    names = [f"{row['rank']}. {row['label']}".rstrip(". ") for row in files.read(run)]
    return Slices(names, axes, values, inputs, origin)


def _from_training(request: Request) -> Slices:
    data = grid.open_for(request)
    config = grid.configure(
        request.settings, data.source.d_in, "composite", request.settings.weight
    )
    trained = grid.train_grid(request, data, {"composite": config})
    model = trained.models["composite"].cpu()
    pairs = spectra(model)
    importance = pairs.values.square().sum(1)
    order = importance.argsort(descending=True)
    latents = describe_latents(
        model, data.store, tokenizer_of(model), which=order[:SHOWN], top=5,
        drop_first=request.data.drop_first,
    )  # fmt: skip
    labels = {latent.id: latent.label for latent in latents}
    names = [f"composite {latent}: {labels[latent]}".rstrip(": ") for latent in labels]
    axes, values = pairs.vectors[order][:, :3], pairs.values[order][:, :3]
    missing = 3 - values.shape[1]
    if missing > 0:
        axes = torch.nn.functional.pad(axes, (0, 0, 0, missing))
        values = torch.nn.functional.pad(values, (0, missing))
    inputs = inputs_of(model, data.source.sample(ROWS))
    return Slices(names, axes.float(), values.float(), inputs, grid.origin(trained))


@torch.no_grad()
def inputs_of(model: BilinearAutoencoder, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d"]:
    """Activations as the autoencoder's forms read them."""
    y = model.transform.apply_to(x.to(model.device, model.dtype)).y
    return (lift(y) if model.config.affine else y).float().cpu()


def draw(measured: Measured) -> Figure:
    """One 3-D panel for each form; orange where it is positive, blue where negative."""
    forms = measured.data["forms"]
    columns = min(3, len(forms))
    rows = -(-len(forms) // columns)
    figure = picture.blank(2.6 * columns, 2.7 * rows)
    colours = picture.signed_colours()
    for number, form in enumerate(forms):
        axes: Any = figure.add_subplot(rows, columns, number + 1, projection="3d")
        points = [point for point in measured.table if point["form"] == number]
        limit = max((abs(point["value"]) for point in points), default=1.0) or 1.0
        axes.scatter(
            *([point[key] for point in points] for key in "xyz"),
            # The square root, so that weaker points do not all look alike.
            c=[math.copysign(abs(point["value"] / limit) ** 0.5, point["value"])
               for point in points],
            cmap=colours, vmin=-1, vmax=1, s=3, lw=0, alpha=0.8, depthshade=False,
        )  # fmt: skip
        axes.set_title(f"{form['name']}\n{form['quadric']}".replace("$", r"\$"), fontsize=7)
        axes.tick_params(labelbottom=False, labelleft=False, labelright=False, length=0)
    return figure


def compare(measured: Measured) -> Comparison:
    """Whether both linear and curved forms are found."""
    data = measured.data
    curved = data["slices"] - data["linear"]
    names = sorted({form["quadric"] for form in data["forms"]})
    return Comparison(
        measured=(
            f"Of {data['slices']} slices {data['linear']} are linear (one eigenvector holds over "
            f"{FLAT_SHARE:.0%} of the three leading |λ|) and {curved} curved; {data['both_signs']} "
            f"have eigenvalues of both signs. Those shown are: {', '.join(names)}."
        ),
        agrees=data["linear"] > 0 and curved > 0,
        rule="there are both linear and curved forms",
        figures={
            "slices": data["slices"],
            "linear": data["linear"],
            "curved": curved,
            "both_signs": data["both_signs"],
        },
    )


EXPERIMENT = Experiment(
    name="manifolds",
    title="Manifolds in three dimensions",
    statement=(
        "Eigendecomposition of latents reveals diverse geometries, quadratic surfaces as well as "
        "linear clusters."
    ),
    source=PAPER,
    measure=measure,
    draw=draw,
    compare=compare,
    quick=Settings(expansion=1, density_weights="0.3", steps=150, batch_size=1024),
)

"""Prefixes of a dictionary: ordered, vanilla in its own order, and vanilla in its best order.

    quadric experiment prefixes --quick

With the first p atoms of an order and unchanged coefficients the mean error is

    E_p = mean_x ‖X − Σ_{j≤p} g_j B_j‖²/‖X‖² = 1 − 2 Σ_{j≤p} c_j + Σ_{i,j≤p} M_ij,
    c_j = mean g_j z_j / ‖x‖⁴,    M_ij = ⟨B_i, B_j⟩ · mean g_i g_j / ‖x‖⁴,

so every prefix of every order follows from one vector and one n×n matrix. The best order is taken
greedily: next comes the atom that lowers the error most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder
from quadric.experiments import grid, picture
from quadric.experiments.experiment import Comparison, Experiment, Measured, Request, Settings
from quadric.forms import BilinearTensor, lift

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = ("ordered", "vanilla, own order", "vanilla, best order")
POINTS = 64
"""Prefixes shown, spread evenly."""


class PrefixTerms(NamedTuple):
    """What the errors of all prefixes in all orders follow from."""

    cross: Float[Tensor, " n"]
    """c, each atom's agreement with its target."""
    energy: Float[Tensor, "n n"]
    """M, each pair's overlap in the reconstruction."""


@torch.no_grad()
def prefix_terms(model: BilinearAutoencoder, x: Float[Tensor, "rows d_in"]) -> PrefixTerms:
    """c and M on some activations; rows that the transform maps to zero do not count.

    Memory is O(n²): this is for dictionaries of up to about ten thousand products.
    """
    y = model.transform.apply_to(x.to(model.device, model.dtype)).y
    y = lift(y) if model.config.affine else y
    size = y.norm(dim=-1, keepdim=True)
    y = (y / size.clamp_min(torch.finfo(y.dtype).tiny))[size[:, 0] > 0]
    products = (y @ model.left.T) * (y @ model.right.T)
    g = model.mixing.coefficients(model.mixing.latents(products))
    if model.config.symmetric:
        gram = BilinearTensor(model.left.detach(), model.right.detach()).gram()
    else:
        gram = (model.left @ model.left.T) * (model.right @ model.right.T)
    energy = gram * (g.T @ g) / len(y)
    return PrefixTerms((g * products).mean(0).double().cpu(), energy.double().cpu())


def prefix_errors(
    terms: PrefixTerms, order: Int[Tensor, " n"] | None = None
) -> Float[Tensor, " n_plus_1"]:
    """E_0 = 1, E_1, …, E_n for the atoms in an order; their own when None."""
    order = torch.arange(len(terms.cross)) if order is None else order
    cross, energy = terms.cross[order], terms.energy[order][:, order]
    # Adding atom p brings its own energy and twice its overlap with those before it.
    added = energy.diagonal() + 2 * energy.tril(-1).sum(1)
    steps = added - 2 * cross
    return 1 + torch.cat([steps.new_zeros(1), steps.cumsum(0)])


def greedy_order(terms: PrefixTerms) -> Int[Tensor, " n"]:
    """Atoms in the order in which each lowers the error most, given those before it; O(n²)."""
    gain = 2 * terms.cross - terms.energy.diagonal()
    order = torch.empty(len(gain), dtype=torch.int64)
    for place in range(len(gain)):
        best = int(gain.argmax())
        order[place] = best
        gain -= 2 * terms.energy[best]
        gain[order[: place + 1]] = -torch.inf
    return order


def measure(request: Request) -> Measured:
    """Train vanilla and ordered on the same batches and measure every prefix."""
    data = grid.open_for(request)
    configs = {
        variant: grid.configure(
            request.settings, data.source.d_in, variant, request.settings.weight
        )
        for variant in ("ordered", "vanilla")
    }
    trained = grid.train_grid(request, data, configs)
    ordered, vanilla = (
        prefix_terms(trained.models[name], trained.held_out) for name in ("ordered", "vanilla")
    )
    errors = (
        prefix_errors(ordered),
        prefix_errors(vanilla),
        prefix_errors(vanilla, greedy_order(vanilla)),
    )
    return Measured(
        {
            "origin": grid.origin(trained),
            "products": len(vanilla.cross),
            "errors": {name: found.tolist() for name, found in zip(CURVES, errors, strict=True)},
            "autoencoders": grid.figures_of(trained),
        }
    )


def draw(measured: Measured) -> Figure:
    """Error over the length of the prefix, for the three orders."""
    figure = picture.blank(5.6, 3.5)
    axes = figure.subplots()
    looks = (("ordered", "-"), ("vanilla", "-"), ("vanilla", "--"))
    for (name, errors), (variant, style) in zip(
        measured.data["errors"].items(), looks, strict=True
    ):
        shown = sorted({round(i * (len(errors) - 1) / POINTS) for i in range(POINTS + 1)})
        axes.plot(
            shown, [errors[p] for p in shown], style, color=picture.LOOKS[variant][0], label=name,
            lw=1.5,
        )  # fmt: skip
    axes.set(xlabel="atoms kept", ylabel="product error", ylim=(0, 1.05), xlim=(0, None))
    axes.legend(frameon=False, fontsize=8)
    return figure


def compare(measured: Measured) -> Comparison:
    """Whether prefixes of the ordered dictionary beat vanilla's, and what that costs in the end."""
    ordered, own, best = (torch.tensor(measured.data["errors"][name]) for name in CURVES)
    n = len(ordered) - 1
    places = {"a tenth": round(n / 10), "a quarter": round(n / 4), "half": round(n / 2), "all": n}
    shown = "; ".join(
        f"{words} of the atoms {ordered[p]:.3f}, {own[p]:.3f}, {best[p]:.3f}"
        for words, p in places.items()
    )
    below_own = (ordered[1:n] < own[1:n]).float().mean().item() if n > 1 else None
    below_best = (ordered[1:n] < best[1:n]).float().mean().item() if n > 1 else None
    cost = (ordered[n] - own[n]).item()
    return Comparison(
        measured=(
            f"Error of ordered, of vanilla in its own and in its best order with {shown}."
            + (
                f" The ordered prefix is better than vanilla's own at {below_own:.0%} of the "
                f"lengths and than its best at {below_best:.0%}."
                if n > 1
                else ""
            )
        ),
        agrees=None if below_own is None else below_own > 0.5 and 0 <= cost < 0.1,
        rule=(
            "the ordered prefix beats vanilla's own order at most lengths, and all atoms together "
            "lose less than 0.1"
        ),
        figures={
            "share_of_lengths_below_own_order": below_own,
            "share_of_lengths_below_best_order": below_best,
            "cost_of_ordering": cost,
            **{f"mean_over_prefixes {name}": torch.tensor(errors).mean().item()
               for name, errors in measured.data["errors"].items()},
        },
    )  # fmt: skip


EXPERIMENT = Experiment(
    name="prefixes",
    title="Error of prefixes: ordered against vanilla in its own and in its best order",
    statement=(
        "A prefix of an ordered autoencoder also reconstructs well; ordering costs a little of the "
        "overall quality."
    ),
    source="arXiv 2510.16820 and its project page",
    measure=measure,
    draw=draw,
    compare=compare,
    quick=Settings(expansion=1, density_weights="0.3", steps=150, batch_size=1024),
)

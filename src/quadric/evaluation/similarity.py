"""How alike two autoencoders are, whatever their dictionaries look like.

An autoencoder maps X to X̂ = P X with P = (DB)ᵀ(DB), a linear map on interaction matrices: with
forms F_i (the latents, or the rows of D), X̂ = Σ_i ⟨F_i,X⟩F_i. Let H_ij = ⟨F_i,G_j⟩ be the inner
products of A's forms with B's.

    map_similarity          ⟨P_A,P_B⟩ = ‖H_AB‖², so whole maps are compared without a d²×d² matrix
    permutation_similarity  how far A's forms are B's forms in another order
    gaussian_similarity     how the outputs X̂ agree on inputs x ~ N(μ,Σ): E⟨X̂_A,X̂_B⟩ is
                            Σ_ij H_ij E[f_ig_j], exact, and a covariance when centred

Everything is computed in tiles of H, of which one is held at a time. Conventions, so that any two
autoencoders of one width can be compared:

- X is symmetric, so only the symmetric part of X̂ can be right; forms are compared symmetrised,
  also where an autoencoder reconstructs with unsymmetrised atoms (``symmetric=False``).
- An affine autoencoder lives on [x; 1]. Compared with one that is not, the other's forms get zeros
  in the constant's row and column: it predicts nothing there.
- x is the transformed input. Two autoencoders must transform in the same steps; their statistics
  may differ as two samples of the same activations do, by up to 10 % (of the mean norm, for the
  means), and the difference is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation.assignment import best_assignment
from quadric.evaluation.dictionary import Dictionary, form_norms, gram_tiles
from quadric.forms import BilinearTensor, lift_moments

SAME_STATISTICS = 0.1
"""Largest relative difference between the statistics of two comparable transforms."""
_NOTHING = "the similarity is undefined: all forms of an autoencoder are zero"


class MapSimilarity(NamedTuple):
    """Frobenius similarities of two maps; 1 for equal maps."""

    cosine: float
    """‖H_AB‖² / (‖H_AA‖ ‖H_BB‖)."""
    frobenius: float
    """2‖H_AB‖ / (‖H_AA‖ + ‖H_BB‖), the measure of the bilinear-autoencoder paper."""


class PermutationSimilarity(NamedTuple):
    """How far two dictionaries hold the same forms; signs and scales of a form do not count."""

    share: float
    """The largest Σ_i ½(a_i + b_σ(i)) cos²(F_i, G_σ(i)) over one-to-one matchings σ, with a and b
    each form's share of its dictionary's Σ‖F‖²: the part of both dictionaries' norm that one
    partner each explains. 1 exactly for permuted copies; an unmatched form is unexplained."""
    median_match: float
    """Median over the forms of both, of the largest |cos| with any form of the other."""


class GaussianSimilarity(NamedTuple):
    """Similarities of the outputs X̂_A and X̂_B on x ~ N(μ,Σ); 1 for equal maps."""

    centred: float
    """The correlation Σcov(X̂_A,X̂_B) / √(Σvar X̂_A · Σvar X̂_B), summed over matrix entries."""
    uncentred: float
    """E⟨X̂_A,X̂_B⟩ / √(E‖X̂_A‖² E‖X̂_B‖²); the means can dominate it."""


class Moments(NamedTuple):
    """Mean and covariance of transformed inputs, without the constant of an affine autoencoder."""

    mean: Float[Tensor, " d_in"]
    cov: Float[Tensor, "d_in d_in"]


@torch.no_grad()
def map_similarity(first: BilinearAutoencoder, second: BilinearAutoencoder) -> MapSimilarity:
    """Compare two autoencoders as maps X ↦ X̂, without any input.

    Raises:
        QuadricError: they differ in width or transform, or one reconstructs nothing.
    """
    check_comparable(first, second)
    own, other = (map_product(model, model) for model in (first, second))
    return map_measures(map_product(first, second), own, other)


@torch.no_grad()
def permutation_similarity(
    first: BilinearAutoencoder, second: BilinearAutoencoder
) -> PermutationSimilarity:
    """Compare two dictionaries form by form.

    The matching is exact up to 2²⁴ pairs of forms; beyond, only each form's best candidates are
    kept, and the share is a lower bound.

    Raises:
        QuadricError: they differ in width or transform, or one reconstructs nothing.
    """
    check_comparable(first, second)
    norms = [form_norms(model) for model in (first, second)]
    if not min(norm.max() for norm in norms) > 0:
        raise QuadricError(_NOTHING)
    shares = [norm.square() / norm.square().sum() for norm in norms]
    units = [1 / norm.where(norm > 0, torch.inf) for norm in norms]
    best = [torch.zeros_like(norm) for norm in norms]

    def scores() -> Iterator[tuple[slice, slice, Tensor]]:
        for rows, columns, h in gram_tiles(first, second):
            cosines = (h * units[0][rows, None] * units[1][columns]).abs().clamp_max(1)
            best[0][rows] = best[0][rows].maximum(cosines.amax(1))
            best[1][columns] = best[1][columns].maximum(cosines.amax(0))
            weights = (shares[0][rows, None] + shares[1][columns]) / 2
            yield rows, columns, weights * cosines.square()

    share = best_assignment(scores(), len(norms[0]), len(norms[1]))
    return PermutationSimilarity(min(share, 1.0), torch.cat(best).quantile(0.5).item())


@torch.no_grad()
def gaussian_similarity(
    first: BilinearAutoencoder, second: BilinearAutoencoder, moments: Moments
) -> GaussianSimilarity:
    """Compare the outputs X̂ on inputs whose transform is Gaussian, exactly.

    Args:
        first: one autoencoder.
        second: the other.
        moments: of the transformed inputs, as :func:`input_moments` measures them.

    Raises:
        QuadricError: they differ in width or transform, the moments have another width, or an
            output does not vary under the Gaussian.
    """
    check_comparable(first, second)
    cross = gaussian_products(first, second, moments)
    own, other = (gaussian_products(model, model, moments) for model in (first, second))
    return gaussian_measures(cross, own, other)


def input_moments(model: BilinearAutoencoder, x: Float[Tensor, "rows d_in"]) -> Moments:
    """Mean and covariance of activations as the autoencoder's transform shows them to it.

    Raises:
        QuadricError: there are fewer than two rows, or they have another width.
    """
    if x.ndim != 2 or x.shape[1] != model.d_in or len(x) < 2:
        raise QuadricError(
            f"activations of shape {tuple(x.shape)}: expected at least two rows of width "
            f"{model.d_in}"
        )
    y = model.transform.apply_to(x.to(model.device, model.dtype)).y.double()
    mean = y.mean(0)
    centred = y - mean
    return Moments(mean, centred.mT @ centred / (len(y) - 1))


def check_comparable(first: BilinearAutoencoder, second: BilinearAutoencoder) -> None:
    """Refuse two autoencoders that do not read the same inputs.

    Raises:
        QuadricError: they differ in width, in the steps of their transforms, or by more than 10 %
            in the statistics of these.
    """
    if first.d_in != second.d_in:
        raise QuadricError(
            f"autoencoders of d_in {first.d_in} and {second.d_in} cannot be compared: they read "
            "different activations"
        )
    a, b = first.transform, second.transform
    for step in ("centre", "scale", "norm"):
        one, two = getattr(a, step), getattr(b, step)
        if one != two:
            raise QuadricError(
                f"autoencoders with {step}={one!r} and {step}={two!r} cannot be compared: their "
                "inputs are transformed in different steps"
            )
    shift = ((a.mean - b.mean) / a.scales).norm() / a.mean_norm.maximum(b.mean_norm)
    ratios = [a.scales / b.scales]
    if a.norm == "constant":
        ratios.append((a.mean_norm / b.mean_norm).reshape(1))
    stretch = torch.cat(ratios).log().abs().max().expm1()
    for name, value in (("means", shift), ("scales", stretch)):
        if not value <= SAME_STATISTICS:
            raise QuadricError(
                f"the transforms' {name} differ by {float(value):.0%}: these autoencoders were "
                "trained on different activations and cannot be compared"
            )


# The parts of a measure, for a matrix over many runs, where each run meets itself only once ---


def map_measures(cross: float, own: float, other: float) -> MapSimilarity:
    """Both map measures from ‖H_AB‖², ‖H_AA‖² and ‖H_BB‖².

    Raises:
        QuadricError: an autoencoder reconstructs nothing.
    """
    if not min(own, other) > 0:
        raise QuadricError(_NOTHING)
    return MapSimilarity(
        cosine=min(1.0, cross / (own * other) ** 0.5),
        frobenius=min(1.0, 2 * cross**0.5 / (own**0.5 + other**0.5)),
    )


def gaussian_measures(
    cross: tuple[float, float], own: tuple[float, float], other: tuple[float, float]
) -> GaussianSimilarity:
    """Both Gaussian measures from the (centred, uncentred) products of a pair.

    Raises:
        QuadricError: an output does not vary, or is zero.
    """
    values = []
    for product, one, two in zip(cross, own, other, strict=True):
        if not min(one, two) > 0:
            raise QuadricError(
                "the Gaussian similarity is undefined: an autoencoder's output does not vary under "
                "these moments"
            )
        values.append(max(-1.0, min(1.0, product / (one * two) ** 0.5)))
    return GaussianSimilarity(*values)


@torch.no_grad()
def map_product(first: BilinearAutoencoder, second: BilinearAutoencoder) -> float:
    """⟨P_A,P_B⟩ = ‖H_AB‖²."""
    tiles = gram_tiles(first, second)
    return sum(h.square().sum().item() for _, _, h in tiles)


@torch.no_grad()
def gaussian_products(
    first: BilinearAutoencoder, second: BilinearAutoencoder, moments: Moments
) -> tuple[float, float]:
    """Σcov(X̂_A,X̂_B) and E⟨X̂_A,X̂_B⟩ under x ~ N(μ,Σ), Σ = CCᵀ.

    On the basis E = [C, μ] a form has the blocks CᵀFC, CᵀFμ and q = μᵀFμ, so that
    cov(f_i,g_j) = 2⟨EᵀF_iE, EᵀG_jE⟩ − 2q_iq'_j, and E[f_i] is the trace of EᵀF_iE.

    Raises:
        QuadricError: the moments have another width.
    """
    lifted = first.config.affine or second.config.affine
    mean, cov = _checked(moments, first)
    if lifted:
        mean, cov = lift_moments(mean, cov)
    variances, axes = torch.linalg.eigh(cov)
    basis = torch.cat([axes * variances.clamp_min(0).sqrt(), mean[:, None]], dim=1)
    a, b = (Dictionary(model, len(mean)) for model in (first, second))
    spread_a, spread_b = a.on_basis(basis), b.on_basis(basis)
    centred = uncentred = 0.0
    for rows in a.pieces():
        left = spread_a.forms(rows)
        for columns in b.pieces():
            right = spread_b.forms(columns)
            h = a.forms(rows).cross_gram(b.forms(columns)).double()
            q, q2 = _last(left), _last(right)
            covariance = 2 * (left.cross_gram(right).double() - q[:, None] * q2)
            centred += (h * covariance).sum().item()
            uncentred += (_traces(left) @ h @ _traces(right)).item()
    return centred, centred + uncentred


def _checked(moments: Moments, model: BilinearAutoencoder) -> Moments:
    mean, cov = moments
    if mean.shape != (model.d_in,) or cov.shape != (model.d_in, model.d_in):
        raise QuadricError(
            f"moments of shapes {tuple(mean.shape)} and {tuple(cov.shape)}: expected those of "
            f"{model.d_in} coordinates"
        )
    return Moments(*(part.detach().to(model.device, torch.float64) for part in moments))


def _last(forms: BilinearTensor) -> Float[Tensor, " m"]:
    """The last diagonal entry of every form: μᵀFμ on the basis [C, μ]."""
    return forms.read_out(forms.left[:, -1] * forms.right[:, -1]).double()


def _traces(forms: BilinearTensor) -> Float[Tensor, " m"]:
    return forms.read_out((forms.left * forms.right).sum(1)).double()

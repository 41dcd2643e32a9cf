"""Exact moments of quadratic forms under a Gaussian input, from their factors alone.

For x ~ N(μ, Σ) with Σ = CCᵀ and f = xᵀAx, g = xᵀBx (A, B symmetric), Isserlis' theorem gives

    E[f]     = tr(AΣ) + μᵀAμ
    cov(f,g) = 2 tr(AΣBΣ) + 4 μᵀAΣBμ
    E[fg]    = cov(f,g) + E[f]·E[g].

The trace is the inner product of the tensors on the basis C, the second term that of the m×p
matrices of slopes AμᵀC; so the cost is that of ``inner``. For a layer with biases pass the folded
tensor with the moments of [x; 1] (:func:`quadric.forms.bias.lift_moments`). Mean and covariance are
constants here: gradients reach the factors, not them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms.gram import check_comparable, inner, widened

if TYPE_CHECKING:
    from quadric.forms.tensor import BilinearTensor


class _Moments(NamedTuple):
    """What one tensor contributes to every expectation."""

    spread: BilinearTensor  # its forms on the basis C: CᵀQ_kC
    slopes: Float[Tensor, "m p"]  # CᵀQ_kμ
    means: Float[Tensor, "m"]  # E[f_k]


class _Gaussian(NamedTuple):
    """N(μ, CCᵀ), in the dtype of the computation; C = None stands for the identity."""

    mean: Float[Tensor, "d"]
    factor: Float[Tensor, "d p"] | None


def gaussian_mean(
    tensor: BilinearTensor,
    mean: Float[Tensor, "d"] | None = None,
    cov: Float[Tensor, "d d"] | None = None,
) -> Float[Tensor, "m"]:
    """E[f_k(x)] = tr(Q_kΣ) + μᵀQ_kμ for every output k, x ~ N(mean, cov).

    None stands for the zero mean and for the identity covariance.

    Raises:
        QuadricError: ``mean`` or ``cov`` has the wrong shape, or ``cov`` is not a covariance.
    """
    wide = widened(tensor)
    return _moments(wide, _gaussian(wide, mean, cov)).means.to(tensor.dtype)


def gaussian_inner(
    a: BilinearTensor,
    b: BilinearTensor,
    mean: Float[Tensor, "d"] | None = None,
    cov: Float[Tensor, "d d"] | None = None,
    *,
    centred: bool = False,
) -> Float[Tensor, ""]:
    """Σ_k E[f_k(x) g_k(x)] for x ~ N(mean, cov), or Σ_k cov(f_k, g_k) when ``centred``.

    None stands for the zero mean and for the identity covariance; ``cov`` may be singular.

    Raises:
        QuadricError: the tensors differ in d, m, dtype or device, or as for ``gaussian_mean``.
    """
    check_comparable(a, b, outputs=True)
    wide_a, wide_b = widened(a), widened(b)
    gaussian = _gaussian(wide_a, mean, cov)
    product = _product(_moments(wide_a, gaussian), _moments(wide_b, gaussian), centred)
    return product.to(a.dtype)


def gaussian_cosine(
    a: BilinearTensor,
    b: BilinearTensor,
    mean: Float[Tensor, "d"] | None = None,
    cov: Float[Tensor, "d d"] | None = None,
    *,
    centred: bool,
) -> Float[Tensor, ""]:
    """⟨f, g⟩/√(⟨f, f⟩⟨g, g⟩) with ⟨·,·⟩ the Gaussian inner product.

    Uncentred, the constant parts of f and g can dominate the similarity; ``centred`` compares only
    how they vary, as a correlation. There is no default: say which.

    Raises:
        QuadricError: as for ``gaussian_inner``, or a tensor is constant zero under the Gaussian.
    """
    check_comparable(a, b, outputs=True)
    dtype, a, b = a.dtype, widened(a), widened(b)
    gaussian = _gaussian(a, mean, cov)
    first, second = _moments(a, gaussian), _moments(b, gaussian)
    sizes = [_product(moments, moments, centred).sqrt() for moments in (first, second)]
    for name, size in zip(("first", "second"), sizes, strict=True):
        if not size > 0:
            what = "variance" if centred else "second moment"
            raise QuadricError(f"the cosine is undefined: the {name} tensor has no {what} here")
    return (_product(first, second, centred) / sizes[0] / sizes[1]).to(dtype)


def _product(a: _Moments, b: _Moments, centred: bool) -> Float[Tensor, ""]:
    covariance = 2 * inner(a.spread, b.spread) + 4 * (a.slopes * b.slopes).sum()
    return covariance if centred else covariance + a.means @ b.means


def _moments(tensor: BilinearTensor, gaussian: _Gaussian) -> _Moments:
    mean, factor = gaussian
    spread = tensor if factor is None else tensor.with_input_basis(factor)
    at_left, at_right = tensor.left @ mean, tensor.right @ mean
    slopes = (at_right[:, None] * spread.left + at_left[:, None] * spread.right) / 2
    products = (spread.left * spread.right).sum(1) + at_left * at_right
    return _Moments(
        spread=spread,
        slopes=slopes if tensor.out is None else tensor.out @ slopes,
        means=tensor.read_out(products),
    )


@torch.no_grad()
def _gaussian(
    tensor: BilinearTensor, mean: Float[Tensor, "d"] | None, cov: Float[Tensor, "d d"] | None
) -> _Gaussian:
    """Check the moments and factor the covariance, keeping only the directions that vary."""
    d = tensor.d
    if mean is not None and mean.shape != (d,):
        raise QuadricError(f"mean has shape {tuple(mean.shape)}, expected ({d},)")
    if cov is not None and cov.shape != (d, d):
        raise QuadricError(f"cov has shape {tuple(cov.shape)}, expected ({d}, {d})")
    centre = tensor.left.new_zeros(d) if mean is None else mean.detach().to(tensor.left)
    if cov is None:
        return _Gaussian(centre, None)
    exact = cov.to(device=tensor.device, dtype=torch.float64)
    rounding = d * max(torch.finfo(cov.dtype).eps, torch.finfo(torch.float64).eps)
    if (exact - exact.mT).abs().max() > rounding * exact.abs().max():
        raise QuadricError("cov is not symmetric: pass (cov + cov.mT) / 2 if rounding did it")
    variances, axes = torch.linalg.eigh((exact + exact.mT) / 2)
    floor = rounding * variances.abs().max()
    if variances[0] < -floor:
        raise QuadricError(
            f"cov is not a covariance: its smallest eigenvalue is {float(variances[0]):.3g}, "
            "expected none below zero"
        )
    varies = variances > torch.finfo(torch.float64).eps * d * variances.abs().max()
    factor = axes[:, varies] * variances[varies].sqrt()
    return _Gaussian(centre, factor.to(tensor.dtype))

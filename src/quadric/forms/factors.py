"""Few shared products in place of many neurons: the canonical polyadic form of a tensor.

    B ≈ B̂ = Σ_r D_:r ⊗ ½(l_rr_rᵀ + r_rl_rᵀ),

one product (l_r·x)(r_r·x) read by all outputs at once. With S the Gram of the products and C their
inner products with B's outputs, ‖B − B̂‖² = ‖B‖² − 2⟨D, C⟩ + ⟨DᵀD, S⟩, so no m×d×d tensor is built.
For given factors the best D solves D·S = C, and then the explained share 1 − ‖B − B̂‖²/‖B‖² is the
squared cosine between B and B̂. ``fit_factors`` searches over the factors alone, with D solved at
every step; at the best D its own change does not count in the gradient. Among few products the
search has local optima. ``eigen_factors`` is what eigendecompositions give for as many products:
the first starting point, hence a floor.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms.gram import check_comparable, cross_gram, gram, inner, norm
from quadric.forms.hosvd import hosvd

if TYPE_CHECKING:
    from quadric.forms.tensor import BilinearTensor

_RIDGE = 1e-12
"""Added to S, whose diagonal is ½ to 1, so that equal products share D instead of dividing by 0."""

_GAIN = 1e-9
"""The share of ‖B‖² that ten more iterations must gain."""

_REST = 1e-7
"""The share of ‖B‖² that may stay unexplained without another search being made."""


class Factors(NamedTuple):
    """Shared products that approximate a tensor."""

    tensor: BilinearTensor
    """B̂: m outputs of r neurons with unit factors, the largest column of D first."""
    explained: float
    """1 − ‖B − B̂‖²/‖B‖², the squared cosine between B and B̂."""
    history: list[float]
    """The explained share at the start and after every ten iterations of the search."""
    start: int
    """Which start of ``fit_factors`` led here; 0 is ``eigen_factors``, or the only one."""

    @property
    def cosine(self) -> float:
        """⟨B, B̂⟩ / (‖B‖‖B̂‖)."""
        return math.sqrt(max(self.explained, 0.0))


def fit_factors(
    tensor: BilinearTensor, rank: int, *, starts: int = 3, steps: int = 50, seed: int = 0
) -> Factors:
    """The best of several searches (L-BFGS) for ``rank`` products that explain the tensor.

    In float64. An iteration costs the inner products of the n neurons with the ``rank`` products,
    O(n·rank·(d + m)), and the solution for D, O(rank³).

    Args:
        tensor: B, any outputs; only its inner products are used.
        rank: number r of products.
        starts: number of searches: one from ``eigen_factors``, the others from random factors;
            fewer once one explains all but 1e-7.
        steps: tens of iterations that a search may run; fewer once ten gain less than 1e-9.
        seed: of the random factors.

    Raises:
        QuadricError: ``rank``, ``starts`` or ``steps`` is not positive, or the tensor is zero.
    """
    for name, value in (("starts", starts), ("steps", steps)):
        if value < 1:
            raise QuadricError(f"{name} is {value}, expected at least 1")
    first = eigen_factors(tensor, rank)
    exact = tensor.to(dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    best: Factors | None = None
    for start in range(starts):
        drawn = torch.randn(2, rank, tensor.d, generator=generator, dtype=torch.float64)
        factors = drawn.to(tensor.device)
        if start == 0:
            # A product of the start may be empty, where a gradient would vanish: stir all a little.
            factors = factors * 1e-3 / tensor.d**0.5
            factors += torch.stack([first.tensor.left, first.tensor.right]).double()
        found = refine_factors(exact, factors[0], factors[1], steps)
        if best is None or found.explained > best.explained:
            best = found._replace(start=start)
        if best.explained > 1 - _REST:
            break
    assert best is not None
    if first.explained > best.explained:
        return first
    return best._replace(tensor=best.tensor.to(dtype=tensor.dtype))


def refine_factors(
    tensor: BilinearTensor, left: Float[Tensor, "r d"], right: Float[Tensor, "r d"], steps: int = 50
) -> Factors:
    """One search from given products: the local optimum that they lead to; see ``fit_factors``.

    Raises:
        QuadricError: a factor has a row of zeros, which has no direction to search from, or the
            factors and the tensor do not fit together.
    """
    if not (left.any(dim=-1).all() and right.any(dim=-1).all()):
        raise QuadricError("a product has a factor of zeros: start from nonzero rows")
    exact = tensor.to(dtype=torch.float64)
    check_comparable(exact, type(tensor)(left.double(), right.double()))
    left, right, history = _search(exact, torch.stack([left, right]).double(), steps)
    found = _ordered(solve_out(exact, left, right)).to(dtype=tensor.dtype)
    return Factors(found, history[-1], history, 0)


@torch.no_grad()
def eigen_factors(tensor: BilinearTensor, rank: int) -> Factors:
    """The ``rank`` products that hold most of the tensor's eigen-terms, without any search.

    With B = Σ_i σ_i u_i ⊗ q_i and q_i = Σ λ⁺aaᵀ − Σ λ⁻bbᵀ (all terms orthogonal), the p-th positive
    and the p-th negative term of one q_i make one product: λ⁺aaᵀ − λ⁻bbᵀ = ½(lrᵀ + rlᵀ) with
    l, r = √λ⁺a ± √λ⁻b. It explains σ_i²((λ⁺)² + (λ⁻)²), and the ``rank`` largest over the ``rank``
    leading i and all p are kept. Forms whose σ_i² cannot win any more are not decomposed.

    Raises:
        QuadricError: ``rank`` is not positive, or the tensor is zero.
    """
    if rank < 1:
        raise QuadricError(f"rank is {rank}, expected at least 1")
    exact = tensor.to(dtype=torch.float64)
    total = float(norm(exact)) ** 2
    if total == 0:
        raise QuadricError("the tensor is zero: there is nothing to explain")
    singular, directions, forms = hosvd(exact, min(rank, tensor.m))
    energies = exact.left.new_zeros(0)
    lefts, rights = exact.left.new_zeros(2, 0, tensor.d)
    columns = exact.left.new_zeros(0, tensor.m)
    for i, (sigma, u) in enumerate(zip(singular, directions, strict=True)):
        if len(energies) == rank and sigma**2 <= energies[-1]:
            break
        unit = torch.zeros_like(singular)
        unit[i] = 1
        left, right, energy = _products(*forms.eigh(unit, by="pos"))
        energies = torch.cat([energies, sigma**2 * energy])
        order = (-energies).argsort(stable=True)[:rank]
        energies = energies[order]
        lefts, rights = torch.cat([lefts, left])[order], torch.cat([rights, right])[order]
        columns = torch.cat([columns, (sigma * u).expand(len(energy), -1)])[order]
    missing = rank - len(energies)
    out = torch.nn.functional.pad(columns, (0, 0, 0, missing)).mT
    lefts, rights = (torch.nn.functional.pad(f, (0, 0, 0, missing)) for f in (lefts, rights))
    found = type(exact)(lefts, rights, out)
    explained = float(energies.sum()) / total
    return Factors(_ordered(found).to(dtype=tensor.dtype), explained, [explained], 0)


@torch.no_grad()
def solve_out(
    tensor: BilinearTensor, left: Float[Tensor, "r d"], right: Float[Tensor, "r d"]
) -> BilinearTensor:
    """The least-squares read-out of given products: D = C·S⁻¹, in closed form from their Grams.

    Products that depend on each other share what they explain. Not differentiable.

    Raises:
        QuadricError: the factors differ from the tensor in d, dtype or device, or are not finite.
    """
    products = type(tensor)(left, right)
    check_comparable(tensor, products)
    solved = _solved(cross_gram(tensor, products).double(), gram(products).double())
    return type(tensor)(left, right, solved.to(tensor.dtype))


def _solved(with_tensor: Float[Tensor, "m r"], among: Float[Tensor, "r r"]) -> Float[Tensor, "m r"]:
    """D from C = ⟨Q_k, product_r⟩ and the products' own Gram S."""
    scale = among.diagonal().clamp(min=torch.finfo(torch.float64).tiny).sqrt()
    among = among / scale / scale[:, None]
    among.diagonal().add_(_RIDGE)
    if not (among.isfinite().all() and with_tensor.isfinite().all()):
        raise QuadricError("a factor or the tensor holds NaN or infinity")
    values, vectors = torch.linalg.eigh(among)
    solved: Tensor = (with_tensor / scale) @ vectors / values.clamp(min=_RIDGE) @ vectors.mT
    return solved / scale


def _search(
    tensor: BilinearTensor, factors: Float[Tensor, "2 r d"], steps: int
) -> tuple[Float[Tensor, "r d"], Float[Tensor, "r d"], list[float]]:
    """Unit factors of a local optimum from ``factors``, and the share explained on the way."""
    total = inner(tensor, tensor)
    free = torch.nn.functional.normalize(factors, dim=-1).requires_grad_()
    optimiser = torch.optim.LBFGS([free], max_iter=10, line_search_fn="strong_wolfe")

    def unexplained() -> Float[Tensor, ""]:
        # D takes up every length, so only directions are searched.
        left, right = torch.nn.functional.normalize(free, dim=-1)
        products = type(tensor)(left, right)
        with_tensor, among = cross_gram(tensor, products), gram(products)
        out = _solved(with_tensor.detach(), among.detach())
        return 1 + ((out.mT @ out * among).sum() - 2 * (out * with_tensor).sum()) / total

    def explained() -> float:
        with torch.no_grad():
            return 1 - float(unexplained())

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = unexplained()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    history = [explained()]
    for _ in range(steps):
        optimiser.step(closure)  # type: ignore[no-untyped-call]
        history.append(explained())
        if history[-1] - history[-2] < _GAIN:
            break
    left, right = torch.nn.functional.normalize(free.detach(), dim=-1)
    return left, right, history


def _products(
    values: Float[Tensor, "k"], vectors: Float[Tensor, "k d"]
) -> tuple[Float[Tensor, "p d"], Float[Tensor, "p d"], Float[Tensor, "p"]]:
    """A form as products of its p-th positive with its p-th negative term; ``values`` fall."""
    positive, negative = values.clamp(min=0), (-values.flip(0)).clamp(min=0)
    count = max(int((positive > 0).sum()), int((negative > 0).sum()))
    plus = positive[:count, None].sqrt() * vectors[:count]
    minus = negative[:count, None].sqrt() * vectors.flip(0)[:count]
    energy = positive[:count].square() + negative[:count].square()
    return plus + minus, plus - minus, energy


def _ordered(tensor: BilinearTensor) -> BilinearTensor:
    """The same map with unit factors and the neurons by falling size of their output column."""
    assert tensor.out is not None
    sizes = [factor.norm(dim=1) for factor in (tensor.left, tensor.right)]
    out = tensor.out * sizes[0] * sizes[1]
    order = (-out.norm(dim=0)).argsort(stable=True)
    left, right = (
        torch.nn.functional.normalize(factor, dim=1)[order]
        for factor in (tensor.left, tensor.right)
    )
    return type(tensor)(left, right, out[:, order])

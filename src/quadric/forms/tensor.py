"""A stack of quadratic forms, kept as factors.

Every object of this library is one :class:`BilinearTensor`: the latents of a bilinear autoencoder,
the outputs of a bilinear layer, a composite, an eigen-slice. Output k is the quadratic form

    f_k(x) = xᵀQ_kx,   Q_k = ½ Σ_j P_kj (w_jv_jᵀ + v_jw_jᵀ),

with w_j, v_j the rows of ``left`` and ``right`` and P the matrix ``out``. The m×d×d tensor of the
Q_k is never built. The methods delegate to the files beside this one, one subject each.

    tensor = BilinearTensor(left, right, out)
    tensor(x)                                     # the outputs
    values, vectors = tensor.eigh(direction, k=3) # what one output direction reads
    tensor.cosine(other)                          # how alike two layers are, without any input
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms import bias, gaussian, gram, hosvd, interaction, spectrum, truncation


@dataclass(frozen=True, eq=False, repr=False)
class BilinearTensor:
    """m quadratic forms on R^d with n shared factors: T(x) = P[(Wx) ⊙ (Vx)].

    Works in any floating dtype and on any device; ``__call__``, ``interaction``, ``gram``,
    ``inner`` and the Gaussian products are differentiable in the factors.

    Raises:
        QuadricError: the factors' shapes, dtypes or devices disagree, or they are not floating.
    """

    left: Float[Tensor, "n d"]
    """W, one row w_j per neuron."""
    right: Float[Tensor, "n d"]
    """V, one row v_j per neuron."""
    out: Float[Tensor, "m n"] | None = None
    """P, what each output adds up; None stands for the identity, m = n."""

    def __post_init__(self) -> None:
        """Check the factors against each other."""
        given = {"left": self.left, "right": self.right, "out": self.out}
        for name, factor in given.items():
            if factor is None and name == "out":
                continue
            if not isinstance(factor, Tensor):
                raise QuadricError(f"{name} is a {type(factor).__name__}, expected a torch.Tensor")
            if factor.ndim != 2:
                raise QuadricError(f"{name} has shape {tuple(factor.shape)}, expected two axes")
            if not factor.is_floating_point():
                raise QuadricError(f"{name} is {factor.dtype}, expected a floating-point dtype")
            if (factor.dtype, factor.device) != (self.left.dtype, self.left.device):
                raise QuadricError(
                    f"{name} is {factor.dtype} on {factor.device} but left is {self.left.dtype} "
                    f"on {self.left.device}: convert one of them"
                )
        if self.left.shape != self.right.shape:
            shapes = f"{tuple(self.left.shape)} and {tuple(self.right.shape)}"
            raise QuadricError(f"left and right have shapes {shapes}, expected the same (n, d)")
        if self.out is not None and self.out.shape[1] != self.n:
            raise QuadricError(
                f"out has shape {tuple(self.out.shape)}, expected (m, {self.n}): one column for "
                f"each of the {self.n} neurons"
            )

    def __repr__(self) -> str:
        """Sizes, dtype and device instead of the numbers."""
        sizes = f"m={self.m}, n={self.n}, d={self.d}"
        return f"BilinearTensor({sizes}, dtype={self.dtype}, device='{self.device}')"

    @property
    def n(self) -> int:
        """Number of neurons (rank-one products)."""
        return self.left.shape[0]

    @property
    def d(self) -> int:
        """Number of inputs."""
        return self.left.shape[1]

    @property
    def m(self) -> int:
        """Number of outputs."""
        return self.n if self.out is None else self.out.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of all factors."""
        return self.left.dtype

    @property
    def device(self) -> torch.device:
        """Device of all factors."""
        return self.left.device

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> BilinearTensor:
        """The same tensor on another device or in another floating dtype."""
        left, right = (f.to(device=device, dtype=dtype) for f in (self.left, self.right))
        out = None if self.out is None else self.out.to(device=device, dtype=dtype)
        return replace(self, left=left, right=right, out=out)

    # Values and matrices -------------------------------------------------------------------

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch m"]:
        """P[(Wx) ⊙ (Vx)]: all outputs at x.

        Raises:
            QuadricError: the last axis of ``x`` is not d.
        """
        if x.shape[-1:] != (self.d,):
            raise QuadricError(
                f"x has shape {tuple(x.shape)}, expected its last axis to be {self.d}"
            )
        return self.read_out((x @ self.left.mT) * (x @ self.right.mT))

    def read_out(self, products: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch m"]:
        """P applied to the neurons' products; the identity when there is no output matrix."""
        return products if self.out is None else products @ self.out.mT

    def interaction(self, u: Float[Tensor, "m"]) -> Float[Tensor, "d d"]:
        """Q_u = ½(Wᵀdiag(c)V + Vᵀdiag(c)W) with c = Pᵀu: xᵀQ_ux = u·T(x), Q_u symmetric.

        Neurons with c = 0 are not read, unless a gradient to c is asked for.

        Raises:
            QuadricError: ``u`` does not have m entries.
        """
        return interaction.interaction(self, u)

    def with_input_basis(self, basis: Float[Tensor, "d p"]) -> BilinearTensor:
        """The tensor of y ↦ T(Ey), with E = ``basis``: its factors are WE and VE.

        Raises:
            QuadricError: ``basis`` does not have d rows.
        """
        if basis.ndim != 2 or basis.shape[0] != self.d:
            raise QuadricError(f"basis has shape {tuple(basis.shape)}, expected ({self.d}, p)")
        return replace(self, left=self.left @ basis, right=self.right @ basis)

    def with_output_basis(self, basis: Float[Tensor, "q m"]) -> BilinearTensor:
        """The tensor M·T whose outputs are combinations of T's, with M = ``basis``: P becomes MP.

        Raises:
            QuadricError: ``basis`` does not have m columns.
        """
        if basis.ndim != 2 or basis.shape[1] != self.m:
            raise QuadricError(f"basis has shape {tuple(basis.shape)}, expected (q, {self.m})")
        return replace(self, out=basis if self.out is None else basis @ self.out)

    # Biases --------------------------------------------------------------------------------

    def fold_bias(
        self,
        left_bias: Float[Tensor, "n"],
        right_bias: Float[Tensor, "n"],
        out_bias: Float[Tensor, "m"] | None = None,
    ) -> BilinearTensor:
        """The tensor on [x; 1] that includes the biases; see quadric.forms.bias."""
        return bias.fold_bias(self, left_bias, right_bias, out_bias)

    def terms(self, x: Float[Tensor, "*batch d-1"]) -> bias.Terms:
        """A folded tensor's quadratic, linear and constant part at x; they sum to T([x; 1])."""
        return bias.terms(self, x)

    def parts(self) -> bias.Parts:
        """A folded tensor as quadratic forms, linear rows and constants of the unlifted input."""
        return bias.parts(self)

    # Spectra -------------------------------------------------------------------------------

    def eigh(
        self, u: Float[Tensor, "m"], k: int | None = None, by: spectrum.Rule = "abs"
    ) -> spectrum.Eigenpairs:
        """Eigenpairs of Q_u: Q_u = Σ_i λ_i v_iv_iᵀ; see :func:`quadric.forms.spectrum.eigh`."""
        return spectrum.eigh(self, u, k, by)

    def eigh_many(
        self, us: Float[Tensor, "q m"] | None, k: int, by: spectrum.Rule = "abs"
    ) -> spectrum.Eigenpairs:
        """The k leading eigenpairs for each of many output directions, batched.

        See :func:`quadric.forms.spectrum.eigh_many`; ``us=None`` asks for every output.
        """
        return spectrum.eigh_many(self, us, k, by)

    def eigh_sparse(
        self,
        neurons: Int[Tensor, "q s"],
        weights: Float[Tensor, "q s"],
        k: int,
        by: spectrum.Rule = "abs",
    ) -> spectrum.Eigenpairs:
        """The same for forms Σ_s weights[i,s]·B_{neurons[i,s]}, given by their few neurons.

        See :func:`quadric.forms.spectrum.eigh_sparse`.
        """
        return spectrum.eigh_sparse(self, neurons, weights, k, by)

    def truncate(self, k: int, by: spectrum.Rule = "abs") -> truncation.Truncation:
        """Every output cut to its k leading eigen-terms, with a certified bound on the error.

        See :func:`quadric.forms.truncation.truncate`.
        """
        return truncation.truncate(self, k, by)

    def hosvd(self, rank: int | None = None) -> hosvd.Hosvd:
        """Singular value decomposition between outputs and forms.

        See :func:`quadric.forms.hosvd.hosvd`.
        """
        return hosvd.hosvd(self, rank)

    # Inner products ------------------------------------------------------------------------

    def gram(self) -> Float[Tensor, "m m"]:
        """⟨Q_k, Q_l⟩ between the outputs' forms."""
        return gram.gram(self)

    def cross_gram(self, other: BilinearTensor) -> Float[Tensor, "m m2"]:
        """⟨Q_k, Q'_l⟩ between the outputs' forms of two tensors on the same input."""
        return gram.cross_gram(self, other)

    def input_gram(self) -> Float[Tensor, "d d"]:
        """Σ_k Q_k², the Gram of the input axis."""
        return gram.input_gram(self)

    def inner(self, other: BilinearTensor) -> Float[Tensor, ""]:
        """Σ_k ⟨Q_k, Q'_k⟩."""
        return gram.inner(self, other)

    def norm(self) -> Float[Tensor, ""]:
        """√Σ_k ‖Q_k‖²."""
        return gram.norm(self)

    def cosine(self, other: BilinearTensor) -> Float[Tensor, ""]:
        """Σ_k ⟨Q_k, Q'_k⟩ over the two norms."""
        return gram.cosine(self, other)

    # Expectations under a Gaussian ---------------------------------------------------------

    def gaussian_mean(
        self, mean: Float[Tensor, "d"] | None = None, cov: Float[Tensor, "d d"] | None = None
    ) -> Float[Tensor, "m"]:
        """E[f_k(x)] for x ~ N(mean, cov); by default the standard Gaussian."""
        return gaussian.gaussian_mean(self, mean, cov)

    def gaussian_inner(
        self,
        other: BilinearTensor,
        mean: Float[Tensor, "d"] | None = None,
        cov: Float[Tensor, "d d"] | None = None,
        *,
        centred: bool = False,
    ) -> Float[Tensor, ""]:
        """Σ_k E[f_k(x) g_k(x)] for x ~ N(mean, cov), exact; see quadric.forms.gaussian."""
        return gaussian.gaussian_inner(self, other, mean, cov, centred=centred)

    def gaussian_cosine(
        self,
        other: BilinearTensor,
        mean: Float[Tensor, "d"] | None = None,
        cov: Float[Tensor, "d d"] | None = None,
        *,
        centred: bool,
    ) -> Float[Tensor, ""]:
        """The Gaussian inner product normalised: how alike two layers act on x ~ N(mean, cov)."""
        return gaussian.gaussian_cosine(self, other, mean, cov, centred=centred)

"""The bilinear autoencoder: one class, whose variants are choices of parts.

A latent is a product (l_j·x)(r_j·x), or a sum of a few; the dictionary reconstructs the
interaction matrix X = xxᵀ as X̂ = Σ_j g_j B_j with B_j = ½(l_j r_jᵀ + r_j l_jᵀ), and its error is

    ‖X − X̂‖² / ‖X‖² = (‖x‖⁴ − 2 g·z + gᵀKg) / ‖x‖⁴,     K_ij = ⟨B_i, B_j⟩,

which never needs a d×d matrix per token. Here x stands for the transformed input, with a constant
1 appended when the autoencoder is affine (its ‖x‖⁴ is then the lifted vector's).

``encode``, ``decode`` and ``forward`` keep the meaning they have for other sparse autoencoders:
latents out, activations back. Figures in product space carry ``product`` in their names.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quadric.autoencoders import decode as decoding
from quadric.autoencoders import files
from quadric.autoencoders.config import AutoencoderConfig, Metadata
from quadric.autoencoders.density import hoyer_density, sparse_hoyer_density
from quadric.autoencoders.initial import gaussian_rows, mixing_of
from quadric.autoencoders.loss import Loss
from quadric.autoencoders.mixing import Blocks, Dense
from quadric.autoencoders.objective import dense_loss
from quadric.autoencoders.sparsity import Active, TopK
from quadric.autoencoders.transform import InputTransform, Transformed
from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, lift
from quadric.kernels import sample_energies, sparse_squared_errors
from quadric.ranks import ALONE, Ranks

ROWS_AT_ONCE = 4096
"""Rows per piece in the calls that run without gradients, to bound their memory."""
GATHERED = 2**24
"""Numbers of the atoms that are gathered at a time for decoding."""


class BilinearAutoencoder(nn.Module):
    """A sparse autoencoder whose latents are quadratic forms of the input.

    Attributes:
        config: the choice of parts.
        metadata: where it came from.
        transform: the input transform, fitted on training data.
        left, right: the encoder factors, (n, d_in), or (n, d_in + 1) with the constant last.
        mixing: how products become latents and latents become coefficients.
        topk: which latents a token keeps; None where it keeps all.
    """

    def __init__(self, config: AutoencoderConfig, metadata: Metadata | None = None) -> None:
        """Draw initial weights from ``config.seed``: Gaussian rows of expected norm 1."""
        super().__init__()
        self.config = config
        self.metadata = metadata or Metadata()
        self.transform = InputTransform.of(config)
        generator = torch.Generator().manual_seed(config.seed)
        width = config.d_in + int(config.affine)
        self.left = nn.Parameter(gaussian_rows(config.factors, width, generator))
        self.right = nn.Parameter(gaussian_rows(config.factors, width, generator))
        self.mixing = mixing_of(config, generator)
        self.topk = None
        if config.k is not None:
            self.topk = TopK(config.factors, config.k, batch=config.batch_topk)

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self.config.d_in

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return self.config.d_sae

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.left.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' type."""
        return self.left.dtype

    def encode(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]:
        """The latents of activations, signed; all of them, with zeros where topk keeps none.

        Raises:
            QuadricError: the last dimension is not d_in.
        """
        if self.topk is not None:
            active = self.encode_sparse(x)
            kept = active.indices.clamp_min(0)
            latents = active.latents.new_zeros(*active.latents.shape[:-1], self.d_sae)
            return latents.scatter_add_(-1, kept, active.latents)
        return self.mixing.latents(self._products(self._lifted(self._transformed(x).y)))

    @torch.no_grad()
    def encode_sparse(self, x: Float[Tensor, "... d_in"]) -> Active:
        """The latents that each activation keeps, (..., k), and their numbers; topk only.

        Memory: a block of the dictionary at a time, never all of its latents.

        Raises:
            QuadricError: the last dimension is not d_in, or every latent is kept.
        """
        if self.topk is None:
            raise QuadricError(f"variant {self.config.variant!r} keeps every latent: use encode")
        flat = self._lifted(self._transformed(x).y).reshape(-1, self.left.shape[1])
        unit, size = _unit(flat)
        pieces = [
            self.topk.select(unit[piece], self.left, self.right)
            for piece in _pieces(len(flat)) or [slice(None)]
        ]
        indices, latents = (torch.cat(parts) for parts in zip(*pieces, strict=True))
        shape = *x.shape[:-1], indices.shape[1]
        return Active(indices.view(shape), (latents * size).view(shape))

    def decode(
        self, latents: Float[Tensor, "... d_sae"], *, like: Float[Tensor, "... d_in"] | None = None
    ) -> Float[Tensor, "... d_in"]:
        """Activations whose interaction matrix the latents describe.

        An affine autoencoder decodes linearly and knows the sign. Any other reads the leading
        eigenpair of X̂, whose sign the latents cannot know (they are the same for x and −x around
        the transform's centre). ``like`` gives the activations to take sign and norm from, as
        ``forward`` does; without it the sign makes the largest entry positive, the norm is the
        training data's mean norm, and a warning says so.
        """
        if like is None and not self.config.affine:
            warnings.warn(
                "decode(latents) without like= has an arbitrary sign: products do not change "
                "when x becomes -x; use forward(x), decode(latents, like=x) or affine=True",
                stacklevel=2,
            )
        self._check_width(latents, self.d_sae, "latents", "d_sae")
        shape = latents.shape[:-1]
        flat = latents.reshape(-1, self.d_sae)
        given = None if like is None else self._transformed(like.reshape(-1, self.d_in))
        few = 0 if self.topk is None else decoding.few_active(flat)
        x = self._estimates(len(flat), few, lambda some: self._coefficients(flat[some], few), given)
        return x.reshape(*shape, self.d_in)

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_in"]:
        """The reconstruction of x, in x's space and shape.

        The norm divided out by the transform is x's own; so is the sign, unless the autoencoder
        is affine (see ``decode``). With topk no tensor holds all latents.
        """
        if self.topk is None:
            return self.decode(self.encode(x), like=x)
        self._check_width(x, self.d_in, "activations", "d_in")
        flat = x.reshape(-1, self.d_in)
        indices, latents = self.encode_sparse(flat)

        def active(some: slice) -> tuple[Tensor, Tensor, Tensor]:
            kept = indices[some].clamp_min(0)
            return latents[some], self.left[kept], self.right[kept]

        given = self._transformed(flat)
        return self._estimates(len(flat), indices.shape[1], active, given).reshape(x.shape)

    @torch.no_grad()
    def product_error(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "..."]:
        """‖X − X̂‖²/‖X‖² of every activation, with all latents; 1 means nothing was predicted."""
        flat = self._rows(x)
        errors = [self._sample_errors(flat[piece]) for piece in _pieces(len(flat))]
        return (torch.cat(errors) if errors else flat.new_zeros(0)).reshape(x.shape[:-1])

    def loss(
        self,
        x: Float[Tensor, "... d_in"],
        step: int,
        *,
        product_dtype: torch.dtype | None = None,
        ranks: Ranks = ALONE,
    ) -> Loss:
        """The training loss of a batch: mean error plus the density penalty.

        Args:
            x: activations; all leading dimensions are one batch.
            step: the training step, from 0; the penalty warms up over ``density_warmup`` steps.
            product_dtype: the type of the large matrix products, for example bfloat16; sums and
                gradients stay in the weights' type. None computes everything in that type.
            ranks: who else has rows of this batch, as many as ``x``. The mean over ranks of the
                losses, and of their gradients, is the loss and the gradient of the whole batch.
        """
        lifted = self._rows(x)
        # At length 1 every vector has ‖x‖⁴ = 1, which makes each term relative without a division.
        unit, size = _unit(lifted)
        # Density ignores the scale of a latent, but not one that differs from row to row.
        scale = size if self.config.norm != "unit" else torch.ones_like(size)
        if self.topk is not None:
            return self.topk.loss(
                unit,
                scale,
                self.left,
                self.right,
                symmetric=self.config.symmetric,
                product_dtype=product_dtype,
                ranks=ranks,
            )
        return dense_loss(
            unit,
            scale,
            self.left,
            self.right,
            self.mixing,
            self.config,
            step,
            product_dtype=product_dtype,
            ranks=ranks,
        )

    @torch.no_grad()
    def density(self, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, ""]:
        """The mean Hoyer density of the latents over these activations."""
        if self.topk is None:
            return hoyer_density(self.encode(x)).mean()
        return sparse_hoyer_density(*self.encode_sparse(x), self.d_sae).mean()

    def tensor(self, latents: Sequence[int] | None = None) -> BilinearTensor:
        """The latents as a stack of quadratic forms on the transformed input.

        Args:
            latents: indices of the latents wanted; all of them when None.

        Returns:
            One output per latent, on d_in coordinates, or d_in + 1 with the constant last for an
            affine autoencoder. Composites share no factor, so a selection stays small.

        Raises:
            QuadricError: an index is out of range.
        """
        chosen = torch.arange(self.d_sae) if latents is None else torch.as_tensor(list(latents))
        if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < self.d_sae:
            wrong = int(chosen.min()) if int(chosen.min()) < 0 else int(chosen.max())
            raise QuadricError(f"latent {wrong} is out of range: there are {self.d_sae}, from 0")
        left, right = self.left.detach(), self.right.detach()
        if not isinstance(self.mixing, Blocks):
            chosen = chosen.to(self.device)
            return BilinearTensor(left[chosen], right[chosen])
        block = self.mixing.block
        atoms = (chosen[:, None] * block + torch.arange(block)).flatten().to(self.device)
        out = torch.eye(len(chosen)).to(left).repeat_interleave(block, dim=1)
        return BilinearTensor(left[atoms], right[atoms], out)

    def map_forms(self) -> BilinearTensor:
        """The forms F with X̂ = Σ_i ⟨F_i, X⟩ F_i: latents, or the rows of D read as forms."""
        if isinstance(self.mixing, Dense):
            return BilinearTensor(
                self.left.detach(), self.right.detach(), self.mixing.weight.detach()
            )
        return self.tensor()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``cfg.json`` and ``sae_weights.safetensors``; the former last."""
        files.save(self, Path(folder))

    @classmethod
    def from_pretrained(
        cls, source: str | Path, subfolder: str = "", **hub: Any
    ) -> BilinearAutoencoder:
        """Load from a folder on disk, or from a model repository on the Hugging Face hub.

        ``subfolder`` names a folder inside either; ``hub`` goes to ``snapshot_download``
        (``revision``, ``token``, …).
        """
        return cls.load_from_disk(files.locate(str(source), subfolder, **hub))

    @classmethod
    def load_from_disk(cls, folder: str | Path) -> BilinearAutoencoder:
        """Load from a folder on disk."""
        config, metadata, statistics, weights = files.load(Path(folder))
        model = cls(config, metadata).to(weights["left"].dtype)
        files.fill(model, weights)
        model.transform.load_statistics(statistics, str(Path(folder) / files.CONFIG))
        return model.eval()

    def push_to_hub(self, repo_id: str, **hub: Any) -> str:
        """Upload to a model repository, created when missing; returns the commit's address."""
        return files.push(self, repo_id, **hub)

    def _transformed(self, x: Tensor) -> Transformed:
        self._check_width(x, self.d_in, "activations", "d_in")
        return self.transform.apply_to(x.to(self.dtype))

    def _rows(self, x: Tensor) -> Tensor:
        """Transformed activations, lifted, as a matrix."""
        self._check_width(x, self.d_in, "activations", "d_in")
        return self._lifted(self._transformed(x.reshape(-1, self.d_in)).y)

    def _lifted(self, y: Tensor) -> Tensor:
        return lift(y) if self.config.affine else y

    def _products(self, lifted: Tensor) -> Tensor:
        return (lifted @ self.left.T) * (lifted @ self.right.T)

    def _coefficients(self, latents: Tensor, few: int) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients and the atoms they belong to, gathered for each row where few are active."""
        if not few:
            return self.mixing.coefficients(latents), self.left, self.right
        kept = latents.abs().topk(few, dim=1).indices
        return latents.gather(1, kept), self.left[kept], self.right[kept]

    def _estimates(
        self,
        count: int,
        few: int,
        atoms: Callable[[slice], tuple[Tensor, Tensor, Tensor]],
        given: Transformed | None,
    ) -> Tensor:
        """Activations from coefficients and factors; those of ``few`` atoms a row are gathered."""
        rows = max(1, GATHERED // (2 * few * self.left.shape[1])) if few else ROWS_AT_ONCE
        pieces = [
            decoding.estimate(
                *atoms(some),
                affine=self.config.affine,
                like=None if given is None else given.y[some],
            )
            for some in _pieces(count, rows)
        ]
        y = torch.cat(pieces) if pieces else self.left.new_zeros(0, self.d_in)
        return self.transform.undo(y, None if given is None else given.norm)

    def _sample_errors(self, lifted: Tensor) -> Tensor:
        if self.topk is not None:
            unit, size = _unit(lifted)
            kept = self.topk.select(unit, self.left, self.right).indices
            errors = sparse_squared_errors(
                unit, self.left, self.right, kept, symmetric=self.config.symmetric
            )
            return torch.where(lifted.square().sum(-1) > 0, errors, 0.0)
        products = self._products(lifted)
        coefficients = self.mixing.coefficients(self.mixing.latents(products))
        energy = sample_energies(
            coefficients, self.left, self.right, symmetric=self.config.symmetric
        )
        size = lifted.square().sum(-1).square()
        error = size - 2 * (coefficients * products).sum(-1) + energy
        # A zero vector has nothing to predict and nothing is predicted: its error is 0, not 0/0.
        return torch.where(size > 0, error / size.clamp_min(torch.finfo(size.dtype).tiny), 0.0)

    @staticmethod
    def _check_width(x: Tensor, width: int, what: str, name: str) -> None:
        if x.ndim == 0 or x.shape[-1] != width:
            raise QuadricError(
                f"{what} of shape {tuple(x.shape)}: the last dimension must be {name} = {width}"
            )


def _unit(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of length 1, and the squares of their lengths as a column."""
    size = x.square().sum(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    return x / size.sqrt(), size


def _pieces(rows: int, at_once: int = ROWS_AT_ONCE) -> list[slice]:
    return [slice(start, start + at_once) for start in range(0, rows, at_once)]

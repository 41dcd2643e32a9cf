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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quadric.autoencoders import decode as decoding
from quadric.autoencoders import files
from quadric.autoencoders.config import AutoencoderConfig, Metadata
from quadric.autoencoders.density import hoyer_density
from quadric.autoencoders.mixing import Blocks, Dense, Mixing, Unmixed
from quadric.autoencoders.ordering import prefix_density_weights, prefix_weights
from quadric.autoencoders.transform import InputTransform, Transformed
from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, lift
from quadric.kernels import reconstruction_energy, sample_energies

ROWS_AT_ONCE = 4096
"""Rows per piece in the calls that run without gradients, to bound their memory."""


class Loss(NamedTuple):
    """The training loss of one batch and its parts."""

    total: Float[Tensor, ""]
    """error + density_weight · density."""
    error: Float[Tensor, ""]
    """Mean product error; for ordered variants the mean over all prefixes of the dictionary."""
    density: Float[Tensor, ""]
    """Mean Hoyer density of the latents; for ordered variants the mean over prefixes."""
    density_weight: float
    """The weight in force at this step, warm-up included."""


class BilinearAutoencoder(nn.Module):
    """A sparse autoencoder whose latents are quadratic forms of the input.

    Attributes:
        config: the choice of parts.
        metadata: where it came from.
        transform: the input transform, fitted on training data.
        left, right: the encoder factors, (n, d_in), or (n, d_in + 1) with the constant last.
        mixing: how products become latents and latents become coefficients.
    """

    def __init__(self, config: AutoencoderConfig, metadata: Metadata | None = None) -> None:
        """Draw initial weights from ``config.seed``: Gaussian rows of expected norm 1."""
        super().__init__()
        self.config = config
        self.metadata = metadata or Metadata()
        self.transform = InputTransform.of(config)
        generator = torch.Generator().manual_seed(config.seed)
        width = config.d_in + int(config.affine)
        self.left = nn.Parameter(_gaussian_rows(config.factors, width, generator))
        self.right = nn.Parameter(_gaussian_rows(config.factors, width, generator))
        self.mixing = _mixing(config, generator)

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
        """The latents of activations, signed and dense.

        Raises:
            QuadricError: the last dimension is not d_in.
        """
        return self.mixing.latents(self._products(self._lifted(self._transformed(x).y)))

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
        pieces = [
            self._estimate(flat[piece], None if given is None else given.y[piece])
            for piece in _pieces(len(flat))
        ]
        y = torch.cat(pieces) if pieces else flat.new_zeros(0, self.d_in)
        x = self.transform.undo(y, None if given is None else given.norm)
        return x.reshape(*shape, self.d_in)

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_in"]:
        """The reconstruction of x, in x's space and shape.

        The norm divided out by the transform is x's own; so is the sign, unless the autoencoder
        is affine (see ``decode``).
        """
        return self.decode(self.encode(x), like=x)

    @torch.no_grad()
    def product_error(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "..."]:
        """‖X − X̂‖²/‖X‖² of every activation, with all latents; 1 means nothing was predicted."""
        flat = self._lifted(self._transformed(x.reshape(-1, self.d_in)).y)
        errors = [self._sample_errors(flat[piece]) for piece in _pieces(len(flat))]
        return (torch.cat(errors) if errors else flat.new_zeros(0)).reshape(x.shape[:-1])

    def loss(
        self,
        x: Float[Tensor, "... d_in"],
        step: int,
        *,
        product_dtype: torch.dtype | None = None,
    ) -> Loss:
        """The training loss of a batch: mean error plus the density penalty.

        Args:
            x: activations; all leading dimensions are one batch.
            step: the training step, from 0; the penalty warms up over ``density_warmup`` steps.
            product_dtype: the type of the large matrix products, for example bfloat16; sums and
                gradients stay in the weights' type. None computes everything in that type.
        """
        lifted = self._lifted(self._transformed(x.reshape(-1, self.d_in)).y)
        # At length 1 every vector has ‖x‖⁴ = 1, which makes each term relative without a division.
        size = lifted.square().sum(-1, keepdim=True).clamp_min(torch.finfo(lifted.dtype).tiny)
        products = self._products(lifted / size.sqrt(), product_dtype)
        latents = self.mixing.latents(products)
        coefficients = self.mixing.coefficients(latents)
        weights = None
        if self.config.ordered:
            weights = prefix_weights(self.config.factors).to(products)
            cross = (coefficients * products).sum(0) @ weights
        else:
            cross = torch.dot(coefficients.reshape(-1), products.reshape(-1))
        energy = reconstruction_energy(
            coefficients,
            self.left,
            self.right,
            symmetric=self.config.symmetric,
            weights=weights,
            product_dtype=product_dtype,
        )
        error = 1 + (energy - 2 * cross) / len(lifted)
        # Density ignores the scale of a latent, but not one that differs from row to row.
        density = hoyer_density(latents if self.config.norm == "unit" else latents * size)
        if self.config.ordered:
            density = density * (self.d_sae * prefix_density_weights(self.d_sae).to(density))
        density = density.mean()
        weight = self.config.density_weight * _warmup(step, self.config.density_warmup)
        return Loss(error + weight * density, error, density, weight)

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
        model.load_state_dict(weights)
        model.transform.load_statistics(statistics, str(Path(folder) / files.CONFIG))
        return model.eval()

    def push_to_hub(self, repo_id: str, **hub: Any) -> str:
        """Upload to a model repository, created when missing; returns the commit's address."""
        return files.push(self, repo_id, **hub)

    def _transformed(self, x: Tensor) -> Transformed:
        self._check_width(x, self.d_in, "activations", "d_in")
        return self.transform.apply_to(x.to(self.dtype))

    def _lifted(self, y: Tensor) -> Tensor:
        return lift(y) if self.config.affine else y

    def _products(self, lifted: Tensor, product_dtype: torch.dtype | None = None) -> Tensor:
        dtype = product_dtype or lifted.dtype
        lifted = lifted.to(dtype)
        read_left = lifted @ self.left.to(dtype).T
        read_right = lifted @ self.right.to(dtype).T
        return read_left.to(self.dtype) * read_right

    def _estimate(self, latents: Tensor, y: Tensor | None) -> Tensor:
        """Transformed activations from latents, with the sign of ``y`` where it is needed."""
        coefficients = self.mixing.coefficients(latents)
        if self.config.affine:
            return decoding.linear_part(coefficients, self.left, self.right)
        estimate = decoding.leading_vector(coefficients, self.left, self.right, start=y)
        if y is None:
            return estimate
        agree = (estimate * y).sum(-1, keepdim=True)
        return torch.where(agree < 0, -estimate, estimate)

    def _sample_errors(self, lifted: Tensor) -> Tensor:
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


def _gaussian_rows(rows: int, width: int, generator: torch.Generator) -> Tensor:
    gaussian = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    scaled: Tensor = gaussian / width**0.5
    return scaled.to(torch.get_default_dtype())


def _mixing(config: AutoencoderConfig, generator: torch.Generator) -> Mixing:
    if config.block is not None:
        return Blocks(config.block)
    if config.bottleneck is not None:
        return Dense(config.bottleneck_rows, config.factors, generator)
    return Unmixed()


def _warmup(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / steps) if steps else 1.0


def _pieces(rows: int) -> list[slice]:
    return [slice(start, start + ROWS_AT_ONCE) for start in range(0, rows, ROWS_AT_ONCE)]

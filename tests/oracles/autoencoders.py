"""The bilinear autoencoder written out: every d×d matrix built, every prefix looped over."""

from __future__ import annotations

import torch
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder


def lifted_input(model: BilinearAutoencoder, x: Tensor) -> Tensor:
    """Centre, scale, normalise and lift one activation, from the definition."""
    transform = model.transform
    y = (x - transform.mean) / transform.scales
    if model.config.norm == "unit":
        y = y / y.pow(2).sum().sqrt()
    elif model.config.norm == "constant":
        y = y / transform.mean_norm
    return torch.cat([y, torch.ones(1, dtype=y.dtype)]) if model.config.affine else y


def atoms(model: BilinearAutoencoder) -> Tensor:
    """(n, d, d): l_j r_jᵀ, symmetrised when the autoencoder is symmetric."""
    outer = model.left.detach()[:, :, None] * model.right.detach()[:, None, :]
    return 0.5 * (outer + outer.transpose(1, 2)) if model.config.symmetric else outer


def mixing_matrix(model: BilinearAutoencoder) -> Tensor:
    """D, (b, n), with g = DᵀDz for every variant."""
    config = model.config
    if config.variant == "composite":
        matrix = torch.zeros(config.d_sae, config.factors, dtype=model.dtype)
        for row in range(config.d_sae):
            for member in range(config.block):
                matrix[row, row * config.block + member] = 1
        return matrix
    if config.variant in ("mixed", "combined"):
        return model.mixing.weight.detach()
    return torch.eye(config.factors, dtype=model.dtype)


def products(model: BilinearAutoencoder, x: Tensor) -> Tensor:
    """z_j = xᵀB_jx."""
    y = lifted_input(model, x)
    return torch.stack([y @ atom @ y for atom in atoms(model)])


def latents(model: BilinearAutoencoder, x: Tensor) -> Tensor:
    """z, or h = Dz for composites."""
    z = products(model, x)
    return mixing_matrix(model) @ z if model.config.variant == "composite" else z


def reconstruction(model: BilinearAutoencoder, x: Tensor, prefix: int | None = None) -> Tensor:
    """X̂ of the first ``prefix`` atoms."""
    mixing = mixing_matrix(model)
    g = mixing.T @ (mixing @ products(model, x))
    stop = len(g) if prefix is None else prefix
    return sum(g[j] * atoms(model)[j] for j in range(stop))


def error(model: BilinearAutoencoder, x: Tensor, prefix: int | None = None) -> Tensor:
    """‖X − X̂‖²/‖X‖² with everything materialised."""
    y = lifted_input(model, x)
    target = torch.outer(y, y)
    return (target - reconstruction(model, x, prefix)).pow(2).sum() / target.pow(2).sum()


def density(column: Tensor) -> Tensor:
    """Hoyer density of one latent's values."""
    n = len(column)
    length = column.pow(2).sum().sqrt()
    if length == 0:
        return length
    return (column.abs().sum() / length - 1) / (n**0.5 - 1)


def loss_parts(model: BilinearAutoencoder, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Mean error and density; for ordered variants the mean over every prefix."""
    columns = torch.stack([latents(model, x) for x in batch]).T
    each = torch.stack([density(column) for column in columns])
    if not model.config.ordered:
        return torch.stack([error(model, x) for x in batch]).mean(), each.mean()
    n = model.config.factors
    errors = [error(model, x, prefix) for prefix in range(1, n + 1) for x in batch]
    densities = [each[:prefix].mean() for prefix in range(1, n + 1)]
    return torch.stack(errors).mean(), torch.stack(densities).mean()

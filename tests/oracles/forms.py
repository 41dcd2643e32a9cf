"""Quadratic forms written out: the m×d×d tensor, the d⁴ moment, every sum a loop or one einsum."""

from __future__ import annotations

import torch
from torch import Tensor

from quadric.forms import BilinearTensor, Rule


def weights(tensor: BilinearTensor) -> Tensor:
    """P in float64, the identity written out."""
    if tensor.out is None:
        return torch.eye(tensor.n, dtype=torch.float64)
    return tensor.out.detach().double()


def unsymmetrised(tensor: BilinearTensor) -> Tensor:
    """(m, d, d): Σ_j P_kj w_j v_jᵀ, not symmetric."""
    left, right = tensor.left.detach().double(), tensor.right.detach().double()
    return torch.einsum("kj,ja,jb->kab", weights(tensor), left, right)


def matrices(tensor: BilinearTensor) -> Tensor:
    """(m, d, d): the symmetric Q_k, one neuron and one output at a time."""
    left, right, out = (
        tensor.left.detach().double(),
        tensor.right.detach().double(),
        weights(tensor),
    )
    forms = torch.zeros(tensor.m, tensor.d, tensor.d, dtype=torch.float64)
    for k in range(tensor.m):
        for j in range(tensor.n):
            outer = torch.outer(left[j], right[j])
            forms[k] += out[k, j] * (outer + outer.T) / 2
    return forms


def values(forms: Tensor, x: Tensor) -> Tensor:
    """(..., m): xᵀQ_kx."""
    return torch.einsum("kab,...a,...b->...k", forms, x, x)


def leading(form: Tensor, by: Rule) -> tuple[Tensor, Tensor]:
    """All eigenvalues and eigenvector rows of one form, the leading ones first."""
    eigenvalues, columns = torch.linalg.eigh(form)
    pairs = list(zip(eigenvalues.tolist(), columns.T, strict=True))
    first = {"abs": lambda p: -abs(p[0]), "pos": lambda p: -p[0], "neg": lambda p: p[0]}
    pairs.sort(key=first[by])
    return torch.tensor([p[0] for p in pairs], dtype=torch.float64), torch.stack(
        [p[1] for p in pairs]
    )


def fourth_moment(mean: Tensor, cov: Tensor) -> Tensor:
    """E[x_a x_b x_c x_e] for x ~ N(mean, cov): all pairings, the mean in unpaired places."""
    mm, c = torch.outer(mean, mean), cov
    total = torch.einsum("ab,ce->abce", mm, mm)
    for pair, rest in (("ab", "ce"), ("ac", "be"), ("ae", "bc")):
        total = total + torch.einsum(f"{pair},{rest}->abce", c, c)
        total = total + torch.einsum(f"{pair},{rest}->abce", c, mm)
        total = total + torch.einsum(f"{pair},{rest}->abce", mm, c)
    return total


def gaussian_products(a: Tensor, b: Tensor, mean: Tensor, cov: Tensor) -> Tensor:
    """(m,): E[f_k g_k] for the materialised forms a and b."""
    return torch.einsum("kab,kce,abce->k", a, b, fourth_moment(mean, cov))


def gaussian_means(a: Tensor, mean: Tensor, cov: Tensor) -> Tensor:
    """(m,): E[f_k]."""
    return torch.einsum("kab,ab->k", a, cov + torch.outer(mean, mean))


def affine_layer(x: Tensor, w: Tensor, b1: Tensor, v: Tensor, b2: Tensor) -> Tensor:
    """(Wx + b₁) ⊙ (Vx + b₂), the layer that folding must reproduce."""
    return (torch.einsum("ja,...a->...j", w, x) + b1) * (torch.einsum("ja,...a->...j", v, x) + b2)

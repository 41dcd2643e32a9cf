"""What the factors do not determine: every analysis is the same for equal maps.

Permuting the neurons, swapping their two factors and moving scale between them change no form, so
they may change no number that this folder computes.
"""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric import BilinearTensor
from tests.forms.builders import close, noise, random_tensor
from tests.oracles import forms as oracle


def rewritten(tensor: BilinearTensor, seed: int) -> BilinearTensor:
    """The same map in shuffled, partly swapped and rescaled neurons; w→sw, v→v/s with any sign."""
    order = noise(seed, tensor.n).argsort()
    scale = noise(seed + 1, tensor.n, 1) * 3
    swapped = noise(seed + 2, tensor.n, 1) > 0
    left = torch.where(swapped, tensor.right, tensor.left) * scale
    right = torch.where(swapped, tensor.left, tensor.right) / scale
    return BilinearTensor(left[order], right[order], oracle.weights(tensor)[:, order])


@given(st.integers(0, 999), st.sampled_from([(3, 7, 5), (2, 3, 11), (None, 4, 9)]))
def test_every_analysis_depends_on_the_map_alone(seed, shape):
    tensor = random_tensor(*shape, seed=seed)
    same = rewritten(tensor, seed)
    other = random_tensor(tensor.m, 6, tensor.d, seed=seed + 100)
    u, x = noise(seed, tensor.m), noise(seed + 3, 4, tensor.d)
    mean, spread = noise(seed + 4, tensor.d), noise(seed + 5, tensor.d, tensor.d)
    cov = spread @ spread.T

    def analyses(t: BilinearTensor) -> dict[str, torch.Tensor]:
        hosvd, cut = t.hosvd(), t.truncate(2)
        return {
            "values": t(x),
            "interaction": t.interaction(u),
            "eigenvalues": t.eigh(u, 4).values,
            "eigenvectors": t.eigh(u, 1, "pos").vectors,
            "spectra": t.eigh_many(noise(seed + 6, 5, t.m), 2).values,
            "gram": t.gram(),
            "cross gram": t.cross_gram(other),
            "input gram": t.input_gram(),
            "inner": t.inner(other),
            "norm": t.norm(),
            "singular values": hosvd.singular_values,
            "cut": cut.tensor(x),
            "bound": cut.bound,
            "gaussian mean": t.gaussian_mean(mean, cov),
            "gaussian inner": t.gaussian_inner(other, mean, cov),
            "linear": t.parts().linear,
            "constant": t.parts().constant,
        }

    for (name, first), second in zip(
        analyses(tensor).items(), analyses(same).values(), strict=True
    ):
        assert close(first, second, 1e-6), name
    assert abs(tensor.cosine(same) - 1) < 1e-12

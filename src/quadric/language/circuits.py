"""Output features that compute an AND: two outlying eigenvalues of opposite sign.

One neuron c·(n·x)(s·x) that reads orthonormal directions n and s has the eigenvalues ±c/2 with
eigenvectors (n ± s)/√2. Either input alone activates both equally and cancels; only both together
are seen (the negation circuit of arXiv 2410.08417 §5.1). Backwards, any two eigenpairs of opposite
sign are a product of two directions, the circuit's ARMS:

    λ₊(v₊·x)² − |λ₋|(v₋·x)² = (p·x)(q·x),   p, q = √λ₊ v₊ ± √|λ₋| v₋,   ‖p‖² = ‖q‖² = λ₊ + |λ₋|.

``find_circuits`` ranks output features by how far such a pair stands out of the rest of their
spectrum, and ``circuit_geometry`` shows where input features lie on it. Always of the symmetric
form of the quadratic part: biases play no part in the search.

    circuits = find_circuits(layer, OutputDictionary(W_enc.T), count=10)
    shown = circuit_geometry(circuits[0], InputDictionary(W_dec))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError, nearest
from quadric.forms import BilinearTensor
from quadric.forms.interaction import supports
from quadric.forms.spectrum import spectra
from quadric.language.dictionaries import InputDictionary, OutputDictionary, check_width
from quadric.layers import GatedLayer

Score = Literal["gap", "strength"]
"""How circuits are ranked: by how far the pair stands out, or by its size alone."""


@dataclass(frozen=True, eq=False)
class Circuit:
    """An output feature's largest positive and most negative eigenvalue."""

    feature: int
    """Which output feature."""
    positive: float
    """λ₊, 0 or more."""
    negative: float
    """λ₋, 0 or less."""
    rest: float
    """The largest |λ| among the others."""
    vectors: Float[Tensor, "2 d"]
    """v₊ and v₋ as rows; zero where the eigenvalue is."""

    @property
    def gap(self) -> float:
        """min(λ₊, |λ₋|) − rest: how far the weaker stands out; below 0 if it does not."""
        return min(self.positive, -self.negative) - self.rest

    @property
    def strength(self) -> float:
        """λ₊ + |λ₋|: the weight of the product of the unit arms."""
        return self.positive - self.negative

    @property
    def balance(self) -> float:
        """(λ₊ − |λ₋|) / (λ₊ + |λ₋|): the cosine between the arms; 0 is a pure AND, ±1 a square."""
        return (self.positive + self.negative) / self.strength if self.strength else 0.0

    @property
    def arms(self) -> Float[Tensor, "2 d"]:
        """p and q at unit length: the pair computes strength·(p·x)(q·x)."""
        if not self.strength:
            return torch.zeros_like(self.vectors)
        plus, minus = self.vectors
        one, other = self.positive**0.5 * plus, (-self.negative) ** 0.5 * minus
        arms: Tensor = torch.stack([one + other, one - other]) / self.strength**0.5
        return arms


class Geometry(NamedTuple):
    """Where some input features lie on a circuit, those nearest to one of its arms first."""

    features: Int[Tensor, "s"]
    """Which input features."""
    cosines: Float[Tensor, "s 2"]
    """With v₊ and v₋: the inputs of an AND lie on the diagonals."""
    arms: Float[Tensor, "s 2"]
    """Cosines with the two arms."""
    arm: Int[Tensor, "s"]
    """The arm, 0 or 1, that a feature is nearer to."""
    pairs: Float[Tensor, "s s"]
    """λ₊(v₊·d_b)(v₊·d_c) + λ₋(v₋·d_b)(v₋·d_c), the pair's share of b̃_bc. In an AND the diagonal,
    what a feature does alone, is near zero, and only features of different arms meet."""


@torch.no_grad()
def find_circuits(
    layer: GatedLayer | BilinearTensor,
    outputs: OutputDictionary,
    count: int = 10,
    by: Score = "gap",
) -> list[Circuit]:
    """The ``count`` output features whose spectra look most like a circuit's, best first.

    By "gap" both eigenvalues must stand out of the rest; by "strength" the largest sum of the two
    wins, which any feature with large weights has. Both grow with the length of the encoder row.
    Features that read nothing come last. Memory: the forms of some features at a time.

    Raises:
        QuadricError: the layer is not bilinear, the dictionary's width is not that of its outputs,
            ``count`` is not in 1…features, or ``by`` is unknown.
    """
    if by not in get_args(Score):
        hint = nearest(str(by), get_args(Score))
        raise QuadricError(f"by is {by!r}, expected one of {', '.join(get_args(Score))}{hint}")
    readout = outputs.read(layer)
    forms = readout.forms.parts().quadratic if readout.lifted else readout.forms
    if not 1 <= count <= forms.m:
        raise QuadricError(f"count is {count}, expected 1 to {forms.m}, the output features")
    ends = torch.zeros(forms.m, 2, 2, dtype=torch.float64, device=forms.device)
    for rows, values, _ in spectra(forms, supports(forms), 1, "pos"):
        some = torch.nn.functional.pad(values, (0, 2))
        for side, signed in enumerate((some, -some)):
            ends[rows, side] = signed.clamp_min(0).sort(dim=1, descending=True).values[:, :2]
    first, second = ends.unbind(dim=2)
    strength = first.sum(dim=1)
    score = strength if by == "strength" else first.amin(1) - second.amax(1)
    score[strength == 0] = -torch.inf
    chosen = score.argsort(descending=True, stable=True)[:count]
    assert forms.out is not None
    small = BilinearTensor(forms.left, forms.right, forms.out[chosen])
    sides = [small.eigh_many(None, 1, rule).vectors[:, 0] for rule in ("pos", "neg")]
    vectors = torch.stack(sides, dim=1) * (first[chosen, :, None] > 0)
    return [
        Circuit(feature, float(pair[0]), -float(pair[1]), float(rest.max()), found)
        for feature, pair, rest, found in zip(
            chosen.tolist(), first[chosen], second[chosen], vectors, strict=True
        )
    ]


@torch.no_grad()
def circuit_geometry(circuit: Circuit, inputs: InputDictionary, count: int = 15) -> Geometry:
    """The ``count`` input features nearest to the circuit's arms, and how they meet on it.

    Raises:
        QuadricError: the dictionary's width is not that of the circuit, or ``count`` is not in
            1…features.
    """
    check_width("decoder", inputs.decoder, circuit.vectors.shape[1], "inputs")
    rows = inputs.decoder.detach().to(circuit.vectors)
    if not 1 <= count <= len(rows):
        raise QuadricError(f"count is {count}, expected 1 to {len(rows)}, the input features")
    unit = torch.nn.functional.normalize(rows, dim=1)
    arms = unit @ circuit.arms.mT
    nearest_first = arms.abs().amax(1).argsort(descending=True, stable=True)[:count]
    read = rows[nearest_first] @ circuit.vectors.mT
    weights = read.new_tensor([circuit.positive, circuit.negative])
    return Geometry(
        nearest_first,
        unit[nearest_first] @ circuit.vectors.mT,
        arms[nearest_first],
        arms[nearest_first].abs().argmax(dim=1),
        (read * weights) @ read.mT,
    )

"""The toy task of learning one boolean gate for every pair of inputs.

Of n sparse inputs, all n(n−1)/2 values gate(x_i, x_j) are asked for (arXiv 2410.08417, toy tasks).
There are few inputs, so nothing is sampled: the loss is the expected squared error over all 2ⁿ of
them, each weighted by its probability. Layers of other seeds and other gates do not touch each
other and are trained side by side in one batch, which changes no digit of any of them.

What is learnt can be compared with :func:`exact`. On {0, 1} the polynomial of a gate is unique but
its place in a layer is not: x² = x, so a linear term may sit in the bias or in the form's diagonal;
on {−1, 1} x² = 1, so a constant may. Without biases on {0, 1} nothing is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.layers.boolean import boolean_layer, multilinear
from quadric.layers.layer import GatedLayer

MOST_INPUTS = 10
"""2ⁿ inputs are held at once."""


@dataclass(frozen=True)
class PairTask:
    """Inputs, layer and training of the toy task.

    Raises:
        QuadricError: a value is out of range.
    """

    inputs: int = 5
    """Number n of inputs, 2 to 10."""
    hidden: int = 15
    """Products of the layer; n(n−1)/2, one per pair, are enough, and a few more train better."""
    bias: bool = False
    """Whether the two factors have biases."""
    low: float = 0.0
    """The number that stands for false, 0 or −1; true is 1."""
    active: float = 0.3
    """Probability of an input to be true, each by itself."""
    steps: int = 1000
    """Steps of Adam."""
    lr: float = 0.01
    """Its learning rate."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 2 <= self.inputs <= MOST_INPUTS:
            raise QuadricError(f"inputs is {self.inputs}, expected 2 to {MOST_INPUTS}")
        for name in ("hidden", "steps"):
            if getattr(self, name) < 1:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if self.low not in (0.0, -1.0):
            raise QuadricError(f"low is {self.low:g}, expected 0 or -1")
        if not 0 < self.active < 1:
            raise QuadricError(f"active is {self.active:g}, expected between 0 and 1")
        if not self.lr > 0:
            raise QuadricError(f"lr is {self.lr:g}, expected a positive number")

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs i < j in the order of the outputs."""
        return list(combinations(range(self.inputs), 2))

    def examples(self) -> tuple[Float[Tensor, "2**n n"], Float[Tensor, "2**n"]]:
        """All inputs as 0 and 1, and how probable each is."""
        bits = torch.tensor(list(product((0.0, 1.0), repeat=self.inputs)))
        chances = torch.where(bits == 1, self.active, 1 - self.active)
        return bits, chances.prod(dim=1)

    def encode(self, bits: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """0 and 1 as the numbers that the layer reads."""
        return bits if self.low == 0 else 2 * bits - 1

    def targets(self, gate: str) -> Float[Tensor, "2**n pairs"]:
        """What the layer should answer for ``examples()``.

        Raises:
            QuadricError: the gate is unknown.
        """
        bits, _ = self.examples()
        constant, linear, pairs = (part.to(bits) for part in multilinear(gate))
        if len(linear) != 2:
            raise QuadricError(f"{gate!r} is no gate of two inputs")
        first, second = (bits[:, list(places)] for places in zip(*self.pairs, strict=True))
        return constant + linear[0] * first + linear[1] * second + 2 * pairs[0, 1] * first * second


class Learnt(NamedTuple):
    """What a layer computes on the numbers that it reads: xᵀA_kx + ℓ_k·x + c_k for every pair k."""

    forms: Float[Tensor, "pairs n n"]
    """A_k, symmetric."""
    linear: Float[Tensor, "pairs n"]
    """ℓ_k, all of it from biases."""
    constant: Float[Tensor, "pairs"]
    """c_k, all of it from biases."""


def read(layer: GatedLayer) -> Learnt:
    """The layer's forms, linear rows and constants, in float64.

    Raises:
        QuadricError: its gate is not linear.
    """
    tensor = layer.tensor().to(dtype=torch.float64)
    eye = torch.eye(tensor.m, dtype=torch.float64)
    if layer.lifted:
        quadratic, linear, constant = tensor.parts()
    else:
        quadratic, linear = tensor, eye.new_zeros(tensor.m, tensor.d)
        constant = eye.new_zeros(tensor.m)
    return Learnt(torch.stack([quadratic.interaction(u) for u in eye]), linear, constant)


def forms(gate: str, inputs: int) -> Float[Tensor, "pairs n n"]:
    """The forms of a layer without biases that computes the gate of all pairs on {0, 1}ⁿ.

    They are unique: ½b off the diagonal and a on it, for the pair's two inputs; zero elsewhere.

    Raises:
        QuadricError: the gate is unknown, or is not 0 where both inputs are.
    """
    boolean_layer(gate, bias=False)
    task, function = PairTask(inputs), multilinear(gate)
    block = function.pairs + torch.diag(function.linear)
    found = block.new_zeros(len(task.pairs), inputs, inputs)
    for place, (i, j) in enumerate(task.pairs):
        found[place, [[i], [j]], [i, j]] = block
    return found


def exact(gate: str, inputs: int) -> GatedLayer:
    """The layer with one product per pair that computes the gate of all pairs, on {0, 1}ⁿ.

    Raises:
        QuadricError: the gate is unknown, or ``inputs`` is not in 2…10.
    """
    task, one = PairTask(inputs), boolean_layer(gate)
    count = len(task.pairs)
    with torch.random.fork_rng(devices=[]):
        layer = GatedLayer(inputs, count, count, bias=True, out_bias=True)
    assert layer.out is not None
    assert one.out is not None
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        for made, given in ((layer.left, one.left), (layer.right, one.right)):
            for row, pair in enumerate(task.pairs):
                made.weight[row, list(pair)] = given.weight[0]
            made.bias.copy_(given.bias.expand(count))
        layer.out.weight.copy_(torch.eye(count))
        layer.out.bias.copy_(one.out.bias.expand(count))
    return layer


def learn(gates: Sequence[str], task: PairTask, seeds: Sequence[int]) -> list[list[GatedLayer]]:
    """Layers trained on the task: for every gate one of each seed.

    A seed decides the weights at the start and nothing else is random.

    Raises:
        QuadricError: a gate is unknown.
    """
    bits, chances = task.examples()
    x = task.encode(bits)
    targets = torch.stack([task.targets(gate) for gate in gates for _ in seeds])
    layers = [_start(task, seed) for _ in gates for seed in seeds]
    weights = {
        name: torch.stack([layer.state_dict()[name] for layer in layers]).requires_grad_()
        for name in layers[0].state_dict()
    }
    optimiser = torch.optim.Adam(weights.values(), lr=task.lr, fused=True)
    for _ in range(task.steps):
        error = _answers(weights, x) - targets
        loss = (error.square().mean(dim=2) * chances).sum()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    for place, layer in enumerate(layers):
        layer.load_state_dict({name: weight[place] for name, weight in weights.items()})
    return [layers[i : i + len(seeds)] for i in range(0, len(layers), len(seeds))]


def _start(task: PairTask, seed: int) -> GatedLayer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GatedLayer(task.inputs, task.hidden, len(task.pairs), bias=task.bias)


def _answers(
    weights: dict[str, Tensor], x: Float[Tensor, "2**n n"]
) -> Float[Tensor, "layers 2**n pairs"]:
    """What many layers without a gate answer, from their stacked weights."""
    left, right = (x @ weights[f"{side}.weight"].mT for side in ("left", "right"))
    if "left.bias" in weights:
        left, right = left + weights["left.bias"][:, None], right + weights["right.bias"][:, None]
    return (left * right) @ weights["out.weight"].mT

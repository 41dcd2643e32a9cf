"""The image classifier: embed → gated blocks → head.

With one bilinear block every logit is a quadratic form of the pixels,

    logit_c(x) = Σ_j H_cj (w_j·Ex)(v_j·Ex) = Ex·Q_c·Ex,

and ``tensor`` gives all of them; biases and a residual path become forms of [Ex; 1], exactly.

    model = ImageClassifier.build(images, ClassifierConfig(d_hidden=64))
    history = fit(model, images, FitConfig())
    tensor = model.tensor("input")            # tensor(x) == model(x)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quadric.errors import QuadricError
from quadric.forms import BilinearTensor
from quadric.layers.layer import GatedLayer, Space, lift_basis
from quadric.vision.config import ClassifierConfig

if TYPE_CHECKING:
    from quadric.vision.data.images import Images


class ImageClassifier(nn.Module):
    """Logits of images, as one or more gated layers between an embedding and a head.

    Attributes:
        config: the choice of parts.
        shape: height, width and channels of the images.
        classes: names of the outputs.
        embed: E as ``nn.Linear`` without bias; None where blocks read pixels.
        blocks: the gated layers.
        head: H, from the last block's outputs to the logits, without bias.
    """

    def __init__(
        self, config: ClassifierConfig, shape: tuple[int, int, int], classes: tuple[str, ...]
    ) -> None:
        """Weights as torch draws them from its global generator.

        Raises:
            QuadricError: there are no pixels or fewer than two classes.
        """
        super().__init__()
        height, width, channels = shape
        if min(shape) < 1:
            raise QuadricError(f"images of {height}×{width}×{channels} have no pixels")
        if len(classes) < 2:
            raise QuadricError(f"{len(classes)} classes, expected two or more")
        self.config, self.shape, self.classes = config, shape, classes
        pixels = height * width * channels
        d = config.d_embed or pixels
        self.embed = None if config.d_embed is None else nn.Linear(pixels, d, bias=False)
        n = config.d_hidden
        # The head reads the last products themselves; a block needs an output matrix of its own
        # only where another width must come out of it.
        self.blocks = nn.ModuleList(
            GatedLayer(
                d,
                n,
                d if n != d and (config.residual or block < config.blocks - 1) else None,
                bias=config.bias,
                gate=config.gate,
                beta=config.beta,
                gate_side=config.gate_side,
            )
            for block in range(config.blocks)
        )
        self.head = nn.Linear(d if config.residual else n, len(classes), bias=False)

    @classmethod
    def build(cls, images: Images, config: ClassifierConfig, seed: int = 0) -> ImageClassifier:
        """A classifier for images of this shape and these classes, its weights from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(config, images.shape, images.classes)

    @property
    def d_in(self) -> int:
        """Number of pixels, channels included."""
        height, width, channels = self.shape
        return height * width * channels

    @property
    def lifted(self) -> bool:
        """Whether the logits' forms read [x; 1]: the model has biases or a residual path."""
        return self.config.bias or self.config.residual

    def forward(self, x: Float[Tensor, "*batch p"]) -> Float[Tensor, "*batch m"]:
        """Logits of images given as rows of pixels.

        Raises:
            QuadricError: the images have another size.
        """
        logits: Tensor = self.head(self.hidden(x))
        return logits

    def hidden(self, x: Float[Tensor, "*batch p"]) -> Float[Tensor, "*batch n"]:
        """What the head reads.

        Raises:
            QuadricError: the images have another size.
        """
        if x.shape[-1:] != (self.d_in,):
            height, width, channels = self.shape
            raise QuadricError(
                f"images have shape {tuple(x.shape)}, expected rows of {self.d_in} pixels "
                f"({height}×{width}×{channels})"
            )
        stream = x if self.embed is None else self.embed(x)
        if self.training and self.config.model_noise:
            stream = stream + self.config.model_noise * torch.randn_like(stream)
        for block in self.blocks:
            made = nn.functional.dropout(block(stream), self.config.dropout, self.training)
            stream = stream + made if self.config.residual else made
        return stream

    def tensor(self, space: Space = "hidden") -> BilinearTensor:
        """All logits as quadratic forms, in the dtype of the weights, without gradients.

        "hidden" forms read the embedding Ex, "input" forms the pixels x; where ``lifted``, a
        constant 1 is their last input. Without an embedding the two are the same.

        Raises:
            QuadricError: the model has several blocks, or its gate is not linear.
        """
        if len(self.blocks) > 1:
            raise QuadricError(
                f"the model has {len(self.blocks)} blocks, so its logits are polynomials of degree "
                f"{2 ** len(self.blocks)} and not quadratic forms: read model.blocks[i].tensor()"
            )
        block = self.blocks[0]
        assert isinstance(block, GatedLayer)
        tensor = block.tensor()
        if self.config.residual:
            tensor = _add_identity(tensor, lifted=block.lifted)
        tensor = tensor.with_output_basis(self.head.weight.detach())
        if space == "hidden" or self.embed is None:
            return tensor
        return tensor.with_input_basis(self.input_basis())

    def input_basis(self) -> Float[Tensor, "d p"]:
        """E, with the constant's row and column where the model is ``lifted``.

        Raises:
            QuadricError: the model has no embedding.
        """
        if self.embed is None:
            raise QuadricError("the model has no embedding: its blocks read pixels")
        weight = self.embed.weight.detach()
        return lift_basis(weight) if self.lifted else weight


def _add_identity(tensor: BilinearTensor, *, lifted: bool) -> BilinearTensor:
    """The tensor on [x; 1] of x + T(x): d more products x_i · 1, each read by output i."""
    if not lifted:
        zeros = tensor.left.new_zeros(tensor.n)
        tensor = tensor.fold_bias(zeros, zeros)
    d = tensor.d - 1
    eye = torch.eye(d, dtype=tensor.dtype, device=tensor.device)
    constant = eye.new_zeros(d, d + 1)
    constant[:, -1] = 1
    out = tensor.out
    if out is None:
        out = torch.eye(tensor.n, dtype=tensor.dtype, device=tensor.device)
    return BilinearTensor(
        torch.cat([tensor.left, torch.nn.functional.pad(eye, (0, 1))]),
        torch.cat([tensor.right, constant]),
        torch.cat([out, eye], dim=1),
    )

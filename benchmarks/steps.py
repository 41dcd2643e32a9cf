"""quadric's training steps, dense and sparse, and the published ones; a worker of train_step.py.

A step is what the training loop does with a batch: loss, backward pass, the gradient's norm, and
the optimiser. The published tiling and plain autograd compute the same loss of a vanilla
autoencoder with unsymmetrised atoms, their energy being that of kernel.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernel import AUTOGRAD, CASES, TILING
from processes import Step, serve
from quadric import __version__
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.autoencoders.density import hoyer_density
from quadric.training.config import TrainingConfig
from quadric.training.optimizer import build as build_optimizer
from quadric.training.optimizer import updates

PEERS = {"tiling": TILING, "autograd": AUTOGRAD}


def build(
    *,
    method: str,
    d_in: int,
    d_sae: int,
    rows: int,
    k: int,
    optimizer: str = "muon",
    bf16: bool = False,
) -> Step:
    """One training step on a fixed batch.

    Args:
        method: dense or topk, quadric's own; tiling or autograd, their peers.
        d_in: width of the activations.
        d_sae: number of latents.
        rows: activations in the batch.
        k: latents that topk keeps.
        optimizer: muon or adamw.
        bf16: whether matrices are multiplied in bfloat16; the peers have float32 alone.
    """
    torch.manual_seed(0)
    batch = torch.randn(rows, d_in)
    sparse = {"variant": "topk", "k": k} if method == "topk" else {"variant": "vanilla"}
    config = AutoencoderConfig(d_in=d_in, d_sae=d_sae, **sparse)
    model = BilinearAutoencoder(config)
    # The rate decides what a step does to the weights, not how long it takes.
    training = TrainingConfig(optimizer=optimizer, lr=1e-4)
    update = build_optimizer(model.parameters(), updates(training, config.variant))
    dtype = torch.bfloat16 if bf16 else None

    def step() -> None:
        update.zero_grad(set_to_none=True)
        if method in PEERS:
            loss = published_loss(model, batch, PEERS[method])
        else:
            loss = model.loss(batch, 0, product_dtype=dtype).total
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), float("inf"))
        update.step()

    return step


def published_loss(model: BilinearAutoencoder, batch: Tensor, name: str) -> Tensor:
    """Error and density of a vanilla autoencoder, by one of the peers of kernel.py."""
    x = model.transform.apply_to(batch).y
    z = (x @ model.left.T) * (x @ model.right.T)
    energy = CASES[name].energy(z, model.left, model.right)
    error = 1 + (energy - 2 * z.square().sum()) / len(x)
    return error + model.config.penalty * hoyer_density(z).mean()


if __name__ == "__main__":
    serve(
        build,
        {"d_sae": 64, "rows": 16, "k": 4},
        {"quadric": __version__, "torch": torch.__version__},
    )

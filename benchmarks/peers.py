"""Training steps of other packages' TopK sparse autoencoders; a worker of train_step.py.

Runs on the Python that scripts/get_peers.sh makes. Each peer is built with the defaults of its own
training configuration (optimiser, learning rate, auxiliary loss) and nothing is logged.

- **saelens**: ``SAETrainer.step`` of sae-lens on a ``TopKTrainingSAE``: Adam, gradient clipping.
  ``bf16`` is its ``autocast``. Its ``use_sparse_activations`` has no backward pass on a CPU in the
  versions here.
- **sparsify**: the step of the loop in eai-sparsify's ``Trainer.fit``, which needs a language model
  and cannot be called alone: signum, schedule-free, decoder rows of length 1. Its Triton decoder
  needs CUDA; on a CPU its own eager one runs, and autocast, which it has for CUDA, is ours to add.
"""

from __future__ import annotations

import contextlib
import os
from importlib.metadata import version

import torch

from processes import Step, serve

os.environ.setdefault("SPARSIFY_DISABLE_TRITON", "1")
PACKAGES = {"saelens": "sae-lens", "sparsify": "eai-sparsify"}


def build(*, peer: str, d_in: int, d_sae: int, rows: int, k: int, bf16: bool = False) -> Step:
    """One training step of a peer on a fixed batch."""
    torch.manual_seed(0)
    batch = torch.randn(rows, d_in)
    return {"saelens": saelens, "sparsify": sparsify}[peer](batch, d_sae, k, bf16)


def saelens(batch: torch.Tensor, d_sae: int, k: int, bf16: bool) -> Step:
    """sae-lens' own trainer."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    rows, d_in = batch.shape
    config = TopKTrainingSAEConfig(d_in=d_in, d_sae=d_sae, k=k)
    training = SAETrainerConfig(
        total_training_samples=rows * 1000,
        train_batch_size_samples=rows,
        lr_end=3e-5,  # a tenth of lr, as its runner sets it
        autocast=bf16,
    )
    trainer = SAETrainer(training, TopKTrainingSAE(config), iter([batch]))

    def step() -> None:
        trainer.step(batch)
        trainer.n_training_steps += 1

    return step


def sparsify(batch: torch.Tensor, d_sae: int, k: int, bf16: bool) -> Step:
    """The step of eai-sparsify's training loop."""
    from schedulefree import ScheduleFreeWrapper
    from sparsify import SparseCoder, SparseCoderConfig, TrainConfig
    from sparsify.sign_sgd import SignSGD

    config = TrainConfig(SparseCoderConfig(num_latents=d_sae, k=k))
    coder = SparseCoder(batch.shape[1], config.sae, dtype=torch.float32)
    coder.b_dec.data = batch.mean(0)
    rate = 5e-3 / (d_sae / 2**14) ** 0.5
    optimizer = ScheduleFreeWrapper(SignSGD(coder.parameters(), lr=rate), momentum=0.95)
    optimizer.train()
    since_fired = torch.zeros(d_sae, dtype=torch.long)

    def step() -> None:
        coder.set_decoder_norm_to_unit_norm()
        dead = since_fired > config.dead_feature_threshold if config.auxk_alpha > 0 else None
        total_variance = (batch - batch.mean(0)).pow(2).sum()
        cast = torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()
        with cast:
            out = coder(batch, dead_mask=dead, total_variance=total_variance)
        loss = out.fvu + config.auxk_alpha * out.auxk_loss + out.multi_topk_fvu / 8
        loss.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        fired = torch.zeros(d_sae, dtype=torch.bool)
        fired[out.latent_indices.flatten()] = True
        since_fired.add_(len(batch))
        since_fired[fired] = 0

    return step


if __name__ == "__main__":
    found = {name: version(name) for name in (*PACKAGES.values(), "transformers", "torch")}
    serve(build, {"d_sae": 64, "rows": 16, "k": 4}, found)

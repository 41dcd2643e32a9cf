"""Models whose weights are spread over the ranks of a run, by PyTorch's own engine (FSDP2).

A spread model is trained like any other: its weights are gathered when one of :data:`METHODS` is
called, its gradients are averaged over all ranks, and weights, gradients and the optimiser's state
are kept by parts. Muon works on the parts too: of its products only d×d matrices cross ranks.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from quadric.ranks import Ranks

METHODS = ("loss", "product_error", "density")
"""What training calls of an autoencoder; elsewhere a spread model has only its own parts."""


def spread(model: nn.Module, ranks: Ranks) -> None:
    """Divide a model's weights over the ranks that share a dictionary; a single rank keeps all."""
    if ranks.mesh is None:
        return
    fully_shard(model, mesh=ranks.mesh)
    for method in METHODS:
        register_fsdp_forward_method(model, method)


def whole(tensors: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Tensors put together from their parts, on rank 0's processor; every rank must ask for them.

    The other ranks get nothing. One tensor at a time is whole on a device.
    """
    found = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if ranks.leads:
            found[name] = full.detach().cpu()
    return found


def like(value: Tensor, own: Tensor) -> Tensor:
    """``value``, which every rank has, divided as ``own`` is."""
    if not isinstance(own, DTensor):
        return value
    # Every rank cuts its part out of its own copy: nothing is sent.
    value = value.to(own.device, own.dtype)
    return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None)

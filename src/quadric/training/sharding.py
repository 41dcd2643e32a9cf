"""Models whose weights are spread over the ranks of a run, by PyTorch's own engine (FSDP2).

A spread model is trained like any other: its weights are gathered when one of :data:`METHODS` is
called, its gradients are averaged over all ranks, and weights, gradients and the optimiser's state
are kept by parts. Muon works on the parts too: of its products only d×d matrices cross ranks.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from quadric.ranks import Ranks

METHODS = ("loss", "product_error", "density")
"""What training calls of an autoencoder; elsewhere a spread model has only its own parts."""


def spread(model: nn.Module, ranks: Ranks) -> None:
    """Divide a model's weights over the ranks that share a dictionary; a single rank keeps all."""
    if ranks.mesh is None:
        return
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    fully_shard(model, mesh=ranks.mesh)
    for method in METHODS:
        register_fsdp_forward_method(model, method)


def is_spread(tensor: Tensor) -> bool:
    """Whether this is a part of a tensor: told by what only those have, being slow to import."""
    return hasattr(tensor, "device_mesh")


def full(tensor: Tensor) -> Tensor:
    """A tensor put together from its parts, on every rank; each must ask for it."""
    if not is_spread(tensor):
        return tensor
    found: Tensor = tensor.full_tensor()  # type: ignore[attr-defined]
    return found


def whole(tensors: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Tensors put together from their parts, on rank 0's processor; every rank must ask for them.

    The other ranks get nothing. One tensor at a time is whole on a device.
    """
    found = {}
    for name, tensor in tensors.items():
        there = full(tensor)
        if ranks.leads:
            found[name] = there.detach().cpu()
    return found


def like(value: Tensor, own: Tensor) -> Tensor:
    """``value``, which every rank has, divided as ``own`` is."""
    if not is_spread(own):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(own, DTensor)
    # Every rank cuts its part out of its own copy: nothing is sent.
    value = value.to(own.device, own.dtype)
    return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None)

"""Processes that share the pairs of row blocks: their parts add up to the whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from quadric.kernels import reconstruction_energy
from quadric.kernels.sharing import share_of_blocks
from quadric.kernels.tiles import block_size
from tests.kernels.problems import problem, relative_error, value_and_gradients

RANKS = 3
SAMPLES = 5
"""Of each rank."""


@pytest.mark.parametrize(("blocks", "ranks"), [(12, 3), (4, 2), (6, 1), (16, 8)])
def test_every_block_has_one_owner_and_every_owner_as_many_pairs(blocks: int, ranks: int) -> None:
    shares = [share_of_blocks(blocks, rank, ranks) for rank in range(ranks)]
    assert sorted(i for share in shares for i in share) == list(range(blocks))
    assert {sum(i + 1 for i in share) for share in shares} == {blocks * (blocks + 1) // 2 // ranks}
    assert all(share == sorted(share) for share in shares)


@pytest.mark.parametrize(("blocks", "ranks"), [(1, 2), (5, 2), (7, 4)])
def test_odd_numbers_of_blocks_are_shared_too(blocks: int, ranks: int) -> None:
    shares = [share_of_blocks(blocks, rank, ranks) for rank in range(ranks)]
    assert sorted(i for share in shares for i in share) == list(range(blocks))


@pytest.mark.parametrize(("n", "block", "multiple"), [(100, 7, 6), (23, 768, 6), (4096, 768, 4)])
def test_there_are_as_many_blocks_as_balance_needs(n: int, block: int, multiple: int) -> None:
    size = block_size(n, block, multiple=multiple)
    assert size <= block
    assert -(-n // size) <= -(-n // (block * multiple)) * multiple
    if n % multiple == 0:
        assert -(-n // size) % multiple == 0


def _rank(rank: int, folder: str) -> None:
    """One process: its rows of the problem, its parts of value and gradients."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS
    )
    found = {}
    for symmetric in (True, False):
        for weighted in (True, False):
            p = problem(samples=RANKS * SAMPLES, n=29, d=4)
            g = p.g.detach()[rank * SAMPLES : (rank + 1) * SAMPLES].requires_grad_()
            energy = reconstruction_energy(
                g,
                p.left,
                p.right,
                symmetric=symmetric,
                weights=p.weights if weighted else None,
                block=3,
                group=dist.group.WORLD,
            )
            gradients = torch.autograd.grad(energy, (g, p.left, p.right))
            found[symmetric, weighted] = [energy.detach(), *gradients]
            with torch.no_grad():
                alone = reconstruction_energy(
                    g, p.left, p.right, symmetric=symmetric, block=3, group=dist.group.WORLD
                )
            found[symmetric, weighted].append(alone)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(sys.platform == "win32", reason="gloo meets through a file")
def test_parts_of_three_processes_add_up(tmp_path: Path) -> None:
    multiprocessing.spawn(_rank, (str(tmp_path),), nprocs=RANKS)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS)]
    for (symmetric, weighted), _ in parts[0].items():
        p = problem(samples=RANKS * SAMPLES, n=29, d=4)
        weights = p.weights if weighted else None

        def energy(
            *arguments: torch.Tensor,
            symmetric: bool = symmetric,
            weights: torch.Tensor | None = weights,
        ) -> torch.Tensor:
            return reconstruction_energy(*arguments, symmetric=symmetric, weights=weights)

        value, to_g, to_left, to_right = value_and_gradients(energy, p.arguments)
        found = [part[symmetric, weighted] for part in parts]
        assert relative_error(sum(each[0] for each in found), value) < 1e-12
        assert relative_error(torch.cat([each[1] for each in found]), to_g) < 1e-12
        assert relative_error(sum(each[2] for each in found), to_left) < 1e-12
        assert relative_error(sum(each[3] for each in found), to_right) < 1e-12
        # Each has a part of the work, and none has it all.
        assert all(0.05 < float(each[0] / value) < 0.8 for each in found)
        unweighted = energy(*p.arguments, weights=None).detach()
        assert relative_error(sum(each[4] for each in found), unweighted) < 1e-12

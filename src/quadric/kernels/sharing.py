"""How the processes of a group divide the pairs of row blocks among them.

Row block I stands for its pairs with all J ≤ I, I + 1 of them, so the first rows are short and the
last are long. Dealing them forth and back, 0 1 2 2 1 0 0 1 2 …, gives every process as many pairs
when the number of blocks is a multiple of twice that of processes.
"""

from __future__ import annotations

import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


def share_of_blocks(blocks: int, rank: int, ranks: int) -> list[int]:
    """The row blocks of one process, in ascending order."""
    there_and_back = [*range(ranks), *reversed(range(ranks))]
    return [i for i in range(blocks) if there_and_back[i % (2 * ranks)] == rank]


def all_rows(
    rows: Float[Tensor, "samples n"], group: dist.ProcessGroup
) -> Float[Tensor, "all_samples n"]:
    """The rows of every process in the group, in the order of their numbers."""
    found = rows.new_empty(group.size() * len(rows), rows.shape[1])
    dist.all_gather([*found.chunk(group.size())], rows.detach().contiguous(), group)
    return found


def own_rows(
    rows: Float[Tensor, "all_samples n"], group: dist.ProcessGroup
) -> Float[Tensor, "samples n"]:
    """This process's rows of the sum over the group."""
    found = rows.new_empty(len(rows) // group.size(), rows.shape[1])
    dist.reduce_scatter(found, [*rows.chunk(group.size())], group=group)
    return found

"""The best one-to-one matching of rows with columns, from scores that arrive in tiles."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

DENSE_ENTRIES = 1 << 24
"""Up to so many scores are matched exactly (128 MiB); of more, only the best candidates are."""
CANDIDATES = 32
"""Best entries kept of every row and of every column of a tile, where not all are."""

_NOTHING = 1e-12
"""The score of staying unmatched: the sparse solver reads a zero as a missing edge."""


def best_assignment(
    tiles: Iterable[tuple[slice, slice, Float[Tensor, "rows columns"]]], rows: int, columns: int
) -> float:
    """The largest sum of scores over one-to-one matchings (the assignment problem).

    Args:
        tiles: (row slice, column slice, scores ≥ 0), together covering all pairs once.
        rows: how many rows there are.
        columns: how many columns; what exceeds the smaller of the two stays unmatched.
    """
    if rows * columns <= DENSE_ENTRIES:
        return _dense(tiles, rows, columns)
    return _sparse(tiles, rows, columns)


def _dense(
    tiles: Iterable[tuple[slice, slice, Float[Tensor, "rows columns"]]], rows: int, columns: int
) -> float:
    from scipy.optimize import linear_sum_assignment

    scores = torch.zeros(rows, columns, dtype=torch.float64)
    for some, others, tile in tiles:
        scores[some, others] = tile.double().cpu()
    first, second = linear_sum_assignment(scores.numpy(), maximize=True)
    return float(scores[torch.from_numpy(first), torch.from_numpy(second)].sum())


def _sparse(
    tiles: Iterable[tuple[slice, slice, Float[Tensor, "rows columns"]]], rows: int, columns: int
) -> float:
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    # Every row may also take a column of its own that scores nothing, so a full matching exists.
    places = [(torch.arange(rows), columns + torch.arange(rows))]
    values = [torch.full((rows,), _NOTHING, dtype=torch.float64)]
    for some, others, tile in tiles:
        scores = tile.double().cpu()
        in_row = scores.topk(min(CANDIDATES, scores.shape[1]), dim=1).values[:, -1:]
        in_column = scores.topk(min(CANDIDATES, scores.shape[0]), dim=0).values[-1:]
        kept = ((scores >= in_row) | (scores >= in_column)) & (scores > _NOTHING)
        first, second = kept.nonzero(as_tuple=True)
        places.append((first + some.start, second + others.start))
        values.append(scores[first, second])
    row, column = (torch.cat(part).numpy() for part in zip(*places, strict=True))
    graph = coo_array((torch.cat(values).numpy(), (row, column)), shape=(rows, columns + rows))
    graph = graph.tocsr()
    first, second = min_weight_full_bipartite_matching(graph, maximize=True)
    matched = second < columns
    return float(np.sum(graph[first[matched], second[matched]]))

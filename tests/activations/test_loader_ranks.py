"""Ranks share the batches of one process, and read only their own rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from jaxtyping import Int64
from torch import Tensor

from quadric import QuadricError
from quadric.activations import loader
from quadric.activations.loader import ShuffledRows
from quadric.activations.rows import MemoryRows, Rows
from quadric.ranks import Ranks
from tests.activations.numbered import names, numbered


class Counting:
    """Rows that remember which of them were read."""

    def __init__(self, rows: Rows) -> None:
        self.inner, self.d_in, self.read = rows, rows.d_in, list[int]()

    def __len__(self) -> int:
        return len(self.inner)

    def gather(self, indices: Int64[Tensor, " k"]) -> Tensor:
        self.read += indices.tolist()
        return self.inner.gather(indices)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_batches_of_one_process(
    monkeypatch: pytest.MonkeyPatch, world: int, exact: bool
) -> None:
    """Across epochs (a batch may span two) and rows dropped by position and by norm."""
    if not exact:
        monkeypatch.setattr(loader, "EXACT_ROWS", 20)
    x = numbered(12, 7, outliers=(1, 3, 17, 40, 41))
    options: dict[str, Any] = {"batch_size": 18, "seed": 3, "max_norm_multiple": 5.0}
    alone = ShuffledRows(MemoryRows(x), **options)
    sources = [
        ShuffledRows(MemoryRows(x), **options, ranks=Ranks(rank, world)) for rank in range(world)
    ]
    for _ in range(15):
        shares = [source.next_batch() for source in sources]
        assert {len(share) for share in shares} == {18 // world}
        assert torch.cat(shares).equal(alone.next_batch())
        assert [source.state_dict() for source in sources] == [alone.state_dict()] * world
    for source in sources:
        assert source.held_out(5).equal(alone.held_out(5))
        assert source.sample(30).equal(alone.sample(30))
        assert source.summary() == alone.summary()
    # Another number of ranks goes on with the same batches.
    more = [ShuffledRows(MemoryRows(x), **options, ranks=Ranks(rank, 6)) for rank in range(6)]
    for source in more:
        source.load_state_dict(sources[-1].state_dict())
    for _ in range(3):
        assert torch.cat([source.next_batch() for source in more]).equal(alone.next_batch())


def test_a_rank_reads_its_own_rows_only() -> None:
    x = numbered(12, 7, outliers=(1, 3, 17, 40, 41))
    read = []
    for rank in range(3):
        rows = Counting(MemoryRows(x))
        source = ShuffledRows(rows, batch_size=18, seed=3, ranks=Ranks(rank, 3))
        rows.read.clear()
        assert names(source.next_batch()) == rows.read
        read += rows.read
    assert len(set(read)) == len(read) == 18


def test_a_batch_that_the_ranks_cannot_share() -> None:
    rows = MemoryRows(numbered(50))
    message = (
        "batch_size is {}, expected a multiple of the 4 ranks that share each batch, such as {}"
    )
    for rows_asked, fitting in [(18, 16), (3, 4)]:
        with pytest.raises(QuadricError, match=message.format(rows_asked, fitting)):
            ShuffledRows(rows, batch_size=rows_asked, seed=0, ranks=Ranks(1, 4))
    source = ShuffledRows(rows, batch_size=16, seed=0, ranks=Ranks(1, 4))
    for bad, words in [(10, message.format(10, 8)), (0, "batch_size is 0, expected at least 1")]:
        with pytest.raises(QuadricError, match=words):
            source.batch_size = bad
    assert source.batch_size == 16 and len(source.next_batch()) == 4

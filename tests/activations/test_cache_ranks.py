"""The cache's writer: whole shards may be left out, parts of them never."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quadric import QuadricError
from quadric.activations.cache import ActivationCache
from tests.activations.test_cache import CONTEXTS, PER_SHARD, contents, data, fill, make, writer
from tests.activations.threads import on_threads


def test_only_whole_shards_can_be_left_out(tmp_path: Path) -> None:
    x, tokens = data()

    def append(start: int, stop: int) -> None:
        piece = {hook: tensor[start:stop] for hook, tensor in x.items()}
        out.append(piece, tokens[start:stop], start)

    out = writer(tmp_path / "c")
    with pytest.raises(QuadricError, match="context 3 cannot follow context -1 in a cache with 4"):
        append(3, 4)
    append(4, 6)
    for start in (4, 5, 7, 8):
        with pytest.raises(QuadricError, match=f"context {start} cannot follow context 5"):
            append(start, 9)
    append(6, 8)
    append(8, CONTEXTS)
    assert out.contexts_written == 0 and out.contexts_kept == PER_SHARD
    with pytest.raises(QuadricError, match="context 0 cannot follow context 10"):
        append(0, 4)  # what has gathered for shard 2 is not forgotten
    out.flush()
    append(0, 4)
    out.finish()
    assert contents(tmp_path / "c") == contents(make(tmp_path / "whole"))


def test_what_a_rank_wants(tmp_path: Path) -> None:
    path = tmp_path / "c"
    found = on_threads(3, lambda ranks: [writer(path, ranks=ranks).wants(n) for n in range(17)])
    by_shard = [[number // PER_SHARD % 3 == rank for number in range(17)] for rank in range(3)]
    assert found == by_shard
    fill(writer(path), contexts=9)
    found = on_threads(3, lambda ranks: [writer(path, ranks=ranks).wants(n) for n in range(17)])
    assert found == [[n > 7 and wants for n, wants in enumerate(row)] for row in by_shard]


def test_a_short_shard_of_an_unfinished_harvest_is_no_whole_one(tmp_path: Path) -> None:
    """It was killed between its last shard and the end, or the text has grown since."""
    path = make(tmp_path / "c")
    whole = contents(path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "complete": False}))
    again = writer(path)
    assert again.contexts_written == again.contexts_kept == 2 * PER_SHARD
    fill(again)
    again.finish()
    assert contents(path) == whole


def test_a_shard_that_vanished_is_noticed_at_the_end(tmp_path: Path) -> None:
    """As when ranks on several machines write to disks of their own."""
    out = writer(tmp_path / "c")
    fill(out)
    (tmp_path / "c" / "shard-00001.safetensors").unlink()
    with pytest.raises(QuadricError, match=r"shard-00001\.safetensors is missing"):
        out.finish()
    with pytest.raises(QuadricError, match="unfinished"):
        ActivationCache(tmp_path / "c")

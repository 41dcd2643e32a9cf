"""The activation cache: what is written comes back, and another harvest is never mixed in."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from quadric import QuadricError
from quadric.activations.cache import ActivationCache
from quadric.activations.manifest import VERSION
from quadric.activations.writing import CacheWriter

CONTEXT, PER_SHARD, CONTEXTS = 5, 4, 11
WIDTHS = {"blocks.0.hook_resid_pre": 3, "blocks.1.hook_mlp_out": 7}
FIRST, SECOND = WIDTHS
DESCRIPTION = {"model": "tiny", "seed": 3, "options": {"split": "train", "sizes": (1, 2)}}


def data(contexts: int = CONTEXTS) -> tuple[dict[str, Tensor], Tensor]:
    """The first so many contexts of one long harvest."""
    generator = torch.Generator().manual_seed(0)
    x = {
        hook: torch.randn(1000, CONTEXT, width, generator=generator)[:contexts]
        for hook, width in WIDTHS.items()
    }
    return x, torch.randint(0, 50_000, (1000, CONTEXT), generator=generator)[:contexts]


def writer(path: Path, **changes: Any) -> CacheWriter:
    options: dict[str, Any] = {
        "widths": WIDTHS,
        "dtype": torch.bfloat16,
        "context_size": CONTEXT,
        "description": DESCRIPTION,
        "contexts_per_shard": PER_SHARD,
    }
    return CacheWriter(path, **{**options, **changes})


def fill(out: CacheWriter, step: int = 3, contexts: int = CONTEXTS) -> None:
    x, tokens = data(contexts)
    for start in range(out.contexts_written, contexts, step):
        piece = slice(start, start + step)
        out.append({hook: tensor[piece] for hook, tensor in x.items()}, tokens[piece])


def make(path: Path, **changes: Any) -> Path:
    out = writer(path, **changes)
    fill(out)
    out.finish()
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("step", [1, 3, 11])
def test_rows_come_back_in_any_order(tmp_path: Path, dtype: torch.dtype, step: int) -> None:
    out = writer(tmp_path / "c", dtype=dtype)
    fill(out, step)
    out.finish()
    x, tokens = data()
    indices = torch.tensor([54, 0, 20, 19, 33, 20, 7])
    for hook, width in WIDTHS.items():
        cache = ActivationCache(tmp_path / "c", hook)
        stored = x[hook].to(dtype).float().flatten(0, 1)
        assert len(cache) == 55
        assert cache.d_in == width
        assert cache.gather(torch.arange(55)).equal(stored)
        assert cache.gather(indices).equal(stored[indices])
        assert cache.gather(indices).dtype == torch.float32
        assert cache.token_ids(indices).equal(tokens.flatten()[indices])
        assert cache.positions(indices).tolist() == [4, 0, 0, 4, 3, 0, 2]
        assert cache.gather(indices[:0]).shape == (0, width)
        with pytest.raises(IndexError):
            cache.gather(torch.tensor([55]))
        with pytest.raises(IndexError):
            cache.gather(torch.tensor([-1]))


def test_the_files_are_what_the_format_says(tmp_path: Path) -> None:
    path = make(tmp_path / "c")
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["version"] == VERSION
    assert manifest["widths"] == WIDTHS
    assert manifest["rows"] == 55
    assert manifest["complete"] is True
    assert [shard["rows"] for shard in manifest["shards"]] == [20, 20, 15]
    shard = load_file(path / "shard-00002.safetensors")
    x, tokens = data()
    keys = [f"activations.{FIRST}", f"activations.{SECOND}", "positions", "token_ids"]
    assert sorted(shard) == keys
    assert shard[f"activations.{SECOND}"].equal(x[SECOND][8:].bfloat16().flatten(0, 1))
    assert shard["token_ids"].equal(tokens[8:].int().flatten())
    assert shard["positions"].equal((torch.arange(15) % 5).int())
    assert len(contents(path)) == 4


def test_appended_tensors_may_be_reused(tmp_path: Path) -> None:
    x, tokens = data()
    out = writer(tmp_path / "c", dtype=torch.float32)
    buffers = {hook: tensor.clone() for hook, tensor in x.items()}
    out.append({hook: tensor[:3] for hook, tensor in buffers.items()}, tokens[:3])
    for tensor in buffers.values():
        tensor.zero_()
    out.finish()
    read = ActivationCache(tmp_path / "c", FIRST).gather(torch.arange(15))
    assert read.equal(x[FIRST][:3].flatten(0, 1))


def test_describe_and_locate(tmp_path: Path) -> None:
    cache = ActivationCache(make(tmp_path / "c"), SECOND)
    assert cache.describe() == {
        "source": "cache",
        "path": str(tmp_path / "c"),
        "hook": SECOND,
        "rows": 55,
        "d_in": 7,
        "dtype": "bfloat16",
        "context_size": 5,
        "description": {**DESCRIPTION, "options": {"split": "train", "sizes": [1, 2]}},
    }
    assert "row 43 (shard-00002.safetensors, context 8, position 3)" in cache.locate(43)
    assert "row 20 (shard-00001.safetensors, context 4, position 0)" in cache.locate(20)


def test_a_continued_harvest_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = contents(make(tmp_path / "whole"))
    for stop in range(1, CONTEXTS):
        path = tmp_path / f"stopped-{stop}"
        first = writer(path)
        fill(first, 2, stop)
        assert first.contexts_written == stop // PER_SHARD * PER_SHARD
        assert not first.complete
        again = writer(path)
        assert again.contexts_written == first.contexts_written
        fill(again)
        again.finish()
        assert contents(path) == whole
        done = writer(path)
        assert done.complete
        assert done.contexts_written == CONTEXTS
        with pytest.raises(QuadricError, match="is complete"):
            fill(done, contexts=CONTEXTS + 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": torch.float32}, "dtype is 'bfloat16' there and 'float32' here"),
        ({"context_size": 6}, "context_size is 5 there and 6 here"),
        ({"contexts_per_shard": 3}, "contexts_per_shard is 4 there and 3 here"),
        ({"widths": {**WIDTHS, FIRST: 4}}, f"widths.{FIRST} is 3 there and 4 here"),
        ({"widths": {FIRST: 3}}, f"widths.{SECOND} is 7 there and absent here"),
        ({"description": {**DESCRIPTION, "seed": 4}}, "description.seed is 3 there and 4 here"),
        ({"description": {**DESCRIPTION, "x": 1}}, "description.x is absent there and 1 here"),
        (
            {"description": {**DESCRIPTION, "options": {"split": "test", "sizes": [1, 2]}}},
            "description.options.split is 'train' there and 'test' here",
        ),
    ],
)
def test_another_harvest_is_not_continued(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    fill(writer(tmp_path / "c"))
    with pytest.raises(QuadricError) as error:
        writer(tmp_path / "c", **changes)
    assert message in str(error.value)


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(QuadricError, match=r"other files \('thesis.tex'\)"):
        writer(tmp_path)
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


def test_half_written_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".shard-00000.safetensors.123.tmp").write_bytes(b"half")
    fill(writer(tmp_path))
    (tmp_path / ".manifest.json.123.tmp").write_bytes(b"half")
    writer(tmp_path)
    assert [name for name in contents(tmp_path) if name.startswith(".")] == []


@pytest.mark.parametrize(
    ("value", "dtype", "seen"),
    [
        (math.nan, torch.bfloat16, "nan"),
        (-math.inf, torch.bfloat16, "-inf"),
        (70_000.0, torch.float16, "70000.0"),
    ],
)
def test_what_is_not_finite_is_refused_by_place(
    tmp_path: Path, value: float, dtype: torch.dtype, seen: str
) -> None:
    out = writer(tmp_path / "c", dtype=dtype)
    fill(out, contexts=6)
    x, tokens = data(4)
    x[SECOND][2, 1, 6] = value
    with pytest.raises(QuadricError) as error:
        out.append(x, tokens)
    assert f"hook {SECOND!r}, context 8, position 1: the activation is {seen}" in str(error.value)
    # A refused append leaves nothing behind.
    out.finish()
    assert len(ActivationCache(tmp_path / "c", FIRST)) == 6 * CONTEXT


def test_wrong_shapes_and_hooks_are_refused(tmp_path: Path) -> None:
    out = writer(tmp_path / "c")
    x, tokens = data(2)
    with pytest.raises(QuadricError, match=r"token_ids have shape \(2, 4\)"):
        out.append(x, tokens[:, :4])
    with pytest.raises(QuadricError, match=r"shape \(2, 5, 2\), expected \(2, 5, 3\)"):
        out.append({**x, FIRST: x[FIRST][..., :2]}, tokens)
    with pytest.raises(QuadricError, match=r"shape \(1, 5, 7\), expected \(2, 5, 7\)"):
        out.append({**x, SECOND: x[SECOND][:1]}, tokens)
    with pytest.raises(QuadricError, match="hook_mlp_out' are missing"):
        out.append({FIRST: x[FIRST]}, tokens)
    with pytest.raises(QuadricError, match=r"did you mean 'blocks\.0\.hook_resid_pre'"):
        out.append({**x, "blocks.0.hook_resid_pr": x[FIRST]}, tokens)
    with pytest.raises(QuadricError, match="no contexts"):
        out.finish()
    for changes, message in (
        ({"dtype": torch.float64}, "dtype is torch.float64"),
        ({"contexts_per_shard": 0}, "contexts_per_shard is 0"),
        ({"widths": {FIRST: 0}}, "is 0, expected at least 1"),
        ({"widths": {}}, "at least one hook"),
    ):
        with pytest.raises(QuadricError, match=message):
            writer(tmp_path / "other", **changes)


def test_the_hook_is_chosen_or_named(tmp_path: Path) -> None:
    path = make(tmp_path / "two")
    with pytest.raises(QuadricError, match=f"several hooks: name one of {FIRST}, {SECOND}"):
        ActivationCache(path)
    with pytest.raises(QuadricError, match=f"did you mean '{FIRST}'"):
        ActivationCache(path, "blocks.0.hook_resid")
    out = writer(tmp_path / "one", widths={FIRST: 3})
    out.append({FIRST: data()[0][FIRST]}, data()[1])
    out.finish()
    assert ActivationCache(tmp_path / "one").hook == FIRST


def test_an_unfinished_harvest_cannot_be_read(tmp_path: Path) -> None:
    fill(writer(tmp_path / "c"))
    with pytest.raises(QuadricError, match=r"unfinished \(40 rows so far\): run the same harvest"):
        ActivationCache(tmp_path / "c", FIRST)

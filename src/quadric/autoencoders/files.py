"""An autoencoder on disk and on the hub: ``cfg.json`` beside ``sae_weights.safetensors``.

Weights are safetensors with the module's own names (``left``, ``right``, ``mixing.weight``);
``cfg.json`` holds everything else: the architecture, the configuration, the input transform with
its statistics, and the metadata. It is written last, so a folder with a ``cfg.json`` is whole.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

import quadric
from quadric.autoencoders.config import AutoencoderConfig, Metadata
from quadric.errors import QuadricError
from quadric.settings import from_dict
from quadric.storage import make_folder, read_json, read_tensors, write_json, write_tensors

if TYPE_CHECKING:
    from quadric.autoencoders.model import BilinearAutoencoder

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
ARCHITECTURE = "bilinear_autoencoder"
FORMAT_VERSION = 1
MEMORY = "topk.silent"
"""What only training needs: it is in checkpoints and not in the weights."""


def save(model: BilinearAutoencoder, folder: Path) -> None:
    """Write both files atomically, ``cfg.json`` last."""
    make_folder(folder)
    # An old cfg.json beside new weights would describe another autoencoder.
    (folder / CONFIG).unlink(missing_ok=True)
    state = model.state_dict()
    state.pop(MEMORY, None)
    write_tensors(folder / WEIGHTS, state)
    write_json(folder / CONFIG, describe(model))


def describe(model: BilinearAutoencoder) -> dict[str, Any]:
    """The content of ``cfg.json``."""
    return {
        "architecture": ARCHITECTURE,
        "format_version": FORMAT_VERSION,
        "dtype": str(model.dtype).removeprefix("torch."),
        **dataclasses.asdict(model.config),
        "input_transform": model.transform.statistics(),
        "metadata": dataclasses.asdict(
            dataclasses.replace(model.metadata, quadric_version=quadric.__version__)
        ),
    }


def load(
    folder: Path,
) -> tuple[AutoencoderConfig, Metadata, dict[str, Any], dict[str, Tensor]]:
    """Read and check both files: configuration, metadata, transform statistics and weights.

    Raises:
        QuadricError: a file is missing, damaged, from a newer quadric, or of another kind.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise QuadricError(f"{folder} holds no trained autoencoder: {CONFIG} is missing")
    values = read_json(path)
    _check_format(values, path)
    statistics = values.pop("input_transform", None)
    if not isinstance(statistics, dict):
        raise QuadricError(f"{path}: missing key 'input_transform'")
    metadata = from_dict(Metadata, values.pop("metadata", {}), f"{path}, metadata")
    dtype = values.pop("dtype", "float32")
    config = from_dict(AutoencoderConfig, values, str(path))
    weights = read_tensors(folder / WEIGHTS)
    _check_weights(weights, config, dtype, folder / WEIGHTS)
    return config, metadata, statistics, weights


def fill(model: BilinearAutoencoder, weights: dict[str, Tensor]) -> None:
    """Give a new autoencoder the weights that :func:`load` read and checked."""
    memory = {MEMORY: model.topk.silent} if model.topk is not None else {}
    model.load_state_dict({**weights, **memory})


def locate(source: str, subfolder: str, **hub: Any) -> Path:
    """The folder behind a path or a hub id, downloading only the two files from a hub.

    Raises:
        QuadricError: neither a folder of that name nor such a repository can be reached.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder / subfolder
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise QuadricError(f"no folder {source!r}, and it is not a hub id of the form owner/name")
    from huggingface_hub import snapshot_download

    prefix = f"{subfolder}/" if subfolder else ""
    try:
        found = snapshot_download(source, allow_patterns=[prefix + CONFIG, prefix + WEIGHTS], **hub)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise QuadricError(
            f"no folder {source!r}, and the hub did not give it: {reason}"
        ) from error
    return Path(found) / subfolder


def push(model: BilinearAutoencoder, repo_id: str, subfolder: str = "", **hub: Any) -> str:
    """Upload both files; ``hub`` goes to ``HfApi`` (``token``, ``endpoint``)."""
    import tempfile

    from huggingface_hub import HfApi

    api = HfApi(**hub)
    with tempfile.TemporaryDirectory() as temporary:
        save(model, Path(temporary))
        try:
            api.create_repo(repo_id, repo_type="model", exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id, folder_path=temporary, path_in_repo=subfolder or None
            )
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise QuadricError(f"cannot upload to {repo_id!r}: {reason}") from error
    return str(commit.commit_url)


def _check_format(values: dict[str, Any], path: Path) -> None:
    architecture = values.pop("architecture", None)
    if architecture != ARCHITECTURE:
        raise QuadricError(
            f"{path}: architecture is {architecture!r}, quadric reads {ARCHITECTURE!r}"
        )
    version = values.pop("format_version", None)
    if not isinstance(version, int) or version < 1:
        raise QuadricError(f"{path}: format_version is {version!r}, expected {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        raise QuadricError(
            f"{path}: format_version {version} is newer than this quadric "
            f"({quadric.__version__}) reads ({FORMAT_VERSION}): upgrade quadric"
        )


def _check_weights(
    weights: dict[str, Tensor], config: AutoencoderConfig, dtype: str, path: Path
) -> None:
    width = config.d_in + int(config.affine)
    shapes: dict[str, tuple[int, ...]] = {
        "left": (config.factors, width),
        "right": (config.factors, width),
    }
    if config.k is not None:
        shapes["topk.threshold"] = ()
    if config.bottleneck is not None:
        shapes["mixing.weight"] = (config.bottleneck_rows, config.factors)
    for name in sorted(shapes.keys() | weights.keys()):
        if name not in weights:
            raise QuadricError(f"{path}: tensor {name!r} is missing")
        if name not in shapes:
            raise QuadricError(f"{path}: unexpected tensor {name!r}")
        tensor = weights[name]
        if tuple(tensor.shape) != shapes[name]:
            raise QuadricError(
                f"{path}: tensor {name!r} has shape {tuple(tensor.shape)}, "
                f"{CONFIG} says {shapes[name]}"
            )
        if str(tensor.dtype) != f"torch.{dtype}":
            raise QuadricError(f"{path}: tensor {name!r} is {tensor.dtype}, {CONFIG} says {dtype}")
        if not tensor.isfinite().all():
            raise QuadricError(f"{path}: tensor {name!r} holds NaN or infinite values")

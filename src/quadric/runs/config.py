"""``run.json``: the resolved configuration of a run, written before its first step.

It is what a resumed run is compared with, and what ``eval`` and ``inspect`` read to find the data
again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import quadric
from quadric.activations.config import DataConfig, HarvestConfig
from quadric.autoencoders.config import AutoencoderConfig
from quadric.errors import QuadricError
from quadric.settings import from_dict
from quadric.storage import read_json, write_json
from quadric.training.config import TrainingConfig

FILE = "run.json"
FORMAT_VERSION = 1
PLACES = ("training.device", "training.dictionary_shards", "harvest.device")
"""Fields that say where a run computes and not what: a resumed run may choose others."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result."""

    data: DataConfig
    training: TrainingConfig
    autoencoders: Mapping[str, AutoencoderConfig]
    harvest: HarvestConfig | None = None
    """The harvest behind the data, when this run asked for it."""

    def write(self, folder: Path, *, finished: bool) -> None:
        """Write ``run.json`` atomically."""
        values = {
            "format_version": FORMAT_VERSION,
            "quadric_version": quadric.__version__,
            "finished": finished,
            **self.as_dict(),
        }
        write_json(folder / FILE, values)

    def as_dict(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return {
            "data": dataclasses.asdict(self.data),
            "harvest": dataclasses.asdict(self.harvest) if self.harvest else None,
            "training": dataclasses.asdict(self.training),
            "autoencoders": {
                name: dataclasses.asdict(config) for name, config in self.autoencoders.items()
            },
        }

    @classmethod
    def read(cls, folder: Path) -> RunConfig:
        """Read ``run.json``.

        Raises:
            QuadricError: the folder is no run, or was written by a newer quadric.
        """
        path = folder / FILE
        if not path.is_file():
            raise QuadricError(f"{folder} is not a run: {FILE} is missing")
        values = read_json(path)
        version = values.get("format_version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise QuadricError(
                f"{path}: format_version {version!r} is not one this quadric "
                f"({quadric.__version__}) reads (up to {FORMAT_VERSION}): upgrade quadric"
            )
        try:
            harvest = values["harvest"]
            return cls(
                data=from_dict(DataConfig, values["data"], f"{path}, data"),
                training=from_dict(TrainingConfig, values["training"], f"{path}, training"),
                autoencoders={
                    name: from_dict(AutoencoderConfig, config, f"{path}, {name}")
                    for name, config in values["autoencoders"].items()
                },
                harvest=from_dict(HarvestConfig, harvest, f"{path}, harvest") if harvest else None,
            )
        except KeyError as error:
            raise QuadricError(f"{path}: missing key {error}") from error


def is_finished(folder: Path) -> bool:
    """Whether a run in this folder came to its end."""
    return (folder / FILE).is_file() and bool(read_json(folder / FILE).get("finished"))


def check_unchanged(saved: RunConfig, wanted: RunConfig, folder: Path) -> None:
    """Refuse to resume a run under another configuration.

    Raises:
        QuadricError: some value differs; the message names the first and both its values.
    """
    before, after = dict(_leaves(saved.as_dict())), dict(_leaves(wanted.as_dict()))
    for key in before | after:
        if key not in PLACES and before.get(key) != after.get(key):
            raise QuadricError(
                f"cannot resume {folder}: {key} is {after.get(key)!r}, "
                f"the run was started with {before.get(key)!r}"
            )


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

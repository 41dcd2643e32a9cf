"""The metric log: one JSON object per line, and the experiment trackers a user asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from quadric.errors import QuadricError

LOG = "metrics.jsonl"


class Sink(Protocol):
    """Somewhere metrics go."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of one step."""
        ...

    def close(self) -> None:
        """Flush and release."""
        ...


class JsonLines:
    """``metrics.jsonl``; resuming at a step drops the lines the interrupted run wrote after it."""

    def __init__(self, path: Path, step: int) -> None:
        """Open for appending, keeping only the lines of steps before ``step``."""
        kept = [line for line in read(path) if line["step"] < step] if path.exists() else []
        try:
            self.file = path.open("w", encoding="utf-8")
            self.file.writelines(json.dumps(line) + "\n" for line in kept)
        except OSError as error:
            raise QuadricError(f"cannot write {path}: {error.strerror}") from error

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line and flush it, so that a reader can follow."""
        try:
            self.file.write(json.dumps({"step": step, **metrics}) + "\n")
            self.file.flush()
        except OSError as error:
            raise QuadricError(f"cannot write {self.file.name}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class TensorBoard:
    """TensorBoard event files in the run folder."""

    def __init__(self, folder: Path) -> None:
        """Needs the package tensorboard."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _missing("tensorboard") from error
        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """One scalar per metric."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush the event file."""
        self.writer.close()


class Tracker:
    """Weights & Biases or Trackio, which share one interface."""

    def __init__(self, module: str, folder: Path, config: Mapping[str, Any]) -> None:
        """Start a run called after the run folder, in the project quadric."""
        try:
            self.tracker: Any = __import__(module)
        except ImportError as error:
            raise _missing(module) from error
        self.tracker.init(project="quadric", name=folder.name, config=dict(config))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send one step."""
        self.tracker.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish the remote run."""
        self.tracker.finish()


def open_sinks(
    folder: Path, names: tuple[str, ...], config: Mapping[str, Any], step: int
) -> list[Sink]:
    """The JSON log and the trackers named.

    Raises:
        QuadricError: a tracker's package is not installed.
    """
    sinks: list[Sink] = [JsonLines(folder / LOG, step)]
    for name in names:
        sinks.append(
            TensorBoard(folder) if name == "tensorboard" else Tracker(name, folder, config)
        )
    return sinks


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a metric log; a last line cut short by a crash is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def _missing(package: str) -> QuadricError:
    return QuadricError(f"logger {package!r} needs its package: pip install {package}")

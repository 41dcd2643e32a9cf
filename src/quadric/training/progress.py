"""Live progress of a training run: rate, what its loop says of a step, time left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Display:
    """A progress bar with the rate and a few figures of the last step.

    Where the console is no terminal, each evaluation prints one line instead; without a console
    nothing is shown.
    """

    def __init__(
        self,
        console: Console | None,
        steps: int,
        describe: Callable[[Mapping[str, float]], list[str]],
    ) -> None:
        """``describe`` makes the figures from the metrics of a step."""
        self.describe = describe
        self.progress: Progress | None = None
        self.rows_seen = 0
        self.seconds_at_start: float | None = None
        if console is not None:
            self.progress = Progress(
                BarColumn(bar_width=10),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[status]}"),
                console=console,
                refresh_per_second=2,
                disable=not console.is_terminal,
            )
            self.task = self.progress.add_task("training", total=steps, status="")

    def __enter__(self) -> Display:
        """Start drawing."""
        if self.progress:
            self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing, leaving the last state on the screen."""
        if self.progress:
            self.progress.stop()

    def update(self, step: int, metrics: Mapping[str, float], rows: int) -> None:
        """Show the state at ``step``, where ``rows`` rows were read since the last update."""
        if not self.progress:
            return
        parts = self.describe(metrics)
        # The first update has no duration before it; rates count from there.
        if self.seconds_at_start is None:
            self.seconds_at_start = metrics["seconds"]
        else:
            self.rows_seen += rows
            elapsed = max(metrics["seconds"] - self.seconds_at_start, 1e-9)
            parts.insert(0, f"{self.rows_seen / elapsed:,.0f} tok/s")
        status = " · ".join(parts)
        self.progress.update(self.task, completed=step, status=status)
        if self.progress.disable and any("held_out" in name for name in metrics):
            self.progress.console.print(f"step {step}: {status}", highlight=False, soft_wrap=True)

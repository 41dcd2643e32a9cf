"""``quadric inspect`` as text."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from quadric.report.table import metrics_rows

if TYPE_CHECKING:
    from quadric.runs.inspect import RunView


def render(view: RunView) -> str:
    """Configuration, metrics and latents, one block each."""
    text = StringIO()
    console = Console(file=text, width=110, highlight=False, markup=False)
    for part, values in view.config.items():
        if not values:
            continue
        console.print(part)
        for key, value in values.items():
            console.print(f"  {key}: {value}", soft_wrap=True)
    if view.metrics is not None:
        table = Table(box=None, pad_edge=False, header_style="")
        table.add_column("metrics")
        for name in view.metrics["autoencoders"]:
            table.add_column(name, justify="right")
        for label, figures in metrics_rows(view.metrics):
            table.add_row(f"  {label}", *figures)
        console.print(table)
    console.print("latents, most important first")
    for latent in view.latents:
        console.print(
            f"  {latent.id}: Σλ² {latent.importance:.3g}, effective rank "
            f"{latent.effective_rank:.1f}, {latent.positive}+ {latent.negative}−"
            + "".join(f": {label}" for label in (latent.label, latent.written_label) if label),
            soft_wrap=True,
        )
        tokens = (f"{token.token!r} {token.value:+.3g}" for token in latent.top)
        console.print("    " + "  ".join(tokens), soft_wrap=True)
    return text.getvalue().rstrip()

"""``report.html``: a run on one page that opens from disk, with nothing loaded from outside."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadric.report.table import headline, metrics_rows
from quadric.storage import write_text

if TYPE_CHECKING:
    from quadric.runs.latents import Latent

TEMPLATE = "page.html.jinja"


def write_page(
    path: Path,
    *,
    metrics: Mapping[str, Any],
    config: Mapping[str, Any],
    figures: Mapping[str, Path],
    latents: Sequence[Latent],
    manifolds: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> None:
    """Write the page.

    Every string from the data, tokens above all, is escaped by the template engine.

    Args:
        path: where to write.
        metrics: the run's metrics.json.
        config: its run.json.
        figures: a caption and a PNG file each, embedded in the page.
        latents: those to list with their tokens in context.
        manifolds: rows of manifolds.json to list.
        notes: sentences to show under the metrics.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("quadric.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(TEMPLATE).render(
        title=str(path.parent),
        headline=headline(metrics, path.parent),
        names=list(metrics["autoencoders"]),
        rows=metrics_rows(metrics),
        notes=notes,
        figures=[
            (caption, base64.b64encode(file.read_bytes()).decode())
            for caption, file in figures.items()
        ],
        latents=latents,
        manifolds=manifolds,
        config=json.dumps(config, indent=2, ensure_ascii=False),
    )
    write_text(path, text)

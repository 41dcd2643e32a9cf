"""The figures of a run as a terminal table, one column per autoencoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROWS = (
    ("variant", "variant"),
    ("d_sae", "d_sae"),
    ("factors", "products"),
    ("density_weight", "density_weight"),
    ("product_error", "product_error"),
    ("product_error_mean_predictor", "… of the mean predictor"),
    ("product_fvu", "product_fvu"),
    ("density", "density"),
    ("frac_alive", "frac_alive"),
    ("l0", "l0"),
    ("effective_l0", "effective_l0"),
    ("explained_variance", "explained_variance"),
    ("cossim", "cossim"),
    ("ce_loss_score", "ce_loss_score"),
    ("ce_loss_without_sae", "ce_loss_without_sae"),
    ("ce_loss_with_sae", "ce_loss_with_sae"),
    ("ce_loss_with_ablation", "ce_loss_with_ablation"),
)
"""The figures worth a row: key in metrics.json and label."""


def metrics_rows(metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """A label and one formatted value per autoencoder for every figure that any of them has."""
    columns = list(metrics["autoencoders"].values())
    rows = []
    for key, label in ROWS:
        values = [column.get(key) for column in columns]
        if any(value is not None for value in values):
            rows.append((label, [shown(value) for value in values]))
    return rows


def metrics_table(metrics: Mapping[str, Any], out: Path) -> str:
    """The table as text, with a line on the data above it."""
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("")
    for name in metrics["autoencoders"]:
        table.add_column(name, justify="right")
    for label, values in metrics_rows(metrics):
        table.add_row(label, *values)
    text = StringIO()
    console = Console(file=text, width=100)
    console.print(headline(metrics, out), highlight=False, markup=False)
    console.print(table)
    return text.getvalue().rstrip()


def manifolds_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The ranked manifolds as text."""
    table = Table(box=None, pad_edge=False, header_style="")
    for name in ("rank", "id"):
        table.add_column(name, justify="right")
    table.add_column("label", max_width=40, no_wrap=True)
    for name in ("shape", "quadric"):
        table.add_column(name)
    for name in ("p ring", "class F1", "words", "evidence"):
        table.add_column(name, justify="right")
    for row in rows:
        token_class = row["scores"].get("token_class")
        table.add_row(
            str(row["rank"]),
            str(row["id"]),
            escape(row["label"] or row["kind"]),
            row["shape"],
            row["quadric"],
            f"{row['p_value']:.3f}",
            f"{token_class['value']:.2f}" if token_class else "–",
            f"{row['words']:.1f}" if token_class else "–",
            f"{row['evidence']:.2f}",
        )
    text = StringIO()
    Console(file=text, width=120).print(table)
    return text.getvalue().rstrip()


def headline(metrics: Mapping[str, Any], out: Path) -> str:
    """One line: what was trained on how much, how long it took, and where it is."""
    seconds = metrics["seconds"]
    duration = f" in {seconds:,.0f} s" if seconds is not None else ""
    return (
        f"{out}: {metrics['steps']:,} steps on {metrics['training_tokens']:,} activations of width "
        f"{metrics['d_in']}{duration}; {metrics['dropped_tokens']:,} dropped"
    )


def shown(value: Any) -> str:
    """A figure for a reader: four significant digits, words as they are, nothing for None."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

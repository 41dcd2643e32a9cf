"""The table of a suite: what the paper says, what reproductions found, and what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TABLE = "table.md"


@dataclass(frozen=True)
class Line:
    """One line of the table: paper, reproductions, ours."""

    quantity: str
    """What is measured, with its setting."""
    paper: str
    """As published; empty where nothing was."""
    reproductions: str
    """What others found; empty where nobody tried."""
    ours: str
    """What was measured here."""


def lines(*rows: Line) -> list[dict[str, str]]:
    """Lines as JSON values, for ``Comparison.lines``."""
    return [dataclasses.asdict(row) for row in rows]


def table(outcomes: Sequence[dict[str, Any]]) -> str:
    """Every published figure beside what reproductions found and what was measured, as Markdown."""
    rows = ["| | paper | reproductions | ours |", "|---|---|---|---|"]
    for outcome in outcomes:
        verdict = {True: "agrees", False: "does not agree", None: "undecided"}
        comparison = outcome["comparison"]
        rows.append(f"| **{outcome['title']}** | | | {verdict[comparison['agrees']]} |")
        for line in comparison["lines"]:
            cells = (line[key] for key in ("quantity", "paper", "reproductions", "ours"))
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"

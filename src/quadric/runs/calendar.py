"""Does the ranked table hold the months, the weekdays, the years, and are they in order?

The table was made without labels. Here, for scoring only, the row on which a known class has most
energy relative to its average is looked up, and the class's rows are projected onto that row's
axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadric.activations.cache import ActivationCache
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.manifolds import order
from quadric.manifolds.calendar import AnswerKey, answer_keys
from quadric.manifolds.candidates import Candidate, candidates
from quadric.manifolds.files import read
from quadric.report import figures, wheels
from quadric.runs.config import RunConfig
from quadric.runs.inspect import open_store, tokenizer_of
from quadric.storage import make_folder, write_json

FILE = "calendar.json"
PICTURE = "calendar.png"
FEWEST_ROWS = 20
"""A class with fewer rows is left out."""
ENERGY_ROWS = 20_000
"""Rows behind the average energy of a form."""


@dataclass(frozen=True)
class Finding:
    """Where a known class stands in the ranked table."""

    name: str
    """months, weekdays or years."""
    rank: int
    """Rank of the row on which it has most energy."""
    of: int
    """Rows of the table."""
    id: int
    """That row's id."""
    label: str
    """That row's label."""
    energy_ratio: float
    """Mean of the form's square on the class ÷ its mean over all rows."""
    rows: int
    """Rows of the class."""
    order: float
    """Order of the class in the best plane (or along the best axis) of the row's axes."""
    order_axes: list[int]
    """That plane or axis; axes count from 1."""
    order_p_value: float
    """Against as many tries with shuffled classes."""
    order_null: float
    """Mean of the best of as many tries with shuffled classes."""
    slice_order: float
    """The same, with the planes or axes of the three-dimensional slice only."""
    slice_order_p_value: float
    """Its p-value."""
    slice_order_null: float
    """Its null's mean."""


def find_calendar(folder: Path, *, rows_searched: int) -> list[Finding]:
    """Look the known classes up in a run's ranked table; writes calendar.json and a picture.

    Raises:
        QuadricError: the run has not been analysed, or its text is not known.
    """
    table = read(folder)
    config = RunConfig.read(folder)
    model = BilinearAutoencoder.load_from_disk(folder)
    store, tokenizer = open_store(config), tokenizer_of(model)
    if not isinstance(store, ActivationCache) or tokenizer is None:
        raise QuadricError(f"the text behind {folder} is not known: train on a harvested cache")
    rows = torch.arange(min(rows_searched, len(store)))
    rows = rows[store.positions(rows) >= config.data.drop_first]
    ids = store.token_ids(rows).numpy()
    forms = sorted(candidates(model), key=lambda candidate: candidate.id)
    average = _energies(model, store.gather(rows[:: max(1, len(rows) // ENERGY_ROWS)]), forms)
    findings, drawn = [], []
    for key in answer_keys(ids, tokenizer):
        here = np.nonzero(key.of_rows >= 0)[0]
        if len(here) < FEWEST_ROWS:
            continue
        x = store.gather(rows[torch.from_numpy(here)])
        ratio = _energies(model, x, forms) / average.clamp_min(1e-30)
        best = int(ratio.argmax())
        y = model.transform.apply_to(x).y
        points = (y @ forms[best].axes.T).double().numpy()
        means, present = order.class_means(points, key.of_rows[here])
        if len(present) < order.FEWEST_CLASSES:
            continue
        whole, inside = _order(means, present, key), _order(means[:, :3], present, key)
        row = next(row for row in table if row["id"] == forms[best].id)
        findings.append(
            Finding(
                name=key.name,
                rank=row["rank"],
                of=len(table),
                id=row["id"],
                label=row["label"],
                energy_ratio=ratio[best].item(),
                rows=len(here),
                order=whole.value,
                order_axes=[axis + 1 for axis in whole.axes],
                order_p_value=whole.p_value,
                order_null=whole.null_mean,
                slice_order=inside.value,
                slice_order_p_value=inside.p_value,
                slice_order_null=inside.null_mean,
            )
        )
        drawn.append((findings[-1], points, key.of_rows[here], key))
    write_json(folder / FILE, [asdict(finding) for finding in findings])
    if drawn:
        figures.save(wheels.draw(drawn), make_folder(folder / "figures") / PICTURE)
    return findings


def summary(findings: Sequence[Finding]) -> str:
    """The findings in a sentence each."""
    return " ".join(
        f"{finding.name.capitalize()}: rank {finding.rank} of {finding.of} "
        f"({finding.label or 'unlabelled'}), energy {finding.energy_ratio:,.0f} times its average, "
        f"order {finding.order:.2f} (shuffled {finding.order_null:.2f}, "
        f"p = {finding.order_p_value:.3f}), {finding.slice_order:.2f} in the three-dimensional "
        f"slice (p = {finding.slice_order_p_value:.3f})."
        for finding in findings
    )


def _order(means: Any, present: Any, key: AnswerKey) -> order.Order:
    if key.cyclic:
        return order.cyclic_order(means, present, key.places)
    return order.linear_order(means, present)


@torch.no_grad()
def _energies(model: BilinearAutoencoder, x: Tensor, forms: Sequence[Candidate]) -> Tensor:
    """Mean square of every form."""
    latents = model.encode(x)
    values = [latents[:, list(form.members)] @ torch.tensor(form.weights) for form in forms]
    return torch.stack(values).square().mean(1)

"""Which run lies behind an atlas, and whether it still is the autoencoder that the atlas is of.

session, note = open_session(Path("atlas"), run=None)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.service.composition import known_form
from quadric.atlas.service.session import Session
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.runs.config import RunConfig
from quadric.runs.inspect import open_store

FORMS_CHECKED = 8
"""Forms whose spectra have to be those of the run."""
ALIKE = 1e-3
"""Largest difference of two spectra that are the same, as a share of the largest |λ|."""


def open_session(folder: Path, run: Path | None) -> tuple[Session | None, str]:
    """The session of an atlas, or None, and a sentence for the person who serves it.

    Args:
        folder: the atlas.
        run: the run it is of; where the atlas says that it lay, when None.

    Raises:
        QuadricError: the folder is no atlas, or ``run`` was given and is not the atlas's.
    """
    atlas = AtlasFolder(folder)
    told = atlas.manifest.run
    if run is None and told is None and atlas.manifest.modality == "image":
        return None, "nothing can be asked live of an image model: the page shows what is stored"
    if run is None and told is None:
        return None, "live features are off: this atlas does not say where its run lies (--run)"
    where = run or folder.resolve() / str(told)
    try:
        model = BilinearAutoencoder.load_from_disk(where)
        _check_same(atlas, model, where)
    except QuadricError as wrong:
        if run is not None:
            raise
        return None, f"live features are off: {wrong} (--run says where the run is)"
    try:
        store = open_store(RunConfig.read(where), verify=False)
    except QuadricError as wrong:
        return Session(atlas, where, model, None), f"forms cannot be composed: {wrong}"
    note = "" if store else "forms cannot be composed: the run's activations are not kept here"
    return Session(atlas, where, model, store), note


def _check_same(atlas: AtlasFolder, model: BilinearAutoencoder, where: Path) -> None:
    """Raise unless the first forms of an atlas have the spectra that they have in the model."""
    for place in range(min(FORMS_CHECKED, atlas.manifest.forms)):
        row, listed = atlas.row(place), atlas.page(place).points.spectrum
        found = np.zeros(0)
        if max(row.members, default=model.d_sae) < model.d_sae:
            form = known_form(model, row.id, row.members, row.weights)
            found = form.spectrum[: len(listed)].double().numpy()
        if len(found) != len(listed) or (abs(found - listed) > ALIKE * abs(listed).max()).any():
            raise QuadricError(
                f"{where} is not the autoencoder of this atlas: form {row.id} has another spectrum"
            )

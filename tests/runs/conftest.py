"""An analysed run with its atlas, on few nulls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quadric.runs.atlas import build_atlas
from tests.runs.tiny import VARIANTS, make_run


@pytest.fixture(scope="module")
def few_random_forms() -> Iterator[None]:
    """The nulls are tested elsewhere; most of an analysis goes into them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quadric.manifolds.controls.FORMS", 24)
        patch.setattr("quadric.manifolds.nulls.SHUFFLES", 5)
        yield


@pytest.fixture(scope="module")
def composite(few_random_forms: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """An analysed run of composites, with an atlas of all of its forms."""
    run = make_run(tmp_path_factory.mktemp("composite"), **VARIANTS["composite"])
    build_atlas(run, run / "atlas")
    return run

"""What the packages export."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import quadric

STUBS = sorted(Path(quadric.__file__).parent.rglob("__init__.pyi"))


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.parent.name)
def test_no_name_is_also_a_module(stub: Path) -> None:
    """A package attribute is replaced by a submodule of its name as soon as that is imported."""
    names = set(re.findall(r" as (\w+)", stub.read_text()))
    assert names
    assert not names & {path.stem for path in stub.parent.iterdir()}

"""Two small atlases that the tests in Python and in TypeScript both read.

text/ has 10 forms in two files, a comparison, controls and a hostile label; image/ has 2 forms.
After a change of the contract write them again with ``python -m tests.atlas.golden`` and commit
what changed.
"""

from __future__ import annotations

from pathlib import Path

from quadric.atlas.folder.synthetic import write_synthetic

FOLDER = Path(__file__).parent


def write_golden(folder: Path) -> None:
    """Write both atlases into ``folder``."""
    write_synthetic(
        folder / "text",
        forms=10,
        points=8,
        seed=4,
        axes=4,
        comparison=True,
        hostile=True,
        controls=2,
        rows=256,
        shard_bytes=9_000,
    )
    write_synthetic(
        folder / "image", forms=2, points=8, seed=5, axes=3, images=True, controls=0, rows=40
    )

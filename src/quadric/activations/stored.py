"""Open stored activations, whatever they are stored as.

rows = open_rows(Path("cache"))
rows.gather(torch.tensor([5, 0, 19]))     # (3, d) float32
"""

from __future__ import annotations

from pathlib import Path

from quadric.activations.cache import ActivationCache
from quadric.activations.folder import TensorFolder
from quadric.activations.manifest import MANIFEST
from quadric.activations.rows import Rows
from quadric.errors import QuadricError


def open_rows(path: Path, hook: str | None = None, *, verify: bool = True) -> Rows:
    """Open activations from disk: a cache of quadric's, else anybody's tensors.

    Args:
        path: a folder with ``manifest.json`` (:class:`~quadric.activations.cache.ActivationCache`),
            or a folder or file of .npy / .safetensors
            (:class:`~quadric.activations.folder.TensorFolder`).
        hook: which hook of a cache; may be left out when it holds only one.
        verify: read everything once now: checksums of a cache, a search for NaN elsewhere.

    Raises:
        QuadricError: there is nothing at ``path``, it is damaged, or ``hook`` does not fit.
    """
    if (path / MANIFEST).exists():
        return ActivationCache(path, hook, verify=verify)
    if hook is not None:
        raise QuadricError(
            f"hook {hook!r} was asked for, but {path} is not an activation cache (it has no "
            f"{MANIFEST}): leave the hook out to read its tensors"
        )
    return TensorFolder(path, verify=verify)

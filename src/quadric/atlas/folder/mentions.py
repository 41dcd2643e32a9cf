"""Which rows of the store the pages of an atlas show, and so which tokens or images it must hold.

The writer notes them to know what to write, ``validate`` to know what must be there.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from quadric.atlas.contract import AROUND, ROWS_PER_TOKEN_FILE, Manifest

COMPACTED = 1 << 20
"""Rows that are gathered before repeated ones are dropped."""


class Mentions:
    """Gathers rows page by page; what it keeps grows with the store, not with the pages."""

    def __init__(self, manifest: Manifest) -> None:
        """Start with no rows."""
        self._modality = manifest.modality
        self._rows, self._context_size = manifest.rows, manifest.context_size
        self._token_files: set[int] = set()
        self._image_rows: list[np.ndarray] = []
        self._waiting = 0

    def add(
        self,
        points: Int[np.ndarray, " n"],
        contexts: Int[np.ndarray, " m"],
        starts: Int[np.ndarray, " m"],
        sizes: Int[np.ndarray, " m"],
    ) -> None:
        """Note rows of points and the text around them, and rows of contexts and their windows."""
        if self._modality == "text":
            rows, first = points.astype(np.int64), starts.astype(np.int64)
            position, (before, after) = rows % self._context_size, AROUND
            end = np.minimum(rows + after, rows - position + self._context_size - 1)
            ends = (
                rows - np.minimum(position, before),
                np.minimum(end, self._rows - 1),
                first,
                first + sizes - 1,
            )
            # No window is as long as a file: its two ends name every file that it is in.
            files = np.concatenate(ends) // ROWS_PER_TOKEN_FILE
            self._token_files.update(np.unique(files).tolist())
        if self._modality == "image":
            self._image_rows += [points.astype(np.int64), contexts.astype(np.int64)]
            self._waiting += len(points) + len(contexts)
            if self._waiting > COMPACTED:
                self._image_rows, self._waiting = [self.image_rows()], 0

    def token_files(self) -> list[int]:
        """Numbers of the files of tokens/, ascending."""
        return sorted(self._token_files)

    def image_rows(self) -> Int[np.ndarray, " k"]:
        """Rows whose images are shown, ascending."""
        return np.unique(np.concatenate([np.zeros(0, np.int64), *self._image_rows]))

"""Trained language models and dictionaries by recipe: what was trained once is not trained again.

Each has a folder named by its digest in the cache. It is finished when its ``metrics.json`` is
there; one that was stopped, or killed, goes on from its checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quadric.language import bilinearize, features, pretraining
from quadric.language.config import BilinearizeRequest, DictionaryConfig, Recipe, TextConfig
from quadric.storage import cache_folder

if TYPE_CHECKING:
    from rich.console import Console


class Workshop:
    """A folder of what experiments on language models train."""

    def __init__(self, folder: Path | None = None, console: Console | None = None) -> None:
        """Args:
        folder: where it is kept; the cache's ``language`` folder when None.
        console: where progress is drawn.
        """
        self.folder = cache_folder() / "language" if folder is None else folder
        self.console = console

    def model(self, recipe: Recipe) -> Path:
        """The folder of a trained language model, trained first where it is missing.

        Raises:
            QuadricError: as for :func:`quadric.language.pretraining.train`.
        """
        folder = self.folder / f"model-{recipe.digest()}"
        pretraining.train(
            recipe, folder, resume=(folder / pretraining.CONFIG).is_file(), console=self.console
        )
        return folder

    def dictionaries(self, model: Path, text: TextConfig, config: DictionaryConfig) -> Path:
        """The folder of the dictionaries around an MLP of a model of this workshop.

        Raises:
            QuadricError: as for :func:`quadric.language.features.train`.
        """
        folder = model / f"dictionaries-{config.digest(text)}"
        if not (folder / features.METRICS).is_file():
            features.train(str(model), text, config, folder, console=self.console)
        return folder

    def bilinear(self, request: BilinearizeRequest) -> Path:
        """The folder of a model made bilinear, beside its control.

        Raises:
            QuadricError: as for :func:`quadric.language.bilinearize.bilinearize`.
        """
        folder = self.folder / f"bilinear-{request.digest()}"
        begun = (folder / bilinearize.CONFIG).is_file()
        bilinearize.bilinearize(request, folder, resume=begun, console=self.console)
        return folder

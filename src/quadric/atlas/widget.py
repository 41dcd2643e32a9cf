"""A form's page in a notebook: Jupyter, VS Code, Colab and marimo, all through anywidget.

    from quadric.atlas import AtlasWidget

    AtlasWidget("runs/demo", 312)

Nothing is asked of a server: the cell carries the atlas of that one form.
"""

from __future__ import annotations

from pathlib import Path

from quadric.atlas.bundle import bundle_folder
from quadric.errors import QuadricError

try:
    import anywidget
    import traitlets
except ModuleNotFoundError as error:
    raise QuadricError(
        f"a notebook's widget needs {error.name}: pip install 'quadric[notebook]'"
    ) from error


class AtlasWidget(anywidget.AnyWidget):  # type: ignore[misc]
    """The page of one form.

    Raises:
        QuadricError: the source is neither a run nor an atlas, it has no such form, or the widget
            has not been built.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    # Some notebooks lose buffers that lie deeper than the top of a widget's state.
    atlas = traitlets.Bytes().tag(sync=True)

    def __init__(self, source: str | Path, form: int) -> None:
        """Pack one form.

        Args:
            source: a run, or an atlas that has the form.
            form: its number.
        """
        from quadric.atlas.packing import one_form

        code = bundle_folder("widget")
        super().__init__(
            _esm=(code / "atlas.js").read_text(encoding="utf-8"),
            _css=(code / "atlas.css").read_text(encoding="utf-8"),
            atlas=one_form(Path(source), form),
        )

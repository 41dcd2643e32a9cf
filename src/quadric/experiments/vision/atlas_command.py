"""``quadric vision atlas``: a classifier as an atlas, with a gallery of its eigenvectors."""

from __future__ import annotations

from pathlib import Path

import click

from quadric.terminal import answer, as_json


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="The folder to write."
)
@click.option(
    "--compare", type=click.Path(path_type=Path), metavar="OTHER",
    help="Another model of the same classes, to look at side by side.",
)  # fmt: skip
@click.option("--title", help="What the page is headed with.")
@as_json
def atlas(model: Path, out: Path, compare: Path | None, title: str | None, as_json: bool) -> None:
    """Write the atlas of MODEL: its eigenvectors as pictures, on its test images.

    MODEL is a folder written by quadric vision train. Look at the atlas with quadric atlas serve.
    """
    from quadric.vision.atlas.build import build_atlas
    from quadric.vision.files import load

    other = None if compare is None else load(compare)
    made = build_atlas(load(model), out, compare=other, title=title)
    text = (
        f"{out}: {made['forms']:,} forms on {made['points']:,} points; look at it with "
        f"quadric atlas serve {out}"
    )
    answer(made, f"{text}\n{made['page']}" if made.get("page") else text, as_json)

"""``quadric atlas``: build, serve, export and validate.

Nothing heavy is imported before a command runs, so that ``quadric --help`` stays quick.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from quadric.terminal import Commands, answer, as_json, progress, run_argument

PORT = 7677
atlas_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


class ImageShape(click.ParamType[tuple[int, int, int]]):
    """HEIGHTxWIDTH, or HEIGHTxWIDTHxCHANNELS."""

    name = "HxW[xC]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int]:
        """The numbers of ``28x28`` or ``32x32x3``; one channel where none is given."""
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", value):
            self.fail(f"{value!r} is no image shape: write 28x28, or 32x32x3", param, ctx)
        height, width, *channels = map(int, value.split("x"))
        return height, width, channels[0] if channels else 1


@click.group(cls=Commands)
def atlas() -> None:
    """Look at an autoencoder: a folder of tables, and a page that explores them."""


@atlas.command()
@run_argument
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="The folder to write."
)
@click.option(
    "--compare", type=click.Path(path_type=Path), metavar="RUN2",
    help="Another run on the same activations, to look at side by side.",
)  # fmt: skip
@click.option(
    "--points", type=click.IntRange(min=1), default=1024, show_default=True,
    help="Most points of a form.",
)  # fmt: skip
@click.option(
    "--image", type=ImageShape(), help="The activations are images of this shape, as 28x28."
)
@click.option("--title", help="What the page is headed with.")
@as_json
def build(
    run: Path,
    out: Path,
    compare: Path | None,
    points: int,
    image: tuple[int, int, int] | None,
    title: str | None,
    as_json: bool,
) -> None:
    """Write the atlas of a RUN into a folder that any static server can show."""
    from quadric.runs.atlas import build_atlas

    made = build_atlas(
        run, out, compare=compare, points=points, image_shape=image, title=title, console=progress()
    )
    text = (
        f"{out}: {made['forms']:,} forms on {made['points']:,} points; look at it with "
        f"quadric atlas serve {out}"
    )
    answer(made, f"{text}\n{made['page']}" if made.get("page") else text, as_json)


@atlas.command()
@atlas_argument
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True,
    help="Of 127.0.0.1; 0 for any that is free.",
)  # fmt: skip
@click.option("--no-open", is_flag=True, help="Print the address without opening a browser.")
@click.option(
    "--run", type=click.Path(path_type=Path),
    help="The run that the atlas is of.  [default: where it lay when the atlas was built]",
)  # fmt: skip
def serve(folder: Path, port: int, no_open: bool, run: Path | None) -> None:
    """Show the atlas in DIR in a browser, with its live features where its run is at hand."""
    from quadric.atlas.service.opening import open_session
    from quadric.atlas.service.server import serve as run_server

    console = progress()
    session, note = open_session(folder, run)
    if note:
        console.print(note, soft_wrap=True, highlight=False, markup=False)
    run_server(folder, session, port=port, open_browser=not no_open, console=console)


@atlas.command()
@run_argument
@click.option("--latent", type=click.IntRange(min=0), required=True, help="The form to show.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE.html",
    help="The file to write.  [default: latent-N.html]",
)  # fmt: skip
@as_json
def export(run: Path, latent: int, out: Path | None, as_json: bool) -> None:
    """Write one form of a RUN into one HTML file that opens from disk."""
    from quadric.atlas.export import export as write

    out = out or Path(f"latent-{latent}.html")
    write(run, latent, out)
    answer({"file": str(out)}, f"open {out} in a browser", as_json)


@atlas.command()
@atlas_argument
@as_json
def validate(folder: Path, as_json: bool) -> None:
    """Check every file of the atlas in DIR; the exit status is 1 where something is wrong."""
    from quadric.atlas.folder.validate import validate as check

    report = check(folder)
    counted = ", ".join(f"{number:,} {what}" for what, number in report.counts.items())
    text = "\n".join([*report.problems, f"{folder}: {counted}, {len(report.problems)} problems"])
    answer(vars(report), text, as_json)
    if report.problems:
        raise SystemExit(1)

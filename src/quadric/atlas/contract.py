"""The atlas folder, version 1: which files it has and what every column means.

    atlas.json               what the atlas is of; small, and read first
    forms.arrow              one row per form, best first: its place on the map and its statistics
    labels.arrow             in the same order: label, words, quadric, members
    pages/00000.arrow …      in the same order, ``shard_size`` forms each: what a form's page shows
    pairs/00000.arrow …      if there is a comparison: the partner of each form, on the same points
    controls.arrow           random forms and their points, chosen in the same way
    tokens/00000.arrow …     token ids of 65,536 rows of the store each, those that pages mention
    vocabulary.arrow         the text of each of these tokens
    pixels/00000.arrow …     in place of tokens, where rows are images: those that pages mention of
                             1,024 rows of the store each
    files.arrow              path, bytes and SHA-256 of every file above

All tables are uncompressed Arrow IPC files, so that a page reads its columns in place. A form is a
function f(p) = pᵀAp + b·p + c of the coordinates p along its r axes, plus a remainder that the
stored axes do not hold; on any three axes its slice is that of A, b and c. Coordinates and values
are 16-bit integers in units of ``scale / 32767``. The page's TypeScript (web/src/data) reads the
same tables and checks the same rules; tests/atlas/golden is common to both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow

FORMAT = "quadric-atlas"
VERSION = 1
MANIFEST = "atlas.json"
FORMS, LABELS, CONTROLS = "forms.arrow", "labels.arrow", "controls.arrow"
VOCABULARY, FILES = "vocabulary.arrow", "files.arrow"
PAGES, PAIRS, TOKENS, PIXELS = "pages", "pairs", "tokens", "pixels"

FULL = 32767
"""The integer that stands for ``scale``."""
ROWS_PER_TOKEN_FILE = 65_536
ROWS_PER_PIXEL_FILE = 1_024
AROUND = (8, 3)
"""Tokens before and after a row that are shown with it, within its context."""
MOST_AXES = 8
"""Axes of a form that have coordinates in its page."""
MOST_EIGENVALUES = 64
"""Eigenvalues of a form that its page lists."""

Modality = Literal["text", "image", "vector"]
"""What a row of the store is: a token in its text, an image, or just a vector."""

KINDS = ("latent", "composite", "group", "composed", "output")
"""``kind``: a product, a sum of products, a group of latents, a form put together from others, an
output of a bilinear layer."""
SHAPES = ("unscored", "blob", "clusters", "curved", "ring")
"""``shape``: what the evidence says of its points."""
AXIS_KINDS = ("eigenvector", "shared", "principal")
"""``axis_kind``: an eigenvector of the form; a direction that the members of a group share; or,
where a form has fewer than three, a principal direction of its points, along which it is flat."""
DRAWN = ("present", "random")
"""``drawn``: chosen because the form's subspace holds much of it, or without looking."""
CONTEXT_KINDS = ("most_positive", "most_negative", "near_zero", "random")
"""``kind`` of a context."""


@dataclass(frozen=True)
class Statistic:
    """A column of numbers in forms.arrow that the map can show, sort and filter by."""

    name: str
    """The column."""
    title: str
    """What a reader calls it."""
    definition: str
    """One sentence, with its formula in plain characters."""
    logarithmic: bool = False
    """Whether it is shown on a logarithmic scale."""


@dataclass(frozen=True)
class Measure:
    """A way in which forms can be neighbours."""

    name: str
    """gram, subspace or mixing."""
    title: str
    """What a reader calls it."""
    definition: str
    """One sentence, with its formula in plain characters."""


@dataclass(frozen=True)
class Comparison:
    """The autoencoder that pairs/ compares with."""

    title: str
    """What a reader calls it."""
    facts: dict[str, str] = field(default_factory=dict)
    """Its model and configuration."""


@dataclass(frozen=True)
class Manifest:
    """``atlas.json``."""

    title: str
    """What the page is headed with."""
    created: str
    """When, as an ISO date and time."""
    quadric_version: str
    """The version that wrote it."""
    modality: Modality
    """What a row is."""
    facts: dict[str, str]
    """Model, hook, text and configuration, in the order to show them."""
    forms: int
    """Rows of forms.arrow."""
    shard_size: int
    """Forms in one file of pages/ and pairs/; the last may have fewer."""
    rows: int
    """Rows of the store that points and contexts come from."""
    context_size: int
    """Rows of one context: row r is at position r mod context_size; 1 where there is no text."""
    statistics: list[Statistic]
    """Columns of forms.arrow, in the order to offer them."""
    colour: str
    """The statistic that colours the map at first."""
    size: str
    """The statistic that sizes its marks at first."""
    measures: list[Measure]
    """The ways in which pages list neighbours, in the order of their ``measure`` number."""
    controls: int = 0
    """Rows of controls.arrow; 0 without one."""
    comparison: Comparison | None = None
    """What pairs/ compares with; None without them."""
    image_shape: tuple[int, int, int] | None = None
    """Height, width and channels where rows are images."""
    pixel_range: tuple[float, float] | None = None
    """The values that bytes 0 and 255 of pixels/ stand for."""
    run: str | None = None
    """Where the run lay, relative to this folder; for the server's live features only."""
    format: str = FORMAT
    """Always quadric-atlas."""
    version: int = VERSION
    """Of this contract; a reader refuses a larger one."""


def shard(folder: str, number: int) -> str:
    """The path of a numbered table."""
    return f"{folder}/{number:05d}.arrow"


def forms_schema(statistics: list[str]) -> pyarrow.Schema:
    """forms.arrow: the map. Statistics are NaN where they are not known."""
    import pyarrow as pa

    return _schema(
        id=pa.uint32(),  # the latent's index, or a number from d_sae for a group
        kind=pa.uint8(),  # into KINDS
        shape=pa.uint8(),  # into SHAPES
        x=pa.int16(),  # on the map, −32767 … 32767
        y=pa.int16(),
        positive=pa.uint16(),  # eigenvalues of each sign
        negative=pa.uint16(),
        **{name: pa.float32() for name in statistics},
    )


def labels_schema() -> pyarrow.Schema:
    """labels.arrow: what can be searched."""
    import pyarrow as pa

    return _schema(
        label=pa.string(),  # its distinctive words; empty where there are none
        written_label=pa.string(),  # what a language model called it; empty if none was asked
        tokens=pa.list_(_item(pa.string())),  # the words or tokens it responds to
        quadric=pa.string(),  # the name of its level surface in the first three axes
        members=pa.list_(_item(pa.uint32())),  # the latents it sums; itself for a latent
        weights=pa.list_(_item(pa.float32())),  # their weights
    )


def _points() -> dict[str, Any]:
    """Columns of one form on n points and r axes; all that a slice needs."""
    import pyarrow as pa

    return {
        "spectrum": pa.list_(_item(pa.float32())),  # eigenvalues, the largest |λ| first
        "axes": pa.uint8(),  # r, at most MOST_AXES
        "axis_kind": pa.list_(_item(pa.uint8())),  # (r) into AXIS_KINDS
        "form": pa.list_(_item(pa.float32())),  # (r·r) A, symmetric, by rows
        "linear": pa.list_(_item(pa.float32())),  # (r) b
        "constant": pa.float32(),  # c
        "scale": pa.list_(_item(pa.float32())),  # (r) the coordinate that FULL stands for
        "value_scale": pa.float32(),  # the value that FULL stands for
        "remainder": pa.float32(),  # root mean square of f − (pᵀAp + b·p + c) over the points
        "coordinates": pa.list_(_item(pa.int16())),  # (r·n) axis by axis
        "value": pa.list_(_item(pa.int16())),  # (n) the form itself, on all its axes
    }


def pages_schema(*, images: bool = False) -> pyarrow.Schema:
    """pages/: one row per form; what its page shows. ``images`` adds its axes as pictures."""
    import pyarrow as pa

    context = pa.struct([
        _field("kind", pa.uint8()),  # into CONTEXT_KINDS
        _field("row", pa.uint32()),  # the row that responds
        _field("start", pa.uint32()),  # the first row of the window around it
        _field("value", pa.float32()),  # the form there
        _field("values", pa.list_(_item(pa.float32()))),  # on every row of the window
    ])  # fmt: skip
    neighbour = pa.struct([
        _field("measure", pa.uint8()),  # into the manifest's measures
        _field("id", pa.uint32()),
        _field("overlap", pa.float32()),
    ])  # fmt: skip
    score = pa.struct([
        _field("name", pa.string()),  # ring, dimension, clustering, …
        _field("value", pa.float32()),
        _field("null", pa.string()),  # one entry for each null it was compared with
        _field("mean", pa.float32()),  # of the null's draws
        _field("sd", pa.float32()),
        _field("z", pa.float32()),
        _field("p_value", pa.float32()),
        _field("draws", pa.uint32()),
    ])  # fmt: skip
    columns = {
        "id": pa.uint32(),
        **_points(),
        "row": pa.list_(_item(pa.uint32())),  # (n) the row of the store behind each point
        "drawn": pa.list_(_item(pa.uint8())),  # (n) into DRAWN
        "ring_plane": pa.list_(_item(pa.uint8())),  # two axes, or nothing
        "histogram_edges": pa.list_(_item(pa.float32())),  # of its values on a sample of rows
        "histogram_counts": pa.list_(_item(pa.uint32())),  # one fewer
        "contexts": pa.list_(_item(context)),
        "neighbours": pa.list_(_item(neighbour)),
        "scores": pa.list_(_item(score)),
    }
    if images:
        columns["images"] = pa.list_(_item(pa.int8()))  # (r·H·W·C) of image_scale/127
        columns["image_scale"] = pa.list_(_item(pa.float32()))  # (r)
    return _schema(**columns)


def pairs_schema() -> pyarrow.Schema:
    """pairs/: the partner of each form in the other autoencoder, on the form's own rows."""
    import pyarrow as pa

    return _schema(
        id=pa.uint32(),
        partner=pa.uint32(),  # its index there
        overlap=pa.float32(),  # cosine of the two forms
        label=pa.string(),  # of the partner; empty if unknown
        **_points(),
    )


def controls_schema() -> pyarrow.Schema:
    """controls.arrow: forms along random axes, and the points that are present there."""
    import pyarrow as pa

    return _schema(effective_rank=pa.float32(), **_points())


def tokens_schema(vocabulary: int) -> pyarrow.Schema:
    """tokens/: token ids in the order of the store."""
    import pyarrow as pa

    return _schema(token=pa.uint16() if vocabulary <= 1 << 16 else pa.uint32())


def vocabulary_schema() -> pyarrow.Schema:
    """vocabulary.arrow: the tokens that occur."""
    import pyarrow as pa

    return _schema(id=pa.uint32(), text=pa.string())


def pixels_schema(pixels: int) -> pyarrow.Schema:
    """pixels/: ``row`` is a row of the store, ascending; every image has H·W·C bytes."""
    import pyarrow as pa

    return _schema(row=pa.uint32(), pixels=pa.list_(_item(pa.uint8()), pixels))


def files_schema() -> pyarrow.Schema:
    """files.arrow: every other file of the folder but the page's own."""
    import pyarrow as pa

    return _schema(path=pa.string(), bytes=pa.uint64(), sha256=pa.string())


def _schema(**columns: pyarrow.DataType) -> pyarrow.Schema:
    import pyarrow as pa

    return pa.schema([_field(name, kind) for name, kind in columns.items()])


def _field(name: str, kind: pyarrow.DataType) -> pyarrow.Field:
    import pyarrow as pa

    return pa.field(name, kind, nullable=False)


def _item(kind: pyarrow.DataType) -> pyarrow.Field:
    return _field("item", kind)

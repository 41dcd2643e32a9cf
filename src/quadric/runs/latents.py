"""``latents.parquet``: what each latent's weights say, its label and the tokens it responds to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from quadric.activations.rows import Rows
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation.contexts import Contexts, FormReader, find_contexts
from quadric.manifolds.labels import Label, TokenShare, TokenStatistics
from quadric.manifolds.spectra import eigenvalues, summarise
from quadric.runs.responses import KINDS, ResponseReader, TopToken
from quadric.storage import replacing

FILE = "latents.parquet"


@dataclass(frozen=True)
class Latent:
    """One latent: its form's spectrum, its label and its responses."""

    id: int
    """Its index."""
    importance: float
    """Σλ², the squared Frobenius norm of its form."""
    effective_rank: float
    """(Σ|λ|)²/Σλ²."""
    top3_share: float
    """Share of Σ|λ| in the three largest |λ|."""
    positive: int
    """Eigenvalues above 10⁻⁶ of the largest |λ|."""
    negative: int
    """Eigenvalues below minus that."""
    eigenvalues: list[float]
    """All that can be nonzero, the largest |λ| first."""
    top: list[TopToken]
    """The strongest responses of either sign, strongest first."""
    mean_square: float | None = None
    """Mean of the latent's square over the rows searched; None without activations."""
    label: str = ""
    """Its distinctive words; empty when there are none, or no text is known."""
    label_place: str = "token"
    """Whether these words are the tokens it responds to, or stand before or after them."""
    words: list[TokenShare] = field(default_factory=list)
    """The distinctive words with their counts, lifts and shares of the latent's energy."""
    most_positive: list[TopToken] = field(default_factory=list)
    """The largest responses, largest first; fewer where fewer are positive."""
    most_negative: list[TopToken] = field(default_factory=list)
    """The most negative responses, lowest first."""
    near_zero: list[TopToken] = field(default_factory=list)
    """Responses near zero, from a sample of the rows."""
    random: list[TopToken] = field(default_factory=list)
    """Responses at random rows."""
    written_label: str | None = None
    """What a language model called it, when one was asked."""


def describe_latents(
    model: BilinearAutoencoder,
    store: Rows | None,
    tokenizer: Any,
    *,
    which: Int[Tensor, " chosen"] | None = None,
    top: int = 10,
    limit: int | None = None,
    drop_first: int = 1,
    labeller: Callable[[Latent], str] | None = None,
) -> list[Latent]:
    """Latents of an autoencoder, the most important first.

    Args:
        model: the autoencoder.
        store: activations to search for responses; none are listed when None.
        tokenizer: turns token ids into text; without it, or for a store that knows no tokens, a
            response is named by the place of its row and no latent has a label.
        which: the latents wanted; all when None.
        top: responses of each kind per latent.
        limit: leading rows of the store to search; all when None.
        drop_first: positions of a context left out, as in training.
        labeller: writes a label for a latent with responses, such as a
            :class:`quadric.integrations.Labeller`; nobody is asked when None.
    """
    chosen = range(model.d_sae) if which is None else which.tolist()
    values = eigenvalues(model).double()
    latents = [_by_weights(index, values[index]) for index in chosen]
    if store is not None and latents:
        forms = FormReader(model, None if which is None else model.tensor(chosen))
        reader = ResponseReader(model, store, tokenizer)
        counted = None
        if reader.cache is not None:
            counted = TokenStatistics(
                reader.cache, len(latents), limit=limit, drop_first=drop_first
            )
        visit = counted.add if counted else None
        found = find_contexts(forms, store, top, limit=limit, drop_first=drop_first, visit=visit)
        labels = counted.labels(tokenizer) if counted else [Label("", "token", [])] * len(latents)
        latents = [
            _by_data(latent, label, found, place, reader.read(latent.id, found, place, top))
            for place, (latent, label) in enumerate(zip(latents, labels, strict=True))
        ]
        if labeller is not None:
            latents = [replace(latent, written_label=labeller(latent)) for latent in latents]
    return sorted(latents, key=lambda latent: -latent.importance)


def write_latents(latents: list[Latent], path: Path) -> None:
    """Write the table as Parquet, atomically."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([_row(latent) for latent in latents])
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)


def read_labels(folder: Path) -> dict[int, str]:
    """The labels of a run's latents; none where it has not been analysed."""
    import pyarrow
    import pyarrow.parquet

    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        table = pyarrow.parquet.read_table(path, columns=["id", "label"])
    except (pyarrow.ArrowException, OSError) as error:
        raise QuadricError(f"cannot read {path}: {error}") from error
    return dict(zip(*(table[name].to_pylist() for name in ("id", "label")), strict=True))


def _by_weights(index: int, values: Tensor) -> Latent:
    """A latent as far as its weights describe it."""
    facts = summarise(values[None])
    return Latent(
        id=index,
        importance=facts.importance.item(),
        effective_rank=facts.effective_rank.item(),
        top3_share=facts.top3_share.item(),
        positive=int(facts.positive),
        negative=int(facts.negative),
        eigenvalues=values.tolist(),
        top=[],
    )


def _by_data(
    latent: Latent,
    label: Label,
    found: Contexts,
    place: int,
    shown: dict[str, list[TopToken]],
) -> Latent:
    """The same latent with its label and responses; ``place`` is its number in ``found``."""
    return replace(
        latent,
        mean_square=found.mean_square[place].item(),
        label=label.label,
        label_place=label.place,
        words=label.tokens,
        top=shown["top"],
        most_positive=shown["most_positive"],
        most_negative=shown["most_negative"],
        near_zero=shown["near_zero"],
        random=shown["random"],
    )


def _row(latent: Latent) -> dict[str, Any]:
    """A latent as a row of the table; ``asdict`` would copy every number of every window."""
    return {
        name: [vars(each) for each in value] if name in ("words", *KINDS) else value
        for name, value in vars(latent).items()
    }

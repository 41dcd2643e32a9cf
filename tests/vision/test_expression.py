"""Output directions of a classifier, and its tensor cut to few eigen-terms of each."""

from __future__ import annotations

import pytest
import torch

from quadric.errors import QuadricError
from quadric.forms import express, lift
from quadric.vision.data.images import Images
from quadric.vision.expression import cut_expression, output_directions
from tests.vision.builders import CLASSES, SHAPE, random_images, random_model

KINDS = ("classes", "differences", "both", "leading")


def images(count: int = 40) -> Images:
    pixels = random_images(count).float()
    labels = torch.arange(count) % len(CLASSES)
    return Images(pixels, labels, SHAPE, CLASSES)


def dense(tensor: object) -> torch.Tensor:
    """The m×d×d tensor, from its factors and nothing else."""
    plain = torch.einsum("mn,ni,nj->mij", tensor.out, tensor.left, tensor.right)
    return (plain + plain.mT) / 2


def dense_cut(model: torch.nn.Module, directions: torch.Tensor, k: int) -> torch.Tensor:
    """Σ_j Σ_{i≤k} λ_ji u⁺_j ⊗ v_ji ⊗ v_ji, by the definition."""
    whole = dense(model.tensor("hidden"))
    readout = torch.linalg.pinv(directions)
    total = torch.zeros_like(whole)
    for row, column in zip(directions, readout.T, strict=True):
        values, vectors = torch.linalg.eigh(torch.einsum("m,mij->ij", row, whole))
        kept = values.abs().argsort(descending=True)[:k]
        form = vectors[:, kept] @ values[kept].diag() @ vectors[:, kept].T
        total += column[:, None, None] * form
    return total


def test_differences_span_all_but_the_common_direction() -> None:
    tensor = random_model().tensor("hidden")
    differences = output_directions(tensor, "differences")
    assert differences.shape == (10, 5)
    assert torch.linalg.matrix_rank(differences) == 4
    assert torch.equal(differences.sum(dim=1), torch.zeros(10, dtype=torch.float64))
    assert torch.equal(differences.abs().sum(dim=1), torch.full((10,), 2, dtype=torch.float64))
    assert len({tuple(row) for row in differences.tolist()}) == 10
    both = output_directions(tensor, "both")
    assert torch.equal(both[:5], torch.eye(5, dtype=torch.float64))
    assert torch.equal(both[5:], differences)
    leading = output_directions(tensor, "leading", 2)
    assert torch.allclose(leading, tensor.hosvd().directions[:2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [{}, {"bias": True}, {"residual": True}])
def test_cuts_are_those_of_the_definition(kind: str, changes: dict[str, bool]) -> None:
    model = random_model(**changes)
    tensor = model.tensor("hidden")
    directions = output_directions(tensor, kind)
    shown, whole = images(), dense(tensor)
    cuts = cut_expression(model, express(tensor, directions), shown, [0, 1, 3, tensor.d])
    h = model.embed(shown.pixels.double())
    h = lift(h) if model.lifted else h
    for place, k in enumerate(cuts.kept):
        rebuilt = dense_cut(model, directions, k)
        error = (whole - rebuilt).norm() / whole.norm()
        assert float(cuts.error[place]) == pytest.approx(float(error), abs=1e-7)
        logits = torch.einsum("ni,mij,nj->nm", h, rebuilt, h)
        if k:
            accuracy = (logits.argmax(dim=1) == shown.labels).double().mean()
            assert float(cuts.accuracy[place]) == pytest.approx(float(accuracy))


@pytest.mark.parametrize("kind", ["classes", "differences", "both"])
def test_all_terms_classify_as_the_model_does(kind: str) -> None:
    # The direction that differences leave out adds the same number to every logit.
    model, shown = random_model(3), images(60)
    tensor = model.tensor("hidden")
    expression = express(tensor, output_directions(tensor, kind))
    cuts = cut_expression(model, expression, shown, [tensor.d])
    guessed = model(shown.pixels.double()).argmax(dim=1)
    assert float(cuts.accuracy[0]) == float((guessed == shown.labels).double().mean())
    assert (float(cuts.error[0]) < 1e-7) == (kind != "differences")


def test_a_repeated_direction_changes_nothing() -> None:
    model, shown = random_model(5), images()
    tensor = model.tensor("hidden")
    once = output_directions(tensor, "classes")
    twice = torch.cat([once, once[:2], once[:2]])
    kept = [1, 2, 4]
    first, second = (
        cut_expression(model, express(tensor, rows), shown, kept) for rows in (once, twice)
    )
    assert torch.allclose(first.error, second.error, atol=1e-10)
    assert torch.equal(first.accuracy, second.accuracy)


def test_the_error_is_that_of_the_algebra() -> None:
    model = random_model(2)
    tensor = model.tensor("hidden")
    expression = express(tensor, output_directions(tensor, "leading", 3))
    cuts = cut_expression(model, expression, images(), range(tensor.d + 1))
    for k, error in enumerate(cuts.error.tolist()):
        dropped = expression.truncate(k).error
        both = (dropped**2 + expression.outside() ** 2).sqrt() / tensor.norm()
        assert error == pytest.approx(float(both), abs=1e-7)


def test_what_does_not_fit_is_refused() -> None:
    model = random_model()
    tensor = model.tensor("hidden")
    expression = express(tensor, output_directions(tensor, "classes"))
    with pytest.raises(QuadricError, match=r"kept is \[8\], expected numbers in 0 to 7"):
        cut_expression(model, expression, images(), [8])
    with pytest.raises(QuadricError, match="belongs to another model"):
        cut_expression(random_model(d_embed=6), expression, images(), [1])
    with pytest.raises(QuadricError, match="did you mean 'classes'"):
        output_directions(tensor, "clases")
    with pytest.raises(QuadricError, match="rank is 6"):
        output_directions(tensor, "leading", 6)

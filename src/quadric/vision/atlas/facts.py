"""What an image classifier is and what its atlas shows, as short facts in words."""

from __future__ import annotations

from collections.abc import Sequence

from quadric.atlas.contract import Comparison
from quadric.vision.atlas.directions import Direction
from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import ImageData
from quadric.vision.files import Trained


def describe(trained: Trained, data: ImageData, shown: Sequence[Direction]) -> dict[str, str]:
    """Model, images, training, and how its forms are to be read."""
    return {
        **_of(trained),
        "Images": f"{len(data.train):,} to train on, {len(data.test):,} to test",
        "Forms": _counted(shown),
        "Axes": "orthonormal eigenvectors of the form over pixels, the leading ones of each sign; "
        "a coordinate is the dot product of the image with the picture of the axis",
        "Rows": f"the {len(data.test):,} test images",
    }


def describe_other(other: Trained) -> Comparison:
    """The classifier that an atlas is compared with."""
    matched = "the same combination of classes; the overlap is the cosine of the two forms over "
    matched += "pixels"
    return Comparison(other.path.resolve().name, {**_of(other), "Matched by": matched})


def _of(trained: Trained) -> dict[str, str]:
    recipe = trained.recipe
    known = {
        "Data": recipe.dataset,
        "Target": None if recipe.target is None else f"likeness to training image {recipe.target}",
        "Model": _parts(trained.model),
        "Terms": _terms(trained.model),
        "Trained": f"{recipe.fit.epochs} epochs, seed {recipe.fit.seed}",
        "Input noise": f"{recipe.augment.noise:g}" if recipe.augment.noise else None,
        "Test accuracy": f"{trained.test_accuracy:.2%}",
    }
    return {name: value for name, value in known.items() if value is not None}


def _parts(model: ImageClassifier) -> str:
    embed = "" if model.embed is None else f"embedded in {model.config.d_embed:,} dimensions, "
    return (
        f"{model.d_in:,} pixels, {embed}{model.config.d_hidden:,} products, "
        f"{len(model.classes)} logits"
    )


def _terms(model: ImageClassifier) -> str | None:
    """Why the forms have linear and constant parts, where they have them."""
    causes = [
        name
        for name, there in (
            ("biases", model.config.bias), ("a residual path", model.config.residual)
        )
        if there
    ]  # fmt: skip
    return f"quadratic, linear and constant, from {' and '.join(causes)}" if causes else None


def _counted(shown: Sequence[Direction]) -> str:
    """How many forms of each sort there are."""
    classes = sum(each.kind == "output" for each in shown)
    differences = sum(each.kind != "output" and each.accuracy is not None for each in shown)
    components = len(shown) - classes - differences
    parts = [f"{classes} classes"]
    if differences:
        parts.append(f"differences of the {differences} most confused pairs")
    parts.append(f"{components} components of the classes' tensor")
    return ", ".join(parts)

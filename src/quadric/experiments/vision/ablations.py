"""What each regulariser and augmentation does to eigenvectors, one at a time.

    quadric vision ablations MODEL… --label 5

Every model is compared with the one trained without any of them (arXiv 2410.08417, §4.1 with figure
4, and appendix B with figures 13 and 14) in four measures: test accuracy; the share of the top
eigenvector's energy in pixels that are dark in nearly all training images, which is overfitting;
its total variation, which is roughness; and the effective number of eigenvalues.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quadric.experiments.experiment import Measured
from quadric.experiments.vision.ablation_claims import compare
from quadric.experiments.vision.alike import check_alike
from quadric.experiments.vision.experiment import PAPER, VisionExperiment
from quadric.experiments.vision.figures import pixels
from quadric.experiments.vision.figures.ablations import draw
from quadric.experiments.vision.settings import QUICK, VisionSettings
from quadric.forms.spectrum import sign_fixed
from quadric.layers.layer import Space
from quadric.vision.config import FitConfig, Recipe
from quadric.vision.data.augment import AugmentConfig
from quadric.vision.files import Trained
from quadric.vision.gallery import eigen_gallery
from quadric.vision.overfit import dark_pixels, overfit_score, total_variation
from quadric.vision.sparsity import effective_count
from quadric.vision.spectra import class_index

STRENGTHS: dict[str, tuple[float, ...]] = {
    "noise": (0.2, 0.4, 0.6, 0.8),
    "salt_pepper": (0.08, 0.2),
    "perlin": (0.5, 1.0),
    "model_noise": (0.2, 0.8),
    "weight_decay": (0.0, 0.5),
    "dropout": (0.3, 0.6),
    "translate": (0.1, 0.25),
    "rotate": (16.0, 40.0),
    "blur": (0.41, 1.01),
}
"""What is tried of each technique, in the units of its configuration field; weight decay as a share
of the setting's. Translation by 0.25 is 7 of 28 pixels."""
ON_DIGITS: dict[str, float] = {
    "noise": 0.4, "salt_pepper": 0.2, "perlin": 1.0, "model_noise": 0.8, "weight_decay": 0.0,
    "dropout": 0.6, "translate": 0.25, "rotate": 40.0, "blur": 1.01,
}  # fmt: skip
"""The one strength tried on the digits, which are there for a quick look."""
SEEDS = 2
"""Seeds of each variant, except on the digits, where there is one."""
AUGMENTATIONS = ("noise", "salt_pepper", "perlin", "translate", "rotate", "blur")
PARTS = ("model_noise", "dropout")
CLASS = "5"
"""The class drawn by default: unlike a 0, a 5 changes when it is rotated."""


@dataclass(frozen=True)
class Options:
    """What to look at."""

    label: str | None = None
    """Class whose top eigenvector is drawn, by name or number; 5 by default, or the last class."""
    space: Space = "hidden"
    """Whose eigenvectors: hidden, as in the paper, or input for those orthonormal in pixels."""


def plan(settings: VisionSettings) -> list[Recipe]:
    """The model without any technique and with one at a time, for each strength and seed."""
    quick = settings.dataset == QUICK.dataset
    variants: list[tuple[str, float]] = []
    for name, strengths in STRENGTHS.items():
        variants += [(name, s) for s in ((ON_DIGITS[name],) if quick else strengths)]
    seeds = 1 if quick else min(SEEDS, settings.seeds)
    recipes = [
        _variant(settings, name, strength, seed)
        for name, strength in variants
        for seed in range(seeds)
    ]
    # How far seeds differ by themselves is seen at the reference, which has all of them.
    reference = [_variant(settings, "noise", 0.0, seed) for seed in range(settings.seeds)]
    return list(dict.fromkeys([*reference, *recipes]))


def _variant(settings: VisionSettings, name: str, strength: float, seed: int) -> Recipe:
    plain = AugmentConfig(noise=0.0)
    if name in AUGMENTATIONS:
        return settings.recipe(seed=seed, augment=replace(plain, **{name: strength}))
    if name == "weight_decay":
        decay = strength * settings.weight_decay
        return settings.recipe(seed=seed, augment=plain, weight_decay=decay)
    part: dict[str, Any] = {name: strength}
    return settings.recipe(seed=seed, augment=plain, **part)


def analyse(models: Sequence[Trained], options: Options) -> Measured:
    """The four measures of every model, and the pictures of one class.

    Raises:
        QuadricError: the models differ in more than what is ablated, or there is no such class.
    """
    varied = "augmentation, weight decay, dropout, model noise and seed"
    check_alike(models, _plain, varied)
    first = models[0]
    label = _label(first, options.label)
    decay = Counter(trained.recipe.fit.weight_decay for trained in models).most_common(1)[0][0]
    train = first.data().train
    dark = dark_pixels(train)
    entries = []
    for trained in models:
        found = eigen_gallery(trained.model, k=1, space=options.space)
        top = found.positive.images[:, 0]
        score = overfit_score(top, dark)
        entries.append(
            {
                "path": str(trained.path),
                "seed": trained.recipe.fit.seed,
                "used": used(trained.recipe, decay),
                "accuracy": trained.test_accuracy,
                "overfit": None if score is None else score.tolist(),
                "roughness": total_variation(top, train.shape).tolist(),
                "rank": effective_count(found.values.double()).tolist(),
                "image": pixels.rounded(sign_fixed(top[label : label + 1]))[0],
            }
        )
    return Measured(
        {
            "space": options.space,
            "dataset": first.recipe.dataset,
            "shape": list(train.shape),
            "label": first.model.classes[label],
            "weight_decay": decay,
            "dark_pixels": int(dark.sum()),
            "pixels": len(dark),
            "models": entries,
        }
    )


def used(recipe: Recipe, decay: float) -> dict[str, float]:
    """The techniques of a recipe with their strengths; empty for the reference.

    Args:
        recipe: of a model.
        decay: the weight decay that counts as usual.
    """
    strengths: Mapping[str, float] = {
        **{name: getattr(recipe.augment, name) for name in AUGMENTATIONS},
        **{name: getattr(recipe.classifier, name) for name in PARTS},
    }
    found = {name: strength for name, strength in strengths.items() if strength}
    if recipe.fit.weight_decay != decay:
        found["weight_decay"] = recipe.fit.weight_decay
    return found


def _plain(recipe: Recipe) -> Recipe:
    """A recipe without any technique."""
    parts: dict[str, Any] = dict.fromkeys(PARTS, 0.0)
    return replace(
        recipe,
        classifier=replace(recipe.classifier, **parts),
        fit=replace(recipe.fit, weight_decay=0.0, seed=FitConfig.seed),
        augment=AugmentConfig(),
    )


def _label(trained: Trained, given: str | None) -> int:
    classes = trained.model.classes
    if given is None:
        return classes.index(CLASS) if CLASS in classes else len(classes) - 1
    return class_index(trained.model, given)


EXPERIMENT = VisionExperiment(
    name="ablations",
    title="What each regulariser and augmentation does to eigenvectors",
    statement=(
        "Input noise ends the overfitting of eigenvectors to dark pixels; translation does not, "
        "but smooths them and raises the rank; blur smooths; weight decay lowers the rank; dropout "
        "and noise on activations do nothing."
    ),
    source=f"{PAPER}, figure 4 and appendix B",
    plan=plan,
    analyse=analyse,
    draw=draw,
    compare=compare,
    options=Options,
)

"""From what a user typed after ``quadric experiment`` to an experiment that runs.

Experiments with autoencoders take a model and a text, those on image classifiers and on bilinear
language models a data set; a flag that the one kind does not know is refused rather than ignored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadric.activations.config import DataConfig, HarvestConfig
from quadric.errors import QuadricError, nearest
from quadric.experiments import perform, registry
from quadric.experiments.experiment import Settings
from quadric.experiments.language import settings as language_settings
from quadric.experiments.language.settings import LanguageSettings
from quadric.experiments.table import TABLE
from quadric.experiments.vision.settings import FULL, QUICK, VisionSettings
from quadric.flags import chosen
from quadric.settings import fields

if TYPE_CHECKING:
    from rich.console import Console

    from quadric.experiments.language.experiment import LanguageExperiment
    from quadric.experiments.vision.experiment import VisionExperiment

VISION = "vision"
PREFIX = "vision-"
LANGUAGE = "lm"
LANGUAGE_PREFIX = "lm-"


def listing() -> list[dict[str, str]]:
    """Name, title, published statement and source of every experiment."""
    from quadric.experiments.language import registry as language
    from quadric.experiments.vision import registry as images

    return [
        *registry.listing(),
        *(_listed(PREFIX, experiment) for experiment in images.every()),
        *(_listed(LANGUAGE_PREFIX, experiment) for experiment in language.every()),
    ]


def run(
    name: str,
    values: Mapping[str, Any],
    out: Path,
    *,
    quick: bool,
    run: Path | None = None,
    console: Console | None = None,
) -> tuple[Any, str]:
    """Run an experiment, or all of a kind; what its file holds, and that as text.

    Raises:
        QuadricError: there is no such experiment, a flag does not apply to it, or it failed.
    """
    if name == LANGUAGE or name.startswith(LANGUAGE_PREFIX):
        return _language(name, values, out, quick=quick, run=run, console=console)
    if name != VISION and not name.startswith(PREFIX):
        if name not in registry.EXPERIMENTS:
            known = [*registry.EXPERIMENTS, VISION, LANGUAGE]
            raise QuadricError(
                f"no experiment {name!r}{nearest(name, known) or '; there are ' + ', '.join(known)}"
            )
        _check_flags(name, values, Settings, HarvestConfig, DataConfig)
        found = registry.find(name)
        request = perform.request_for(found, values, quick=quick, run=run, console=console)
        outcome = perform.perform(found, request, out, quick=quick)
        return outcome, perform.sentence(outcome, out)
    if run is not None:
        raise QuadricError(f"--run applies to manifolds, not to {name}")
    _check_flags(name, values, VisionSettings)
    settings = dataclasses.replace(QUICK if quick else FULL, **chosen(VisionSettings, values))
    from quadric.experiments.vision import registry as images
    from quadric.experiments.vision import suite

    if name != VISION:
        one = images.find(name.removeprefix(PREFIX))
        outcome = suite.perform(one, settings, out, quick=quick, console=console)
        return outcome, perform.sentence(outcome, out)
    outcomes = suite.suite(images.every(), settings, out, quick=quick, console=console)
    sentences = [
        perform.sentence(each, out / each["name"].removeprefix(PREFIX)) for each in outcomes
    ]
    return outcomes, "\n\n".join([*sentences, f"all figures: {out / TABLE}"])


def _language(
    name: str,
    values: Mapping[str, Any],
    out: Path,
    *,
    quick: bool,
    run: Path | None,
    console: Console | None,
) -> tuple[Any, str]:
    if run is not None:
        raise QuadricError(f"--run applies to manifolds, not to {name}")
    _check_flags(name, values, LanguageSettings)
    base = language_settings.QUICK if quick else language_settings.FULL
    settings = dataclasses.replace(base, **chosen(LanguageSettings, values))
    from quadric.experiments.language import registry as language
    from quadric.experiments.language import suite

    if name != LANGUAGE:
        one = language.find(name.removeprefix(LANGUAGE_PREFIX))
        _check_names(name, values, one.settings)
        outcome = suite.perform(one, settings, out, quick=quick, console=console)
        return outcome, perform.sentence(outcome, out)
    outcomes = suite.suite(language.every(), settings, out, quick=quick, console=console)
    sentences = [
        perform.sentence(each, out / each["name"].removeprefix(LANGUAGE_PREFIX))
        for each in outcomes
    ]
    return outcomes, "\n\n".join([*sentences, f"all figures: {out / TABLE}"])


def _listed(prefix: str, experiment: VisionExperiment | LanguageExperiment) -> dict[str, str]:
    return {
        "name": prefix + experiment.name,
        "title": experiment.title,
        "statement": experiment.statement,
        "source": experiment.source,
    }


def _check_flags(name: str, values: Mapping[str, Any], *configs: type) -> None:
    _check_names(name, values, {field.name for config in configs for field in fields(config)})


def _check_names(name: str, values: Mapping[str, Any], known: Container[str]) -> None:
    for key, value in values.items():
        if value is not None and key not in known:
            raise QuadricError(f"--{key.replace('_', '-')} does not apply to {name}")

"""Configuration reading is covered in tests/autoencoders/test_config.py; here its documentation."""

from __future__ import annotations

import pytest

from quadric.activations.config import DataConfig, HarvestConfig
from quadric.autoencoders.config import AutoencoderConfig
from quadric.flags import parse_assignments
from quadric.settings import fields
from quadric.training.config import TrainingConfig


@pytest.mark.parametrize("config", [AutoencoderConfig, TrainingConfig, HarvestConfig, DataConfig])
def test_every_field_says_what_it_is(config: type) -> None:
    described = fields(config)
    assert described and all(field.doc and not field.doc.endswith(" ") for field in described)
    assert len({field.doc for field in described}) == len(described)


def test_assignments_are_typed() -> None:
    name, values = parse_assignments(
        AutoencoderConfig, "a:d-sae=3,affine=no,bottleneck=none,density_weight=1"
    )
    assert name == "a"
    assert values == {"d_sae": 3, "affine": False, "bottleneck": None, "density_weight": 1.0}
    assert isinstance(values["density_weight"], float)

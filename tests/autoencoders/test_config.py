"""Configurations refuse what contradicts itself."""

from __future__ import annotations

import pytest

from quadric.autoencoders import AutoencoderConfig
from quadric.errors import QuadricError
from quadric.settings import fields, from_dict


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_sae": 0}, "d_sae is 0, expected a positive integer"),
        ({"d_in": -3}, "d_in is -3"),
        ({"block": 2}, "block does not apply to variant 'vanilla', only to composite"),
        ({"variant": "composite", "bottleneck": 2.0}, "bottleneck does not apply to variant"),
        ({"variant": "composite", "block": 0}, "block is 0"),
        ({"variant": "mixed", "d_sae": 5}, "8 rows exceed d_sae 5"),
        ({"density_weight": -0.1}, "density_weight is -0.1"),
        ({"density_warmup": -1}, "density_warmup is -1"),
    ],
)
def test_contradictions(changes: dict[str, object], message: str) -> None:
    with pytest.raises(QuadricError, match=message):
        AutoencoderConfig(**({"d_in": 4, "d_sae": 16} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"d_in": 4, "d_sae": 8, "vriant": "mixed"},
            "unknown key 'vriant'; did you mean 'variant'",
        ),
        ({"d_in": 4}, "missing key 'd_sae'"),
        ({"d_in": 4, "d_sae": 8.5}, "d_sae is 8.5, expected a int"),
        ({"d_in": 4, "d_sae": True}, "d_sae is True"),
        ({"d_in": 4, "d_sae": 8, "variant": "vanila"}, "did you mean 'vanilla'"),
        ({"d_in": 4, "d_sae": 8, "symmetric": 1}, "symmetric is 1, expected a bool"),
    ],
)
def test_strict_reading(values: dict[str, object], message: str) -> None:
    with pytest.raises(QuadricError, match=message):
        from_dict(AutoencoderConfig, values, "cfg.json")


def test_integers_are_good_floats_and_none_is_kept() -> None:
    config = from_dict(AutoencoderConfig, {"d_in": 4, "d_sae": 8, "density_weight": 1}, "x")
    assert config.density_weight == 1 and config.block is None


def test_every_field_is_documented() -> None:
    assert all(field.doc for field in fields(AutoencoderConfig))


def test_defaults_of_the_parts() -> None:
    composite = AutoencoderConfig(d_in=4, d_sae=8, variant="composite")
    assert composite.block == 4 and composite.factors == 32
    assert composite.replace(variant="vanilla").block is None
    mixed = AutoencoderConfig(d_in=4, d_sae=16, variant="mixed")
    assert mixed.bottleneck_rows == 8 and mixed.factors == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 3}, "k does not apply to variant 'vanilla', only to topk"),
        ({"variant": "composite", "k": 3}, "k does not apply to variant 'composite'"),
        ({"batch_topk": True}, "batch_topk does not apply to variant 'vanilla', only to topk"),
        ({"variant": "topk", "k": 17}, "k is 17, expected at most d_sae = 16"),
        ({"variant": "topk"}, "k is 64, expected at most d_sae = 16"),
        ({"variant": "topk", "k": 0}, "k is 0, expected a positive number"),
        ({"variant": "topk", "k": 3, "density_weight": 0.1}, "density_weight is 0.1, but the topk"),
        ({"variant": "topk", "k": 3, "density_weight": -0.1}, "density_weight is -0.1"),
        ({"variant": "topk", "k": 3, "block": 2}, "block does not apply to variant 'topk'"),
        ({"variant": "topk", "k": 3, "bottleneck": 1.0}, "bottleneck does not apply to variant"),
    ],
)
def test_contradictions_of_topk(changes: dict[str, object], message: str) -> None:
    with pytest.raises(QuadricError, match=message):
        AutoencoderConfig(**({"d_in": 4, "d_sae": 16} | changes))  # type: ignore[arg-type]


def test_topk_and_the_variants_around_it() -> None:
    plain = AutoencoderConfig(d_in=4, d_sae=160)
    assert (plain.density_weight, plain.penalty, plain.k) == (0.1, 0.1, None)
    topk = plain.replace(variant="topk", batch_topk=True)
    assert (topk.k, topk.density_weight, topk.penalty, topk.factors) == (64, 0.0, 0.0, 160)
    assert topk.replace(seed=2, k=5).batch_topk and topk.replace(k=5).k == 5
    assert topk.replace(variant="vanilla") == plain
    heavy = AutoencoderConfig(d_in=4, d_sae=160, variant="composite", density_weight=0.7)
    assert heavy.replace(variant="topk").density_weight == 0
    assert heavy.replace(variant="ordered").density_weight == 0.7
    assert topk.replace(variant="mixed", density_weight=0.7).penalty == 0.7
    again = from_dict(AutoencoderConfig, {"d_in": 4, "d_sae": 160, "density_weight": 0.0}, "x")
    assert again.density_weight == 0.0  # a weight of 0 is one, not the default
    with pytest.raises(QuadricError, match="k is 64, expected at most d_sae = 40"):
        plain.replace(variant="topk", d_sae=40)

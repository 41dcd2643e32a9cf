"""Groups of latents on a planted dictionary: circles' planes among unrelated latents."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.manifolds.overlap import overlaps
from quadric.manifolds.selection import (
    Group,
    agglomerate,
    group_space,
    group_spectrum,
    rows_with_small_participation,
)
from tests.autoencoders.test_identities import make
from tests.manifolds.test_spectra import dense

CIRCLES, PER_CIRCLE, SINGLES, D = 6, 5, 120, 48


def planted(noise: float) -> tuple[BilinearAutoencoder, list[Tensor], list[set[int]]]:
    """Products inside random planes (not orthogonal to each other), singles elsewhere, shuffled."""
    generator = torch.Generator().manual_seed(0)

    def gaussian(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    planes = [torch.linalg.qr(gaussian(D, 2)).Q for _ in range(CIRCLES)]
    sides = []
    single = torch.nn.functional.normalize(gaussian(SINGLES, D), dim=1)
    for _ in range(2):
        inside = [
            torch.nn.functional.normalize(gaussian(PER_CIRCLE, 2), dim=1) @ plane.T
            for plane in planes
        ]
        side = torch.cat([*inside, single])
        sides.append(side + noise * gaussian(*side.shape) / D**0.5)
    order = torch.randperm(len(side), generator=generator)
    config = AutoencoderConfig(d_in=D, d_sae=len(side))
    model = BilinearAutoencoder(config).double()
    scale = (gaussian(len(side), 1) / 2).exp()
    model.left.data, model.right.data = (scale * sides[0])[order], sides[1][order]
    place = order.argsort()
    members = [set(place[k * PER_CIRCLE : (k + 1) * PER_CIRCLE].tolist()) for k in range(CIRCLES)]
    return model, planes, members


def angle(axes: Tensor, plane: Tensor) -> float:
    """The largest principal angle between two axes and a plane, in degrees."""
    return math.degrees(math.acos(min(1.0, torch.linalg.svdvals(axes[:2] @ plane).min().item())))


def test_clean_circles_are_each_found_once_and_nothing_else() -> None:
    model, planes, members = planted(noise=0.0)
    groups = agglomerate(model, overlaps(model))
    assert {frozenset(group.members) for group in groups} == {frozenset(m) for m in members}
    for group in groups:
        plane = planes[members.index(set(group.members))]
        assert angle(group_space(model, group).vectors, plane) < 0.01
        assert len(group_space(model, group).values) == 2


def test_agglomeration_finds_more_circles_in_fewer_groups_than_the_published_rows() -> None:
    model, planes, _ = planted(noise=0.2)
    graphs = overlaps(model)
    ours, theirs = agglomerate(model, graphs), rows_with_small_participation(model, graphs)
    our_angles = Tensor(
        [[angle(group_space(model, g, 2).vectors, plane) for plane in planes] for g in ours]
    )
    their_angles = Tensor(
        [[angle(group_spectrum(model, g, 2).vectors, plane) for plane in planes] for g in theirs]
    )
    assert (our_angles.amin(0) < 10).sum() >= (their_angles.amin(0) < 10).sum()
    assert our_angles.amin(0).median() < their_angles.amin(0).median()
    assert ((our_angles < 15).sum(0) <= 1).all()  # once each
    assert (their_angles < 15).sum(0).float().mean() > 2
    assert (our_angles.amin(1) < 30).all() and not (their_angles.amin(1) < 30).all()  # none false
    assert len(ours) == CIRCLES < len(theirs) / 2
    taken = [latent for group in ours for latent in group.members]
    assert len(taken) == len(set(taken))


def test_a_published_row_is_the_row_of_the_gram_and_of_the_mixing() -> None:
    for variant in ("vanilla", "mixed"):
        model = make(variant, True, False)
        groups = rows_with_small_participation(model, overlaps(model, 4), size=5)
        assert groups
        forms = dense(model, "latents")
        norms = forms.flatten(1).norm(dim=1)
        if variant == "vanilla":
            rows = torch.einsum("iab,jab->ij", forms, forms) / norms**2
        else:
            weight = model.mixing.weight.detach()
            rows = weight.T @ weight
        for group in groups:
            row = rows[group.members[0]]
            found = torch.tensor(group.weights, dtype=torch.float64)
            expected = row[list(group.members)]
            torch.testing.assert_close(found / found[0], expected / expected[0], rtol=1e-8, atol=0)
            assert 1.1 < group.participation < 16 and len(group.members) == 5
        ratios = [group.participation for group in groups]
        assert ratios == sorted(ratios)


@pytest.mark.parametrize("variant", ["vanilla", "composite"])
def test_a_group_is_the_weighted_sum_and_its_space_the_pooled_squares(variant: str) -> None:
    model = make(variant, True, True)
    group = Group(members=(4, 0, 9), weights=(0.5, -2.0, 1.0), participation=2.0)
    forms = dense(model, "latents")[[4, 0, 9]]
    whole = torch.einsum("j,jab->ab", torch.tensor(group.weights).double(), forms)
    pooled = sum(form @ form / form.square().sum() for form in forms)
    for matrix, found in (
        (whole, group_spectrum(model, group, 6)),
        (pooled, group_space(model, group, 6)),
    ):
        rebuilt = torch.einsum("k,ka,kb->ab", found.values, found.vectors, found.vectors)
        torch.testing.assert_close(rebuilt, matrix, rtol=1e-8, atol=1e-8)


def test_mistakes_are_refused() -> None:
    model, graphs = make("vanilla", True, False), overlaps(make("composite", True, False), 3)
    with pytest.raises(QuadricError, match="hold 3 neighbours a latent, 9 are needed"):
        rows_with_small_participation(model, graphs)
    small = BilinearAutoencoder(AutoencoderConfig(d_in=5, d_sae=4)).double()
    with pytest.raises(QuadricError, match="of 11 latents, the autoencoder has 4"):
        agglomerate(small, graphs)
    with pytest.raises(QuadricError, match="expected some of 0 to 10"):
        group_space(model, Group((3, 11), (1.0, 1.0), 2.0))
    with pytest.raises(QuadricError, match="k is 6"):
        group_space(model, Group((3,), (1.0,), 2.0), 6)

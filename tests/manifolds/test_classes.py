"""Token classes and separation against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from quadric.manifolds import classes


def test_the_class_is_the_best_of_all_sets_of_types() -> None:
    generator = np.random.default_rng(0)
    corpus = np.array([40, 7, 90, 12, 5, 60])
    firing = np.repeat([0, 1, 2, 3, 4], [4, 6, 30, 11, 2])
    generator.shuffle(firing)
    counts = np.bincount(firing, minlength=6)
    best = 0.0
    eligible = [t for t in range(6) if counts[t] >= classes.FEWEST_FIRINGS]
    for size in range(1, len(eligible) + 1):
        for chosen in itertools.combinations(eligible, size):
            hit = counts[list(chosen)].sum()
            best = max(best, 2 * hit / (len(firing) + corpus[list(chosen)].sum()))
    found = classes.token_class(firing, corpus)
    assert found.f1 == pytest.approx(best)
    assert set(found.types) == {1, 3, 2}
    shares = np.array([6, 11, 30]) / 47
    assert found.words == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_a_closed_class_scores_one_and_rare_types_none() -> None:
    perfect = classes.token_class(np.repeat([3, 5], 10), np.bincount(np.repeat([3, 5, 7], 10)))
    assert perfect.f1 == 1 and perfect.words == pytest.approx(2)
    nothing = classes.token_class(np.array([1, 2, 3]), np.ones(4, int))
    assert nothing.f1 == 0 and nothing.words == 0 and not len(nothing.types)


def test_separation_is_the_share_of_variance_between_types() -> None:
    generator = np.random.default_rng(1)
    ids = generator.integers(5, size=60) * 3
    points = generator.normal(size=(60, 3)) + ids[:, None] * [0.2, 0, 1]
    total = points.var(0).sum()
    within = sum(points[ids == each].var(0).sum() * (ids == each).mean() for each in np.unique(ids))
    assert classes.separation(points, ids) == pytest.approx(1 - within / total)
    assert classes.separation(np.ones((4, 3)), np.arange(4)) == 0

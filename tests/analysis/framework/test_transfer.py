"""Similarities and α of one collection, carried to others."""

from __future__ import annotations

import json
import math
from itertools import combinations

import numpy as np
import pytest
import scipy.stats

from analysis import PairFigures, consistency, correlate, transfer_alpha, transfer_similarities, tune_alpha
from retriever.errors import InputError

PAIRS = tuple(combinations(["a", "b", "c", "d", "e", "f"], 2))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def figures(seed: int, pairs: tuple = PAIRS) -> PairFigures:
    similarity, gap, gain = np.random.default_rng(seed).random((3, len(pairs)))
    return PairFigures(
        measure="cka", weighting="equal", pairs=pairs, similarity=similarity, gap=gap, gain=gain
    )


def similarities(seed: int, pairs: tuple = PAIRS) -> dict[tuple[str, str], float]:
    found = figures(seed, pairs)
    return dict(zip(found.pairs, found.similarity.tolist(), strict=True))


def test_consistency_is_the_correlation_over_the_pairs_that_both_have() -> None:
    # the second knows fewer models, in another order, and one that the first does not know
    second = {(b, a): value for (a, b), value in similarities(1, PAIRS[3:]).items()} | {("a", "z"): 0.5}
    found = consistency({"first": similarities(0), "second": second}, measure="cka", rng=rng())
    expected = scipy.stats.pearsonr(
        list(similarities(0).values())[3:], list(similarities(1, PAIRS[3:]).values())
    ).statistic
    assert found.rho("first", "second") == found.rho("second", "first") == pytest.approx(expected)
    assert found.rho("first", "first") == 1
    assert found.agreements[0].n_pairs == 12
    interval = found.agreements[0].interval
    assert interval is not None
    assert interval.low < expected < interval.high


def test_consistency_has_every_two_collections_once_and_a_mean() -> None:
    given = {name: similarities(seed) for seed, name in enumerate("xyz")}
    found = consistency(given, measure="cka", rng=rng(), n_resamples=50)
    assert [agreement.collections for agreement in found.agreements] == [("x", "y"), ("x", "z"), ("y", "z")]
    assert found.mean == pytest.approx(np.mean([agreement.rho for agreement in found.agreements]))
    with pytest.raises(InputError, match="expected two of x, y, z, got x and w"):
        found.rho("x", "w")


def test_collections_without_three_common_pairs_are_undefined_not_inconsistent() -> None:
    given = {"x": similarities(0), "y": similarities(1, PAIRS[:2]), "z": {}}
    found = consistency(given, measure="cka", rng=rng())
    assert all(math.isnan(agreement.rho) for agreement in found.agreements)
    assert math.isnan(found.mean)
    shown = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [agreement["pairs"] for agreement in shown["agreements"]] == [2, 0, 0]
    assert shown["mean"] is None


def test_transfer_takes_similarities_of_the_source_and_the_rest_of_the_target() -> None:
    # the target lacks a pair of the source and names the others the other way round
    target = figures(1, tuple((b, a) for a, b in PAIRS[1:]))
    found = transfer_similarities(
        {"source": figures(0), "target": target}, source="source", alpha=0.7, rng=rng()
    )
    adjusted = 0.7 * (1 - figures(0).similarity[1:]) + 0.3 * (1 - target.gap)
    assert list(found.by_collection) == ["target"]
    correlations = found.by_collection["target"]
    assert correlations.overall == pytest.approx(scipy.stats.pearsonr(adjusted, target.gain).statistic)
    assert correlations.n_pairs == 14
    assert correlations.interval is not None
    json.dumps(found.to_json(), allow_nan=False)


def test_transfer_to_a_collection_of_other_models_is_undefined() -> None:
    strangers = figures(1, (("p", "q"), ("q", "r"), ("p", "r")))
    found = transfer_similarities({"x": figures(0), "y": strangers}, source="x", alpha=0.5, rng=rng())
    assert math.isnan(found.by_collection["y"].overall)
    assert found.by_collection["y"].n_pairs == 0


def test_a_carried_alpha_is_that_tuned_on_the_source() -> None:
    given = {name: figures(seed) for seed, name in enumerate("xyz")}
    found = transfer_alpha(given, source="y", rng=rng(), n_resamples=50)
    assert found.alpha == tune_alpha(given["y"]).best
    assert list(found.by_collection) == ["x", "z"]
    expected = correlate(given["x"], alpha=found.alpha, rng=rng())
    assert found.by_collection["x"].overall == expected.overall
    assert found.by_collection["x"].by_model == expected.by_model


def test_sources_that_cannot_be_carried_from_are_refused() -> None:
    given = {"x": figures(0), "y": figures(1, PAIRS[:2])}
    with pytest.raises(InputError, match="source: expected one of x, y, got 'z'"):
        transfer_similarities(given, source="z", alpha=0.5, rng=rng())
    with pytest.raises(InputError, match=r"source: expected a collection with at least three pairs.*got 'y'"):
        transfer_alpha(given, source="y", rng=rng())

"""What evidence lets expect, what is learned of it on judged collections, and how judgements overrule it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.selection.deciding.prediction import (
    JudgedCollection,
    KindOfGain,
    Prior,
    choose,
    corrected,
    expect,
    fit_prior,
    gap_of,
    kinds_of,
    known_prior,
)
from analysis.selection.record import Option
from analysis.selection.scoring.candidates import enumerate_options
from retriever.errors import InputError

KEYS = ("A", "B", "C")
SPREADS = {"A": 0.1, "B": 0.05, "C": 0.2, "bm25": 0.5}
QUALITY = {"A": 0.8, "B": 0.72, "C": 0.4, "bm25": 0.5}
OPTIONS = enumerate_options(KEYS, SPREADS, quality=QUALITY, lexical=True)
LABELS = [option.label for option in OPTIONS]

FACTOR, BASE, SLOPE, LEXICAL_GAIN = 0.9, 0.05, -0.2, 0.1


def truth(option: Option, quality: dict[str, float]) -> float:
    """A world in which every kind of combination gains alike."""
    if not option.models:
        return 1.5 * FACTOR * quality["bm25"]
    value = FACTOR * max(quality[model] for model in option.models)
    if len(option.models) > 1:
        value *= 1 + BASE + SLOPE * gap_of(option, quality)
    return value * (1 + LEXICAL_GAIN if "bm25" in option.legs else 1)


def collections(n: int = 6) -> list[JudgedCollection]:
    rng = np.random.default_rng(4)
    found = []
    for name in range(n):
        quality = {key: float(rng.uniform(0.3, 0.7)) for key in (*KEYS, "bm25")}
        options = enumerate_options(KEYS, SPREADS, quality=quality, lexical=True)
        measured = [(option, truth(option, quality)) for option in options]
        found.append(JudgedCollection(name=str(name), quality=quality, measured=measured))
    return found


def test_a_world_of_lines_is_learned_from_a_few_collections() -> None:
    prior = fit_prior(collections())
    assert prior.factor == pytest.approx(FACTOR)
    assert prior.factor_deviation == pytest.approx(0, abs=1e-9)
    assert prior.model_deviation == pytest.approx(0, abs=1e-9)
    assert prior.lexical_factor == pytest.approx(1.5 * FACTOR)
    for how in ("equal", "calibrated", "quality", "rrf", "dbsf"):
        gain = prior.gains[f"2 {how}"]
        assert gain.base == pytest.approx(BASE, abs=0.01)
        assert SLOPE - 0.01 < gain.slope < SLOPE / 2  # drawn towards 0
    assert prior.gains["bm25 calibrated"].base == pytest.approx(LEXICAL_GAIN)


def test_a_partner_that_is_far_behind_never_helps_more() -> None:
    upside_down = [
        JudgedCollection(
            name=one.name,
            quality=one.quality,
            measured=[
                (option, value * (1 + gap_of(option, one.quality) if len(option.models) > 1 else 1))
                for option, value in one.measured
            ],
        )
        for one in collections()
    ]
    prior = fit_prior(upside_down)
    assert all(gain.slope < 0 for kind, gain in prior.gains.items() if kind.startswith("2"))


def test_two_collections_are_too_few_to_learn_from() -> None:
    with pytest.raises(InputError, match="at least 3"):
        fit_prior(collections(2))


def test_what_is_shipped_was_fitted_and_is_read_as_it_was_written() -> None:
    prior = known_prior()
    assert len(prior.collections) >= 5
    assert {"2 equal", "2 calibrated", "2 quality", "bm25 calibrated"} <= set(prior.gains)
    assert Prior.from_json(json.loads(json.dumps(prior.to_json()))) == prior


def test_the_two_with_the_best_evidence_are_expected_to_be_the_best_pair() -> None:
    expected = expect(OPTIONS, QUALITY)
    pairs = [i for i, option in enumerate(OPTIONS) if kinds_of(option) == ("2 quality",)]
    best = max(pairs, key=lambda i: expected.mean[i])
    assert OPTIONS[best].models == ("A", "B")
    singles = [i for i, option in enumerate(OPTIONS) if option.is_single]
    order = sorted(singles, key=lambda i: -expected.mean[i])
    assert [OPTIONS[i].name for i in order] == ["A", "B", "C"]


def test_a_single_model_is_expected_to_have_what_the_factor_says() -> None:
    prior = fit_prior(collections())
    expected = expect(OPTIONS, QUALITY, prior)
    for row, option in enumerate(OPTIONS):
        assert expected.mean[row] == pytest.approx(min(1.0, truth(option, QUALITY)), abs=0.03)


def test_a_leg_without_evidence_is_named() -> None:
    with pytest.raises(InputError, match="none of C"):
        expect(OPTIONS, {"A": 0.5, "B": 0.5, "C": 0.0, "bm25": 0.1})


@given(st.lists(st.floats(0.05, 1.0), min_size=4, max_size=4))
def test_the_covariance_is_one_and_gains_are_surer_than_levels(values: list[float]) -> None:
    quality = dict(zip((*KEYS, "bm25"), values, strict=True))
    expected = expect(OPTIONS, quality)
    assert np.allclose(expected.covariance, expected.covariance.T)
    assert np.linalg.eigvalsh(expected.covariance).min() > -1e-9
    assert np.all((expected.mean >= 0) & (expected.mean <= 1))
    first = LABELS.index("A+B (equal)")
    gain, deviation = expected.gain(first, LABELS.index("A+B (calibrated)"))
    assert gain == pytest.approx(expected.mean[first] - expected.mean[LABELS.index("A+B (calibrated)")])
    assert deviation < expected.deviation[first]


def noisy(means: np.ndarray, n_queries: int, *, seed: int = 0, spread: float = 0.3) -> np.ndarray:
    """NDCG@10 of queries that are hard or easy for all options alike."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(scale=spread, size=n_queries)
    own = rng.normal(scale=spread / 3, size=(len(means), n_queries))
    return np.asarray(means[:, None] + hard + own)


def test_many_judgements_overrule_what_was_expected() -> None:
    expected = expect(OPTIONS, QUALITY)
    means = expected.mean[::-1].copy()
    ndcg = noisy(means, 20_000)
    assert corrected(expected, ndcg).mean == pytest.approx(ndcg.mean(axis=1), abs=2e-3)
    assert choose(expected, ndcg) == int(ndcg.mean(axis=1).argmax())


def test_a_few_judgements_that_agree_make_it_surer() -> None:
    expected = expect(OPTIONS, QUALITY)
    found = corrected(expected, noisy(expected.mean, 30))
    assert np.all(found.deviation < expected.deviation)


def test_a_corpus_unlike_all_others_is_not_held_to_them() -> None:
    expected = expect(OPTIONS, QUALITY)
    row = LABELS.index("bm25")
    means = expected.mean.copy()
    means[row] += 6 * expected.deviation[row]
    ndcg = noisy(means, 20, spread=0.05)
    assert corrected(expected, ndcg).mean[row] == pytest.approx(ndcg[row].mean(), abs=0.05)


def test_noise_does_not_change_the_choice_and_a_clear_difference_does() -> None:
    expected = expect(OPTIONS, QUALITY)
    first = choose(expected)
    kept = sum(choose(expected, noisy(expected.mean, 20, seed=seed)) == first for seed in range(40))
    assert kept > 20  # of forty; by the measured means alone it is fewer than ten
    plain = sum(int(noisy(expected.mean, 20, seed=seed).mean(axis=1).argmax()) == first for seed in range(40))
    assert plain < kept
    other = LABELS.index("C")
    means = expected.mean.copy()
    means[other] = means.max() + 0.3
    assert choose(expected, noisy(means, 20)) == other


def test_an_expectation_that_rests_on_little_is_not_defended() -> None:
    expected = expect(OPTIONS, QUALITY)
    first = choose(expected)
    changed = 0
    for seed in range(20):
        ndcg = noisy(expected.mean, 20, seed=seed)
        chosen = choose(expected, ndcg, clear=0.0)
        changed += chosen != first
        assert ndcg[chosen].mean() >= ndcg[first].mean()
        assert corrected(expected, ndcg).mean[chosen] >= corrected(expected, ndcg).mean[first]
    assert changed > 5


def test_an_expectation_of_some_options_is_that_of_all_cut() -> None:
    expected = expect(OPTIONS, QUALITY)
    part = expected.of([3, 1])
    assert part.mean.tolist() == expected.mean[[3, 1]].tolist()
    assert part.gain(0, 1) == expected.gain(3, 1)


def test_a_kind_that_was_never_measured_is_taken_for_a_pair_of_its_weights() -> None:
    triple = Option(weights={"A": 0.4, "B": 0.3, "C": 0.3}, weighting="calibrated")
    prior = Prior(
        factor=1.0,
        factor_deviation=0.1,
        model_deviation=0.1,
        lexical_factor=1.0,
        lexical_deviation=0.1,
        gains={"2 calibrated": KindOfGain(base=0.1, slope=0.0, deviation=0.05)},
        collections=("x",),
    )
    assert expect([triple], QUALITY, prior).mean[0] == pytest.approx(0.8 * 1.1)

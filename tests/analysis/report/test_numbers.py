"""Every number of the page is one of the results, or follows from them: read back, computed again."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from bs4 import BeautifulSoup, Tag
from scipy.stats import pearsonr

from analysis import bootstrap_mean, decide
from analysis.evaluation import Candidate, Evaluation, PairSimilarity
from analysis.report import report_page
from analysis.results.record import Results, Settings

KEYS = ("minilm", "bge", "e5", "gte", "arctic")
SETTINGS = Settings(seed=7, confidence=0.9, ks=(5, 20))


@pytest.fixture
def results(made_up: Callable[..., Results]) -> Results:
    return made_up(KEYS, ("first",), ks=(5, 20), settings=SETTINGS, effect=0.01)


@pytest.fixture
def evaluation(results: Results) -> Evaluation:
    return results.collections[0].evaluation


@pytest.fixture
def page(results: Results) -> BeautifulSoup:
    return BeautifulSoup(report_page(results), "html.parser")


def rows_of(page: BeautifulSoup, caption: str) -> list[list[str]]:
    """Return the texts of the cells below a caption, which is given by its id."""
    table = page.find(id=caption).find_parent("table")
    return [
        [cell.get_text(" ", strip=True) for cell in row.find_all(["th", "td"])]
        for row in table.find("tbody").find_all("tr")
    ]


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"[-+]?\d[\d,]*\.?\d*", cell.replace("−", "-"))]


def shown(*values: float, digits: int = 3) -> list[float]:
    return [float(f"{value:.{digits}f}") for value in values]


def models(cell: str) -> tuple[str, ...]:
    return tuple(word for word in cell.split() if word in KEYS)


def gap(evaluation: Evaluation, pair: tuple[str, str]) -> float:
    means = [single.mean for single in evaluation.singles]
    a, b = (evaluation.single(key).mean for key in pair)
    return abs(a - b) / (max(means) - min(means))


def adjusted(evaluation: Evaluation, similarity: PairSimilarity, alpha: float, value: float) -> float:
    """Eq. 6 with Eqs. 4 and 5 put in."""
    return alpha * (1 - value) + (1 - alpha) * (1 - gap(evaluation, similarity.models))


def test_the_pair_table_says_what_was_measured_of_every_candidate(
    page: BeautifulSoup, evaluation: Evaluation
) -> None:
    verdict = decide(evaluation, rng=np.random.default_rng(7), confidence=0.9)
    gains = {(gain.candidate.models, gain.candidate.weighting): gain for gain in verdict.gains}
    alike = {similarity.models: similarity for similarity in evaluation.similarities}
    rows = rows_of(page, "c1-pairs")
    assert len(rows) == len(evaluation.pairs)
    for pair, weights, ndcg, over_half, over_best, p_value, jaccard, ranks, cka, ad in rows:
        gain = gains.pop((models(pair), weights.split()[0]))
        one = gain.candidate
        first, second = one.models
        mean = bootstrap_mean(one.ndcg, rng=np.random.default_rng(7), confidence=0.9)
        similarity = alike[first, second]
        assert numbers(weights) == shown(*one.weights, digits=2)
        assert numbers(ndcg) == shown(mean.estimate, mean.low, mean.high)
        halves = [evaluation.single(key).ndcg.mean() for key in one.models]
        assert numbers(over_half) == shown(one.ndcg.mean() - max(halves))
        assert numbers(over_best) == shown(gain.gain.estimate, gain.gain.low, gain.gain.high)
        assert p_value == ("<0.001" if gain.adjusted_p_value < 0.001 else f"{gain.adjusted_p_value:.3f}")
        assert numbers(jaccard) == shown(similarity.overlaps[0].jaccard.mean())
        assert numbers(ranks) == shown(similarity.overlaps[0].rank_similarity.mean())
        assert numbers(cka) == shown(similarity.cka)
        assert numbers(ad) == shown(adjusted(evaluation, similarity, 0.7, similarity.jaccard))
    assert not gains
    best_first = [numbers(row[2])[0] for row in rows]
    assert best_first == sorted(best_first, reverse=True)


def test_the_table_of_singles_has_every_measure(page: BeautifulSoup, evaluation: Evaluation) -> None:
    rows = rows_of(page, "c1-singles")
    assert {models(row[0])[0] for row in rows} == set(KEYS)
    for row in rows:
        single = evaluation.single(models(row[0])[0])
        mean = bootstrap_mean(single.ndcg, rng=np.random.default_rng(7), confidence=0.9)
        assert numbers(row[1]) == shown(mean.estimate, mean.low, mean.high)
        assert [numbers(cell)[0] for cell in row[2:]] == shown(*list(single.means.values())[1:])


def test_similarities_stand_at_every_cutoff(page: BeautifulSoup, evaluation: Evaluation) -> None:
    for row, similarity in zip(rows_of(page, "c1-alike"), evaluation.similarities, strict=True):
        expected = [similarity.cka, similarity.cka_debiased]
        for overlap in similarity.overlaps:
            tau = overlap.kendall_tau
            expected += [
                overlap.jaccard.mean(),
                overlap.rank_similarity.mean(),
                overlap.rank_biased_overlap.mean(),
                tau[~np.isnan(tau)].mean(),
            ]
        expected += [
            adjusted(evaluation, similarity, 0.7, similarity.jaccard),
            adjusted(evaluation, similarity, 0.5, similarity.cka),
            adjusted(evaluation, similarity, 0.8, similarity.rank_similarity),
        ]
        assert models(row[0]) == similarity.models
        assert [numbers(cell)[0] for cell in row[1:]] == shown(*expected)


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (1, lambda similarity: similarity.jaccard),
        (2, lambda similarity: similarity.rank_similarity),
        (3, lambda similarity: similarity.cka),
    ],
)
def test_heat_maps_are_symmetric_and_print_their_values(
    page: BeautifulSoup,
    evaluation: Evaluation,
    position: int,
    value: Callable[[PairSimilarity], float],
) -> None:
    rows = rows_of(page, f"c1-map-{position}")
    values = {frozenset(similarity.models): value(similarity) for similarity in evaluation.similarities}
    for key, row in zip(KEYS, rows, strict=True):
        assert models(row[0]) == (key,)
        for other, cell in zip(KEYS, row[1:], strict=True):
            assert cell == ("" if key == other else f"{values[frozenset((key, other))]:.2f}")


def test_correlations_are_those_of_gain_and_adjusted_dissimilarity(
    page: BeautifulSoup, evaluation: Evaluation
) -> None:
    similarities = evaluation.similarities
    measures: dict[str, tuple[float, list[float]]] = {
        "Jaccard": (0.7, [similarity.jaccard for similarity in similarities]),
        "CKA": (0.5, [similarity.cka for similarity in similarities]),
        "RankSim": (0.8, [similarity.rank_similarity for similarity in similarities]),
        "Baseline": (0.0, [0.0] * len(similarities)),
    }
    for name, alpha, *cells in rows_of(page, "c1-rho"):
        expected_alpha, values = measures.pop(name)
        assert float(alpha) == expected_alpha
        x = np.array(
            [
                adjusted(evaluation, similarity, expected_alpha, value)
                for similarity, value in zip(similarities, values, strict=True)
            ]
        )
        for weighting, overall, mean in (("equal", *cells[:2]), ("calibrated", *cells[2:])):
            y = np.array([gain_of(evaluation, pair.models, weighting) for pair in similarities])
            by_model = [
                pearsonr(x[own], y[own]).statistic
                for key in KEYS
                if (own := [i for i, pair in enumerate(similarities) if key in pair.models])
            ]
            assert numbers(overall)[0] == pytest.approx(pearsonr(x, y).statistic, abs=0.0005)
            assert numbers(mean)[0] == pytest.approx(np.mean(by_model), abs=0.0005)
    assert not measures


def gain_of(evaluation: Evaluation, models: tuple[str, str], weighting: str) -> float:
    [one] = [pair for pair in evaluation.pairs if (pair.models, pair.weighting) == (models, weighting)]
    return evaluation.improvement(one)


def best_of(evaluation: Evaluation) -> Candidate:
    verdict = decide(evaluation, rng=np.random.default_rng(7), confidence=0.9)
    if verdict.decision == "deploy":
        return verdict.serve
    return max(evaluation.pairs, key=lambda pair: pair.mean)


def test_the_largest_wins_and_losses_come_with_text_and_both_values(
    page: BeautifulSoup, results: Results, evaluation: Evaluation
) -> None:
    texts = results.collections[0].query_texts
    pair, single = best_of(evaluation), evaluation.best_single
    gains = dict(zip(evaluation.query_ids, (pair.ndcg - single.ndcg).tolist(), strict=True))
    both = dict(zip(evaluation.query_ids, zip(single.ndcg, pair.ndcg, strict=True), strict=True))
    wins = sorted((query for query in gains if gains[query] > 0), key=lambda query: -gains[query])
    losses = sorted((query for query in gains if gains[query] < 0), key=lambda query: gains[query])
    for caption, queries in (("c1-duel-1", wins[:5]), ("c1-duel-2", losses[:5])):
        rows = rows_of(page, caption)
        assert [row[0] for row in rows] == [f"{texts[query]} {query}" for query in queries]
        for query, row in zip(queries, rows, strict=True):
            assert [numbers(cell)[0] for cell in row[1:]] == shown(*both[query], gains[query])
    equal = len(gains) - len(wins) - len(losses)
    said = f"better on {len(wins)}, equal on {equal} and worse on {len(losses)} of {len(gains)} queries."
    assert said in page.find(id="c1").get_text()


def test_the_verdict_is_the_one_of_the_analysis_with_its_interval_and_its_looks(
    page: BeautifulSoup, evaluation: Evaluation
) -> None:
    verdict = decide(evaluation, rng=np.random.default_rng(7), confidence=0.9)
    best = next(gain for gain in verdict.gains if gain.candidate is best_of(evaluation))
    card = page.select_one("#c1 .verdict")
    assert isinstance(card, Tag)
    assert card.select_one(".sentence").get_text() == verdict.sentence
    assert card.select_one(".badge").get_text().lower() == verdict.decision
    assert numbers(card.select_one(".big").get_text()) == shown(best.gain.estimate)
    said = card.select_one(".evidence .unit").get_text()
    assert numbers(said) == [90, *shown(best.gain.low, best.gain.high), len(evaluation.pairs)]
    summary = rows_of(page, "summary-table")[0]
    assert numbers(summary[-1]) == shown(best.gain.estimate, best.gain.low, best.gain.high)
    assert summary[1].lower() == verdict.decision
    assert models(summary[2]) == verdict.best_single.models
    assert models(summary[3]) == best.candidate.models
    assert numbers(summary[3])[-1:] == shown(best.candidate.mean)


def test_a_pair_costs_the_sum_of_its_models_and_nothing_is_guessed(
    page: BeautifulSoup, results: Results, evaluation: Evaluation
) -> None:
    rows = rows_of(page, "c1-cost")
    assert [models(row[0]) for row in rows] == [*((key,) for key in KEYS), best_of(evaluation).models]
    for row in rows:
        halves = [results.model(key) for key in models(row[0])]
        stored = 4 * sum(half.dimensions for half in halves)
        assert row[1:4] == [f"{stored // 4:,}", f"{stored:,}", f"{stored * 1234 / 1e6:,.1f}"]
        times = [half.milliseconds_per_query for half in halves]
        known = [time for time in times if time is not None]
        assert row[5] == ("not measured" if len(known) < len(times) else f"{math.fsum(known):.1f}")


def test_what_was_measured_stands_with_fingerprints_and_hashes(page: BeautifulSoup, results: Results) -> None:
    measured = page.find(id="measured").get_text(" ")
    facts = results.collections[0].facts
    for text in (
        *(model.fingerprint for model in results.models),
        *(model.name for model in results.models),
        *(facts.corpus_hash, facts.queries_hash, facts.qrels_hash),
        *("max_tokens 256", "0.0625", "90 %", "5, 20", "3.11.7", "no limit", "kept"),
    ):
        assert text in measured

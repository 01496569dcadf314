"""What an evaluation allows to say, and that it is said with its interval and its number of looks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from analysis.evaluation import Candidate, Evaluation
from analysis.verdict import Verdict, decide
from retriever.errors import ShapeError

N = 200


def noise(seed: int, scale: float, n: int = N) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=n)
    return (values - values.mean()) / values.std() * scale


def single(key: str, values: np.ndarray) -> Candidate:
    return Candidate(models=(key,), weighting="equal", weights=(1.0,), per_query={"ndcg@10": values})


def pair(values: np.ndarray, weighting: str = "equal", models: tuple[str, str] = ("A", "B")) -> Candidate:
    return Candidate(models=models, weighting=weighting, weights=(0.5, 0.5), per_query={"ndcg@10": values})  # type: ignore[arg-type]


def evaluation(singles: list[Candidate], pairs: list[Candidate]) -> Evaluation:
    return Evaluation(
        query_ids=tuple(f"q{i}" for i in range(len(singles[0].ndcg))),
        singles=tuple(singles),
        pairs=tuple(pairs),
        similarities=(),
        n_chunks=10,
        n_documents=10,
    )


def judged(measured: Evaluation, confidence: float = 0.95, minimum_gain: float = 0.0) -> Verdict:
    return decide(
        measured,
        rng=np.random.default_rng(0),
        confidence=confidence,
        minimum_gain=minimum_gain,
        n_resamples=2000,
    )


A, B = np.full(N, 0.5), np.full(N, 0.4)
SINGLES = [single("A", A), single("B", B)]


def test_a_clear_gain_is_deployed() -> None:
    verdict = judged(
        evaluation(SINGLES, [pair(A + 0.01 + noise(1, 0.1)), pair(A + 0.05 + noise(2, 0.1), "calibrated")])
    )
    assert verdict.decision == "deploy"
    assert verdict.serve.label == "A+B (calibrated)"
    assert verdict.best_single.name == "A"
    assert verdict.queries_needed is None
    best = verdict.gains[1]
    assert best.gain.estimate == pytest.approx(0.05)
    # the standard error of the mean is 0.1/√200 = 0.00707
    assert [best.gain.low, best.gain.high] == pytest.approx(
        [0.05 - 1.96 * 0.00707, 0.05 + 1.96 * 0.00707], abs=0.001
    )
    # the smallest p-value of 2000 resamples, times two candidates
    assert best.adjusted_p_value == pytest.approx(2 / 2001)


def test_a_loss_or_no_gain_is_not_combined() -> None:
    for gain in (-0.05, 0.0):
        verdict = judged(evaluation(SINGLES, [pair(A + gain)]))
        assert verdict.decision == "do not combine"
        assert verdict.serve is verdict.best_single
        assert verdict.queries_needed is None


def test_the_same_values_on_other_queries_are_no_gain_whatever_rounding_makes_of_their_mean() -> None:
    draws = (np.random.default_rng(seed).random(N) for seed in range(100))
    values = next(one for one in draws if one[::-1].mean() > one.mean())
    verdict = judged(evaluation([single("A", values), single("B", B / 10)], [pair(values[::-1])]))
    assert verdict.decision == "do not combine"
    assert verdict.queries_needed is None


def test_a_gain_that_may_be_chance_is_not_enough_evidence_and_says_what_would_be() -> None:
    verdict = judged(evaluation(SINGLES, [pair(A + 0.005 + noise(3, 0.1))]))
    assert verdict.decision == "not enough evidence"
    assert verdict.serve.name == "A"
    # ((1.645 + 0.842)·0.1/0.005)² is about 2473; the spread has one degree of freedom less
    assert verdict.queries_needed == pytest.approx(2473, rel=0.01)
    assert "; about 2,500 queries in total would decide" in verdict.sentence


def test_a_gain_above_zero_but_below_the_minimum_is_not_deployed() -> None:
    measured = evaluation(SINGLES, [pair(A + 0.05 + noise(2, 0.1))])
    assert judged(measured, minimum_gain=0.02).decision == "deploy"
    assert judged(measured, minimum_gain=0.045).decision == "not enough evidence"
    verdict = judged(measured, minimum_gain=0.06)
    assert verdict.decision == "do not combine"
    assert "where more than +0.060 is required" in verdict.sentence


def test_a_pair_must_beat_the_best_of_all_models_not_only_its_halves() -> None:
    strong = single("C", A + 0.1)
    verdict = judged(evaluation([*SINGLES, strong], [pair(A + 0.05 + noise(2, 0.1))]))
    assert verdict.decision == "do not combine"
    assert verdict.serve.name == "C"


def test_looking_at_many_candidates_raises_the_bar() -> None:
    lucky = pair(A + 0.015 + noise(4, 0.1))  # 2.1 standard errors: p about 0.017
    others = [pair(A - 0.05 + noise(5 + i, 0.1), models=("A", f"X{i}")) for i in range(9)]
    assert judged(evaluation(SINGLES, [lucky])).decision == "deploy"
    crowd = judged(evaluation(SINGLES, [lucky, *others]))
    assert crowd.decision == "not enough evidence"
    assert crowd.n_candidates == 10
    # ((2.576 + 0.842)·0.1/0.015)² is about 519: the level is shared among ten
    assert crowd.queries_needed == pytest.approx(519, rel=0.01)
    assert crowd.gains[0].adjusted_p_value == pytest.approx(10 * crowd.gains[0].p_value)


def test_a_proven_candidate_is_deployed_though_a_noisier_one_has_a_higher_mean() -> None:
    steady, noisy = pair(A + 0.03 + noise(6, 0.05)), pair(A + 0.035 + noise(7, 0.9), "calibrated")
    verdict = judged(evaluation(SINGLES, [steady, noisy]))
    assert verdict.decision == "deploy"
    assert verdict.serve is steady


def test_three_queries_prove_nothing() -> None:
    singles = [single("A", np.zeros(3))]
    verdict = judged(evaluation(singles, [pair(np.ones(3))]))
    assert verdict.decision == "not enough evidence"
    assert verdict.queries_needed == 5


@pytest.mark.parametrize("gain", [-0.1, 0.0])
def test_too_few_queries_to_prove_a_gain_do_not_prove_that_there_is_none(gain: float) -> None:
    # two candidates at 95 %: 2^-m has to be at most 0.025, so six queries
    pairs = [A[:6] + gain, A[:6] + gain - 0.1]
    for n in range(1, 7):
        measured = evaluation(
            [single("A", A[:n]), single("B", B[:n])],
            [pair(values[:n], str(i)) for i, values in enumerate(pairs)],
        )
        verdict = judged(measured)
        assert verdict.decision == ("not enough evidence" if n < 6 else "do not combine")
        assert verdict.queries_needed == (6 if n < 6 else None)
        assert verdict.serve.name == "A"


def test_more_confidence_needs_more_evidence() -> None:
    measured = evaluation(SINGLES, [pair(A + 0.015 + noise(4, 0.1))])
    assert judged(measured, confidence=0.9).decision == "deploy"
    assert judged(measured, confidence=0.999).decision == "not enough evidence"


def test_single_models_alone_are_served_as_they_are() -> None:
    verdict = judged(evaluation(SINGLES, []))
    assert verdict.decision == "do not combine"
    assert verdict.serve.name == "A"
    assert verdict.gains == ()
    assert verdict.sentence == (
        "Do not combine: only single models were evaluated, of which A is the best with NDCG@10 0.500 on 200 "
        "queries."
    )


def test_of_equal_single_models_the_first_is_the_best() -> None:
    assert judged(evaluation([single("Z", A), single("A", A)], [])).serve.name == "Z"


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (
            0.05,
            "Deploy A+B (equal): it has NDCG@10 0.550 against 0.500 of the best single model A, a gain",
        ),
        (-0.05, "Do not combine: A+B (equal), the best pair, has NDCG@10 0.450 against 0.500 of the best"),
        (
            0.005,
            "Not enough evidence to combine: A+B (equal), the best pair, has NDCG@10 0.505 against 0.500",
        ),
    ],
)
def test_the_sentence_gives_gain_interval_looks_and_queries(gain: float, expected: str) -> None:
    verdict = judged(evaluation(SINGLES, [pair(A + gain + noise(2, 0.1))]))
    interval = verdict.gains[0].gain
    assert verdict.sentence.startswith(expected)
    assert f"(95 % interval {interval.low:+.3f} to {interval.high:+.3f}, adjusted p " in verdict.sentence
    assert "on 200 queries, with 1 candidate from 1 pair looked at" in verdict.sentence
    assert verdict.sentence.endswith(".")
    assert ("queries in total would decide" in verdict.sentence) == (gain == 0.005)


def test_equal_generators_give_equal_verdicts_and_json_holds_them() -> None:
    measured = evaluation(SINGLES, [pair(A + 0.01 + noise(2, 0.1)), pair(A + noise(3, 0.1), "calibrated")])
    first, second = judged(measured).to_json(), judged(measured).to_json()
    assert first == second
    read = json.loads(json.dumps(first))
    assert read == first
    assert read["candidates"] == len(read["gains"]) == 2
    assert read["queries"] == N


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_out_of_range_is_refused_even_without_pairs(confidence: float) -> None:
    with pytest.raises(ShapeError, match="between 0 and 1"):
        judged(evaluation(SINGLES, []), confidence=confidence)

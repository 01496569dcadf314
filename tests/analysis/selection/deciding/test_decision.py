"""What is said of everything that was measured: deployed only if it can be, and the simplest that will do."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from analysis.evaluation import Candidate, Evaluation
from analysis.selection.deciding.decision import OptionVerdict, decide_options
from analysis.selection.record import Cost, MeasuredOption, Option
from analysis.verdict import decide
from retriever.errors import InputError, ShapeError

N = 200
A, B = np.full(N, 0.5), np.full(N, 0.4)


def noise(seed: int, scale: float, n: int = N) -> np.ndarray:
    """Return numbers with mean 0 and exactly this standard deviation."""
    values = np.random.default_rng(seed).normal(size=n)
    return (values - values.mean()) / values.std() * scale


def measured(legs: str, values: np.ndarray, how: str = "equal") -> MeasuredOption:
    keys = legs.split("+")
    weights = dict.fromkeys(keys, 1 / len(keys))
    fused = how in {"rrf", "dbsf"}
    option = Option(weights=weights, fusion=how if fused else "sum", weighting="equal" if fused else how)  # type: ignore[arg-type]
    return MeasuredOption(option=option, ndcg=values)


SINGLES = [measured("A", A), measured("B", B)]


def judged(options: Sequence[MeasuredOption], **asked: object) -> OptionVerdict:
    given = {"rng": np.random.default_rng(0), "n_resamples": 2000, **asked}
    return decide_options(options, **given)  # type: ignore[arg-type]


def test_it_decides_as_analysis_decide_does() -> None:
    rng = np.random.default_rng(1)
    singles = {"A": rng.uniform(0.4, 0.6, size=60), "B": rng.uniform(0.3, 0.5, size=60)}
    pairs = {"equal": singles["A"] + rng.normal(0.05, 0.1, 60), "calibrated": singles["A"] + 0.01}
    evaluation = Evaluation(
        query_ids=tuple(map(str, range(60))),
        singles=tuple(
            Candidate(models=(key,), weighting="equal", weights=(1.0,), per_query={"ndcg@10": values})
            for key, values in singles.items()
        ),
        pairs=tuple(
            Candidate(models=("A", "B"), weighting=how, weights=(0.5, 0.5), per_query={"ndcg@10": values})  # type: ignore[arg-type]
            for how, values in pairs.items()
        ),
        similarities=(),
        n_chunks=10,
        n_documents=10,
    )
    options = [measured(key, values) for key, values in singles.items()]
    options += [measured("A+B", values, how) for how, values in pairs.items()]
    ours = judged(options)
    theirs = decide(evaluation, rng=np.random.default_rng(0), n_resamples=2000)
    assert ours.decision == theirs.decision == "deploy"
    assert [gain.gain for gain in ours.gains] == [gain.gain for gain in theirs.gains]
    assert [gain.adjusted_p_value for gain in ours.gains] == [gain.adjusted_p_value for gain in theirs.gains]


def test_a_clear_gain_is_deployed_with_its_figures_in_one_sentence() -> None:
    verdict = judged([*SINGLES, measured("A+B", A + 0.05 + noise(2, 0.1), "calibrated")])
    assert verdict.decision == "deploy"
    assert verdict.serve.label == "A+B (calibrated)"
    assert verdict.served.mean == pytest.approx(0.55)
    assert verdict.best_single.label == "A"
    assert verdict.warnings == ()
    # 7 standard errors: not one of 2000 resamples is at or below 0
    assert verdict.gains[0].chance == pytest.approx(1 - 1 / 2001)
    assert verdict.sentence.startswith(
        "Deploy A+B (calibrated): it has NDCG@10 0.550 against 0.500 of the best single model A, a gain of "
        "+0.050 (95 % interval +0.0"
    )
    assert verdict.sentence.endswith(
        "adjusted p < 0.001), on 200 queries, with 1 option looked at beside the single models."
    )


def test_a_gain_that_may_be_chance_keeps_the_best_single_and_says_what_would_decide() -> None:
    verdict = judged([*SINGLES, measured("A+B", A + 0.005 + noise(3, 0.1))])
    assert verdict.decision == "not enough evidence"
    assert verdict.serve.label == "A"
    # ((1.645 + 0.842)·0.1/0.005)² is about 2473
    assert verdict.queries_needed == pytest.approx(2473, rel=0.01)
    assert verdict.sentence.endswith("; about 2,500 queries in total would decide.")
    # 0.707 standard errors: the normal distribution has 0.760 below
    assert verdict.gains[0].chance == pytest.approx(0.760, abs=0.03)


def test_what_cannot_be_deployed_is_looked_at_counted_and_never_served() -> None:
    lucky = measured("A+B", A + 0.015 + noise(4, 0.1))  # 2.1 standard errors: p about 0.017
    fused = [measured(f"A+X{i}", A + 0.2 + noise(5 + i, 0.1), how) for i, how in enumerate(["rrf", "dbsf"])]
    assert judged([*SINGLES, lucky]).decision == "deploy"
    # the two others are proven and do not take the place of the third; four more are not
    losers = [measured(f"A+Y{i}", B + noise(9 + i, 0.1), "rrf") for i in range(4)]
    verdict = judged([*SINGLES, lucky, *fused, *losers])
    assert verdict.n_options == 7
    assert verdict.decision == "not enough evidence"
    assert verdict.gains[0].adjusted_p_value == pytest.approx(5 * verdict.gains[0].p_value)
    assert verdict.serve.label == "A"
    assert verdict.gains[1].adjusted_p_value < 0.05


def test_a_fusion_that_would_be_best_is_a_warning() -> None:
    verdict = judged(
        [
            *SINGLES,
            measured("A+B", A + 0.05 + noise(2, 0.1)),
            measured("A+B", A + 0.08 + noise(3, 0.1), "rrf"),
        ]
    )
    assert verdict.serve.label == "A+B (equal)"
    (warning,) = verdict.warnings
    assert warning.startswith(
        "A+B (rrf) is the best that was measured, but is for comparison only: NDCG@10 0.580 against 0.550 of "
        "A+B (equal); over A it has a gain of +0.080 (95 % interval "
    )


def test_bm25_better_than_every_model_is_a_warning_though_a_combination_is_better_still() -> None:
    options = [
        *SINGLES,
        measured("bm25", A + 0.05 + noise(2, 0.1)),
        measured("A+bm25", A + 0.1 + noise(3, 0.1)),
    ]
    verdict = judged(options)
    assert verdict.serve.label == "A+bm25 (equal)"
    (warning,) = verdict.warnings
    assert warning.startswith(
        "bm25 alone is better than every model: NDCG@10 0.550 against 0.500 of A, a gain"
    )
    only = judged([*SINGLES, measured("bm25", A + 0.05 + noise(2, 0.1))])
    assert only.decision == "do not combine"
    assert only.serve.label == "A"
    assert len(only.warnings) == 1
    assert only.warnings[0].startswith("bm25 alone is better than every model")
    assert "no combination that can be deployed was measured" in only.sentence


def test_bm25_below_the_best_model_is_no_warning() -> None:
    assert judged([*SINGLES, measured("bm25", A - 0.01)]).warnings == ()
    assert judged([*SINGLES, measured("bm25", A)]).warnings == ()


def test_of_proven_options_the_one_with_fewer_models_is_served_unless_it_is_proven_to_be_worse() -> None:
    triple = measured("A+B+C", A + 0.052 + noise(2, 0.1))
    pair = measured("A+B", A + 0.05 + noise(3, 0.1))
    verdict = judged([*SINGLES, triple, pair])
    assert verdict.serve.label == "A+B (equal)"
    assert verdict.passed_over is not None
    assert verdict.passed_over.label == "A+B+C (equal)"
    assert "; A+B+C (equal) (0.552) takes more and is not proven to be better." in verdict.sentence
    # the difference is 0.1 with a standard error of 0.01
    clear = judged([*SINGLES, measured("A+B+C", A + 0.15 + noise(2, 0.1)), pair])
    assert clear.serve.label == "A+B+C (equal)"
    assert clear.passed_over is None


def test_bm25_as_another_leg_is_simpler_than_another_model() -> None:
    with_model = measured("A+B", A + 0.052 + noise(2, 0.1))
    with_bm25 = measured("A+bm25", A + 0.05 + noise(3, 0.1))
    with_both = measured("A+B+bm25", A + 0.055 + noise(4, 0.1))
    assert judged([*SINGLES, with_both, with_model, with_bm25]).serve.label == "A+bm25 (equal)"
    assert judged([*SINGLES, with_both, with_model]).serve.label == "A+B (equal)"


def cost(milliseconds: float | None, size: float = 4.0) -> Cost:
    return Cost(seconds_per_1000_chunks=1.0, bytes_per_chunk=size, milliseconds_per_query=milliseconds)


def test_of_as_many_models_the_one_that_costs_less_is_served() -> None:
    better = measured("A+B", A + 0.052 + noise(2, 0.1))
    cheaper = measured("A+C", A + 0.05 + noise(3, 0.1))
    options = [*SINGLES, better, cheaper]
    assert judged(options).serve is better.option
    costs = {"A+B (equal)": cost(9.0), "A+C (equal)": cost(5.0)}
    assert judged(options, costs=costs).serve is cheaper.option
    # dearer in bytes, cheaper in milliseconds: neither is simpler, so quality decides
    mixed = {**costs, "A+C (equal)": cost(5.0, size=8.0)}
    assert judged(options, costs=mixed).serve is better.option
    for unknown in ({"A+B (equal)": cost(9.0)}, {**costs, "A+C (equal)": cost(None)}):
        assert judged(options, costs=unknown).serve is better.option


def test_of_equal_options_the_first_is_served_and_is_not_better_than_itself() -> None:
    values = A + 0.05 + noise(2, 0.1)
    verdict = judged(
        [*SINGLES, measured("A+B", values), measured("A+C", values), measured("A+B", values, "rrf")]
    )
    assert verdict.serve.label == "A+B (equal)"
    assert verdict.passed_over is None
    assert verdict.warnings == ()


def test_an_option_equal_to_the_best_single_model_is_not_combined() -> None:
    verdict = judged([*SINGLES, measured("A+B", A.copy())])
    assert verdict.decision == "do not combine"
    assert verdict.gains[0].chance == 0.0


def test_single_models_alone_are_served_as_they_are() -> None:
    verdict = judged([measured("Z", A), measured("A", A)])
    assert verdict.decision == "do not combine"
    assert verdict.serve.label == "Z"
    assert verdict.gains == ()
    assert verdict.sentence == (
        "Do not combine: no combination that can be deployed was measured; Z is the best single model with "
        "NDCG@10 0.500 on 200 queries, with 0 options looked at beside the single models."
    )


def test_hundreds_of_options_can_still_be_proven_at_high_confidence() -> None:
    single, winner = measured("A", A[:40]), measured("A+B", A[:40] + 0.1 + noise(2, 0.1, 40))
    losers = [measured(f"A+X{i}", B[:40] + noise(10 + i, 0.1, 40)) for i in range(110)]
    verdict = decide_options([single, winner, *losers], rng=np.random.default_rng(0), confidence=0.99)
    assert verdict.serve is winner.option


def test_a_minimum_gain_must_be_exceeded() -> None:
    options = [*SINGLES, measured("A+B", A + 0.05 + noise(2, 0.1))]
    assert judged(options, minimum_gain=0.02).decision == "deploy"
    verdict = judged(options, minimum_gain=0.06)
    assert verdict.decision == "do not combine"
    assert "where more than +0.060 is required" in verdict.sentence


def test_equal_generators_give_equal_verdicts_and_json_holds_them() -> None:
    options = [
        *SINGLES,
        measured("A+B+C", A + 0.052 + noise(2, 0.1)),
        measured("A+B", A + 0.05 + noise(3, 0.1)),
    ]
    first, second = judged(options).to_json(), judged(options).to_json()
    assert first == second
    assert json.loads(json.dumps(first)) == first
    assert first["options"] == len(first["gains"]) == 2
    assert first["gains"][0]["chance"] == pytest.approx(1 - first["gains"][0]["p_value"])
    assert first["passed_over"]["label"] == "A+B+C (equal)"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "at least one single model, got nothing"),
        ([measured("A+B", A), measured("bm25", A)], r"got A\+B \(equal\), bm25"),
        ([*SINGLES, measured("A", B)], "each option once, got A more than once"),
    ],
)
def test_options_that_give_no_verdict_are_refused(options: list[MeasuredOption], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        judged(options)


def test_options_of_different_queries_and_confidence_out_of_range_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"A\+B \(equal\): expected 200 rows, one per query, got 199"):
        judged([*SINGLES, measured("A+B", A[1:])])
    with pytest.raises(ShapeError, match="between 0 and 1"):
        judged(SINGLES, confidence=95.0)

"""Steady, drifted or not enough queries: what two samples allow to say."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.resampling import holm as holm_of_the_analysis
from retriever.errors import GateNotMetError, InputError
from retriever.watch.baselines import _write
from retriever.watch.drift import changes_between, difference_interval, holm, summary, watch_report
from retriever.watch.log import DeploymentLog
from retriever.watch.observation import Observation
from retriever.watch.report import DriftAlarm, WatchSettings

Observe = Callable[..., Observation]
Sample = Callable[..., list[Observation]]

SETTINGS = WatchSettings()


@pytest.fixture
def sample(observation: Observe) -> Sample:
    """Return what draws observations: scores around a mean, agreement, and how often there is none."""

    def draw(
        n: int, seed: int, mean: float = 0.6, agreement: float = 0.3, apart: float = 0.1, start: int = 0
    ) -> list[Observation]:
        rng = np.random.default_rng(seed)
        disjoint = rng.random(n) < apart
        shared = np.where(disjoint, 0, 1 + rng.binomial(9, agreement, n))
        return [
            observation(start + i, first=first, jaccard=both / (20 - both), disjoint=bool(none))
            for i, (first, both, none) in enumerate(
                zip(rng.normal(mean, 0.1, n).tolist(), shared.tolist(), disjoint, strict=True)
            )
        ]

    return draw


def decided(changes: Sequence[object]) -> dict[str, bool]:
    return {change.measure: change.is_drifted for change in changes}  # type: ignore[attr-defined]


def test_the_interval_of_a_difference_is_that_of_newcombe() -> None:
    # Newcombe 1998, Table II, method 10, contrasts (a) 56/70 - 48/80 and (c) 6/7 - 2/7
    assert difference_interval(56, 70, 48, 80, confidence=0.95) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference_interval(6, 7, 2, 7, confidence=0.95) == pytest.approx((0.0582, 0.8062), abs=5e-5)
    # (g) 10/10 - 0/20
    assert difference_interval(10, 10, 0, 20, confidence=0.95) == pytest.approx((0.6791, 1.0), abs=5e-5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holms_correction_is_that_of_the_analysis(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(holm_of_the_analysis(p_values).tolist())


def test_a_summary_is_mean_and_quantiles() -> None:
    # by hand: 0 to 10, whose tenths are its values
    found = summary(np.arange(11.0))
    assert (found.mean, found.low, found.median, found.high) == pytest.approx((5.0, 1.0, 5.0, 9.0))


def test_shifts_and_p_values_are_those_of_the_tests_that_are_named(sample: Sample) -> None:
    before, now = sample(80, 1), sample(120, 2, mean=0.55, apart=0.3)
    score, agreement, share = changes_between(before, now, SETTINGS)
    scores = [[one.first for one in each] for each in (before, now)]
    # the largest distance of the two distribution functions, counted
    points = np.sort(np.concatenate(scores))
    distance = max(abs(np.mean(scores[0] <= point) - np.mean(scores[1] <= point)) for point in points)
    assert score.shift == pytest.approx(distance)
    assert score.p_value == pytest.approx(stats.ks_2samp(*scores, method="exact").pvalue, rel=0.2)
    assert (score.interval, agreement.interval) == (None, None)
    apart = [sum(bool(one.disjoint) for one in each) for each in (before, now)]
    assert share.shift == pytest.approx(apart[1] / 120 - apart[0] / 80)
    table = np.array([[apart[1], 120 - apart[1]], [apart[0], 80 - apart[0]]])
    assert share.p_value == pytest.approx(stats.fisher_exact(table).pvalue)
    assert share.interval is not None
    assert share.interval[0] < share.shift < share.interval[1]
    adjusted = holm([score.p_value, agreement.p_value, share.p_value])
    assert [one.adjusted_p_value for one in (score, agreement, share)] == pytest.approx(adjusted)


@pytest.mark.parametrize(
    ("changed", "measure"),
    [({"mean": 0.45}, "first_score"), ({"agreement": 0.1}, "agreement"), ({"apart": 0.5}, "disagreement")],
)
def test_each_measure_notices_its_own_drift(sample: Sample, changed: dict[str, float], measure: str) -> None:
    found = decided(changes_between(sample(200, 1), sample(200, 2, **changed), SETTINGS))
    assert found[measure]
    if measure == "first_score":
        assert found == {"first_score": True, "agreement": False, "disagreement": False}


def test_where_nothing_changes_an_alarm_is_as_rare_as_is_said(sample: Sample) -> None:
    alarming = replace(SETTINGS, confidence=0.95, minimum_shift=0.0)
    alarms = [
        any(decided(changes_between(sample(60, 2 * seed), sample(90, 2 * seed + 1), alarming)).values())
        for seed in range(300)
    ]
    # at most 5 of 100; 300 runs err by three standard deviations at 27
    assert sum(alarms) <= 27


def test_with_many_queries_a_tiny_shift_is_no_alarm(sample: Sample) -> None:
    before, now = sample(20_000, 1), sample(20_000, 2, mean=0.61)
    score, *_ = changes_between(before, now, SETTINGS)
    assert score.p_value < 1e-6
    assert not score.is_drifted
    assert changes_between(before, now, replace(SETTINGS, minimum_shift=0.02))[0].is_drifted


def test_one_model_alone_is_tested_on_its_scores(observation: Observe) -> None:
    alone = {"jaccard": None, "rank_similarity": None, "disjoint": None, "contributions": {"beta": 0.4}}
    every = [observation(n, first=n / 100, **alone) for n in range(100)]
    (score,) = changes_between(every, every, SETTINGS)
    assert (score.measure, score.shift, score.adjusted_p_value) == ("first_score", 0.0, 1.0)


@pytest.mark.parametrize(("queries", "more"), [(0, 250), (120, 130), (200, 50), (249, 1), (250, 0)], ids=str)
def test_before_there_are_enough_queries_it_says_how_many_more(
    log: DeploymentLog, sample: Sample, queries: int, more: int
) -> None:
    if queries:
        log.append(sample(queries, 1))
    report = watch_report(log, SETTINGS)
    assert report.more == more
    assert report.baseline_queries == min(queries, 200)
    if more:
        assert (report.status, report.changes) == ("not enough queries", ())
        assert report.sentence.startswith(f"Not enough queries: {more} more are needed")
    else:
        assert (report.status, len(report.changes)) == ("steady", 3)


def test_a_time_of_deployment_with_too_few_queries_is_not_compared_with(
    log: DeploymentLog, sample: Sample
) -> None:
    _write(log.folder / "baseline.json", sample(30, 1))
    log.append(sample(300, 2, mean=0.1))
    report = watch_report(log, SETTINGS)
    assert (report.status, report.source, report.more) == ("not enough queries", "queries", 20)
    assert "was measured on 30, at least 50 are needed" in report.sentence


def test_live_queries_are_compared_with_the_queries_that_were_given(
    log: DeploymentLog, sample: Sample
) -> None:
    _write(log.folder / "baseline.json", sample(60, 1))
    log.append(sample(80, 2))
    steady = watch_report(log, SETTINGS)
    assert (steady.status, steady.baseline_queries, steady.live_queries) == ("steady", 60, 80)
    assert "80 live queries of alpha+beta with 60 given for the time of deployment" in steady.sentence


def test_live_queries_that_drift_are_told_with_what_changed_and_what_to_do(
    log: DeploymentLog, sample: Sample
) -> None:
    log.append(sample(200, 1))
    log.append([replace(one, lost=2) for one in sample(100, 2, mean=0.3, apart=0.6, start=200)])
    report = watch_report(log, SETTINGS)
    assert report.is_drifted
    assert "score of the first hit: median 0.609 to 0.276" in report.sentence
    assert "share no chunk" in report.sentence
    assert "`tandem select`" in report.sentence
    assert (report.lost, report.broken) == (200, 0)
    assert set(report.others) == {
        "mean_score",
        "gap",
        "rank_similarity",
        "contribution alpha",
        "contribution beta",
    }
    value = json.loads(json.dumps(report.to_json()))
    assert value["status"] == "drifted"
    assert [change["measure"] for change in value["changes"]] == ["first_score", "agreement", "disagreement"]
    assert value["settings"]["confidence"] == 0.99
    alarm = DriftAlarm(report)
    assert isinstance(alarm, GateNotMetError)
    assert (alarm.exit_status, alarm.report) == (6, report)
    assert str(alarm) == f"corpus 'small', deployment alpha+beta: {report.sentence}"


def test_only_the_latest_queries_count_and_those_since(log: DeploymentLog, sample: Sample) -> None:
    log.append(sample(200, 1))
    log.append(sample(300, 2, mean=0.2, start=200))
    log.append(sample(100, 3, start=500))
    assert watch_report(log, SETTINGS).is_drifted
    assert watch_report(log, replace(SETTINGS, window=100)).status == "steady"
    start = log.read().observations[500].time
    since = watch_report(log, SETTINGS, since=start)
    assert (since.status, since.live_queries, since.first) == ("steady", 100, start.isoformat())
    none = watch_report(log, SETTINGS, since=start + timedelta(days=1))
    assert (none.status, none.first, none.others) == ("not enough queries", None, {})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"confidence": 1.0}, "confidence: expected a number between 0 and 1"),
        ({"minimum_shift": -0.1}, "minimum_shift: expected a share"),
        ({"minimum_queries": 0}, "minimum_queries: expected at least 1"),
        ({"first_queries": 10}, "first_queries: expected at least the 50"),
        ({"window": 49}, "window: expected at least the 50"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        WatchSettings(**given)  # type: ignore[arg-type]

"""Whether two samples of queries are of one distribution.

References
----------
.. [1] R. G. Newcombe: Interval estimation for the difference between independent proportions: comparison of
   eleven methods, Statistics in Medicine 17 (1998), method 10.
.. [2] S. Holm: A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from retriever.watch.baselines import Baseline, read_baseline
from retriever.watch.log import DeploymentLog
from retriever.watch.observation import Observation
from retriever.watch.report import Change, Summary, WatchReport, WatchSettings, WatchStatus

_Values: TypeAlias = NDArray[np.float64]
_TIE = 1e-12


def watch_report(
    log: DeploymentLog, settings: WatchSettings, *, since: datetime | None = None
) -> WatchReport:
    """Return what the log of a deployment says.

    Parameters
    ----------
    log
        The observations of one deployment; those of others are never compared with them.
    settings
        What is enough, and what matters.
    since
        Only live queries from this time on; with its offset from UTC.

    Raises
    ------
    StoreCorruptError
        If a file beside the lines of the log is broken; broken lines are counted.
    """
    about = log.about
    baseline = read_baseline(log, first=settings.first_queries)
    live = [one for one in baseline.live if since is None or one.time >= since][-settings.window :]
    more = _more(baseline, len(live), settings)
    changes = () if more else changes_between(baseline.observations, live, settings)
    status: WatchStatus = "not enough queries" if more else "steady"
    if any(change.is_drifted for change in changes):
        status = "drifted"
    return WatchReport(
        status=status,
        sentence=_sentence(status, about["serves"], baseline, live, more, changes, settings),
        corpus=about["corpus"],
        serves=about["serves"],
        deployment=log.identity,
        source=baseline.source,
        baseline_queries=len(baseline.observations),
        live_queries=len(live),
        more=more,
        first=live[0].time.isoformat() if live else None,
        last=live[-1].time.isoformat() if live else None,
        changes=changes,
        others=_others(baseline.observations, live) if live and baseline.observations else {},
        lost=sum(one.lost for one in live),
        broken=baseline.broken,
        settings=settings,
    )


def changes_between(
    baseline: Sequence[Observation], live: Sequence[Observation], settings: WatchSettings
) -> tuple[Change, ...]:
    """Compare two samples of queries that one deployment answered.

    The scores of first hits and the agreement of the legs by the two-sample Kolmogorov-Smirnov test, the
    share of queries on which no two legs share a chunk by Fisher's exact test with Newcombe's interval [1]_;
    Holm's correction [2]_ over these. With one leg there are only scores.
    """
    before, now = _values(baseline), _values(live)
    tests = [_test(name, before[name], now[name], settings) for name in before]
    adjusted = holm([test.p_value for test in tests])
    return tuple(_decided(test, p_value, settings) for test, p_value in zip(tests, adjusted, strict=True))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for how many there are [2]_, in the same order, at most 1."""
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = least
    return adjusted


def difference_interval(
    count: int, total: int, other: int, other_total: int, *, confidence: float
) -> tuple[float, float]:
    """Return the interval of the difference of two shares, ``count/total - other/other_total`` [1]_."""
    share, other_share = count / total, other / other_total
    low, high = _wilson(share, total, confidence)
    other_low, other_high = _wilson(other_share, other_total, confidence)
    difference = share - other_share
    return (
        difference - math.hypot(share - low, other_high - other_share),
        difference + math.hypot(high - share, other_share - other_low),
    )


def _values(observations: Sequence[Observation]) -> dict[str, _Values]:
    values = {"first_score": np.array([one.first for one in observations], dtype=np.float64)}
    if observations[0].jaccard is not None:
        values["agreement"] = np.array([one.jaccard for one in observations], dtype=np.float64)
        values["disagreement"] = np.array([one.disjoint for one in observations], dtype=np.float64)
    return values


def _test(measure: str, before: _Values, now: _Values, settings: WatchSettings) -> Change:
    if measure == "disagreement":
        shift, interval, p_value = _of_shares(before, now, settings.confidence)
    else:
        # The exact distribution knows no ties; with this many queries the limit is as good.
        found = stats.ks_2samp(before, now, method="asymp")
        shift, interval, p_value = float(found.statistic), None, float(found.pvalue)
    return Change(
        measure=measure,
        baseline=summary(before),
        live=summary(now),
        shift=shift,
        interval=interval,
        p_value=min(1.0, p_value),
        adjusted_p_value=1.0,
        is_drifted=False,
    )


def _of_shares(before: _Values, now: _Values, confidence: float) -> tuple[float, tuple[float, float], float]:
    """Return the difference of two shares, its interval, and the p-value of its being 0."""
    count, other = int(now.sum()), int(before.sum())
    table = np.array([[count, len(now) - count], [other, len(before) - other]])
    interval = difference_interval(count, len(now), other, len(before), confidence=confidence)
    return count / len(now) - other / len(before), interval, float(stats.fisher_exact(table).pvalue)


def _decided(test: Change, p_value: float, settings: WatchSettings) -> Change:
    is_drifted = p_value < 1 - settings.confidence and abs(test.shift) >= settings.minimum_shift - _TIE
    return replace(test, adjusted_p_value=p_value, is_drifted=is_drifted)


def summary(values: _Values) -> Summary:
    """Return mean, tenth, half and nine tenths of values, float64, shape (n,), n at least 1."""
    low, median, high = np.quantile(values, [0.1, 0.5, 0.9]).tolist()
    return Summary(mean=float(values.mean()), low=low, median=median, high=high)


def _others(
    baseline: Sequence[Observation], live: Sequence[Observation]
) -> dict[str, tuple[Summary, Summary]]:
    before, now = _untested(baseline), _untested(live)
    return {name: (summary(before[name]), summary(now[name])) for name in before if name in now}


def _untested(observations: Sequence[Observation]) -> Mapping[str, _Values]:
    values = {
        "mean_score": [one.mean for one in observations],
        "gap": [one.gap for one in observations],
    }
    if observations[0].rank_similarity is not None:
        values["rank_similarity"] = [one.rank_similarity or 0.0 for one in observations]
    for leg in observations[0].contributions:
        values[f"contribution {leg}"] = [one.contributions.get(leg, 0.0) for one in observations]
    return {name: np.array(numbers, dtype=np.float64) for name, numbers in values.items()}


def _more(baseline: Baseline, n_live: int, settings: WatchSettings) -> int:
    """Return how many more queries it takes before the two can be compared."""
    wanted = settings.minimum_queries if baseline.source == "queries" else settings.first_queries
    lacking = max(0, wanted - len(baseline.observations))
    return lacking + max(0, settings.minimum_queries - n_live)


def _sentence(  # noqa: PLR0913, PLR0917  # all that a report says
    status: WatchStatus,
    serves: str,
    baseline: Baseline,
    live: Sequence[Observation],
    more: int,
    changes: Sequence[Change],
    settings: WatchSettings,
) -> str:
    if status == "not enough queries":
        return _lacking(baseline, len(live), more, settings)
    compared = f"{len(live):,} live queries of {serves} with {_those(baseline)}"
    if status == "steady":
        tests = "1 test" if len(changes) == 1 else f"{len(changes)} tests"
        return (
            f"Steady: comparing {compared} by {tests} at {100 * settings.confidence:.4g} %, nothing has "
            f"moved for {100 * settings.minimum_shift:.4g} % of the queries."
        )
    moved = "; ".join(change.words for change in changes if change.is_drifted)
    return (
        f"Drifted: comparing {compared}, {moved}. The deployment was chosen for other queries: choose again "
        "with `tandem select` on queries as they are now."
    )


def _lacking(baseline: Baseline, n_live: int, more: int, settings: WatchSettings) -> str:
    wanted = settings.minimum_queries
    if baseline.source == "queries" and len(baseline.observations) < wanted:
        return (
            f"Not enough queries: the time of deployment was measured on {len(baseline.observations)}, "
            f"at least {wanted} are needed. Give more with `tandem watch --baseline`."
        )
    return (
        f"Not enough queries: {more:,} more are needed; there are {n_live:,} live ones to compare with "
        f"{_those(baseline)}."
    )


def _those(baseline: Baseline) -> str:
    n = f"{len(baseline.observations):,}"
    return f"{n} given for the time of deployment" if baseline.source == "queries" else f"the first {n}"


def _wilson(share: float, total: int, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf(1 - (1 - confidence) / 2)
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return centre - half, centre + half

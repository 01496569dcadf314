"""What a few judged queries are worth: choosing by them, and how often "deploy" is wrong.

Queries are drawn at random, the rest is held out: whatever is said of the few is checked on the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.selection.deciding.decision import decide_options
from analysis.selection.deciding.prediction import Prior, choose, expect
from analysis.selection.deciding.tuning import cross_validate
from analysis.selection.record import MeasuredOption
from benchmarks.selection_data import FloatArray, Measured
from benchmarks.selection_rules import Pool

FEW = (10, 20, 50)
JUDGED = (20, 50, 100, 200)
_LEAST_HELD_OUT = 20

Chooser = Callable[[FloatArray], int]
"""Takes NDCG@10 of the options on judged queries, returns the row of its choice."""


def few_label_regrets(
    one: Measured, prior: Prior, pool: Pool, *, n_draws: int, rng: np.random.Generator
) -> dict[tuple[str, int], float]:
    """Return mean regret by way of choosing and number of judged queries.

    On the queries held out, against the option that is best on all queries.
    """
    places = [i for i, option in enumerate(one.options) if pool(option) and option.is_deployable]
    ndcg = one.ndcg[places]
    expected = expect([one.options[i] for i in places], one.quality, prior)
    best = int(ndcg.mean(axis=1).argmax())
    ways: dict[str, Chooser] = {
        "plain measurement": lambda seen: int(seen.mean(axis=1).argmax()),
        "evidence alone": lambda _: choose(expected),
        "both": lambda seen: choose(expected, seen),
    }
    found: dict[tuple[str, int], float] = {}
    n_queries = ndcg.shape[1]
    for n in FEW:
        if n_queries - n < _LEAST_HELD_OUT:
            continue
        regrets: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(n_draws):
            order = rng.permutation(n_queries)
            seen, held_out = ndcg[:, order[:n]], ndcg[:, order[n:]].mean(axis=1)
            for way, chosen in ways.items():
                regrets[way].append(float(held_out[best] - held_out[chosen(seen)]))
        found |= {(way, n): float(np.mean(values)) for way, values in regrets.items()}
    return found


def cross_validated_regret(one: Measured, prior: Prior, pool: Pool, *, rng: np.random.Generator) -> float:
    """Return the regret of choosing with all labels, on queries that the choice has not seen."""
    places = [i for i, option in enumerate(one.options) if pool(option) and option.is_deployable]
    ndcg = one.ndcg[places]
    expected = expect([one.options[i] for i in places], one.quality, prior)
    found = cross_validate(ndcg, lambda rows: choose(expected, ndcg[:, rows]), rng=rng, n_repeats=4)
    return float(ndcg.mean(axis=1).max() - found.ndcg.mean())


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """How often "deploy" was said, and how often the gain was not there on the queries held out."""

    drawn: int
    deployed: int
    false: int


def false_deploys(
    one: Measured, n: int, *, n_draws: int, confidence: float, rng: np.random.Generator
) -> Verdicts | None:
    """Decide on `n` judged queries, again and again; None where too few are left to check it."""
    n_queries = one.ndcg.shape[1]
    if n_queries - n < _LEAST_HELD_OUT:
        return None
    deployed = false = 0
    for _ in range(n_draws):
        order = rng.permutation(n_queries)
        seen, held_out = order[:n], order[n:]
        measured = [
            MeasuredOption(option=option, ndcg=values[seen])
            for option, values in zip(one.options, one.ndcg, strict=True)
        ]
        verdict = decide_options(measured, rng=rng, confidence=confidence)
        if verdict.decision == "deploy":
            deployed += 1
            means = one.ndcg[:, held_out].mean(axis=1)
            false += bool(means[one.place(verdict.serve.label)] <= means[one.singles].max())
    return Verdicts(drawn=n_draws, deployed=deployed, false=false)

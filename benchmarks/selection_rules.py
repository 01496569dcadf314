"""Rules that choose an option, and how much each leaves on the table: regret in NDCG@10.

A rule sees one collection, and what was learned on the others; it never sees how an option did on the
queries that its choice is measured on, unless its name says "in hindsight" or "all labels".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from analysis.framework.dissimilarity import adjusted_dissimilarity, performance_gaps
from analysis.framework.printed import ALPHAS
from analysis.selection.deciding.prediction import JudgedCollection, Prior, expect, fit_prior
from analysis.selection.record import Option
from benchmarks.selection_data import SIMILARITIES, Measured
from retriever.records import LEXICAL

BEST_PUBLISHED = "best single by published scores"
OURS = ("our choice, vectors alone", "our choice, with BM25")
OF_PANELS = (
    "two best singles, calibrated",
    OURS[0],
    "best single model in hindsight",
    "best single by consensus",
)
"""Rules that are also tried with each model left out."""

Pool = Callable[[Option], bool]
Rule = Callable[[Measured, Sequence[Measured]], list[int]]
"""Returns the places of what it may choose, each as likely as the others."""

POOLS: Mapping[str, Pool] = {
    "vectors": lambda option: option.fusion == "sum" and LEXICAL not in option.legs,
    "all": lambda _: True,
}
"""Among which options the best in hindsight is: sums of models alone, or BM25 and fused ranks, too."""


def learned(others: Sequence[Measured]) -> Prior:
    """Return what the other collections tell."""
    return fit_prior(
        [
            JudgedCollection(
                name=one.name,
                quality=one.quality,
                measured=list(zip(one.options, one.means.tolist(), strict=True)),
            )
            for one in others
        ]
    )


def regret(one: Measured, places: Sequence[int], pool: Pool) -> float:
    """Return NDCG@10 of the best option of a pool in hindsight minus that of what was chosen."""
    best = max(mean for option, mean in zip(one.options, one.means, strict=True) if pool(option))
    return float(best - np.mean(one.means[list(places)]))


def label_free(pool: Pool) -> Rule:
    """Choose what is expected to be best among the options of a pool that can be deployed."""

    def choose(one: Measured, others: Sequence[Measured]) -> list[int]:
        places = [i for i, option in enumerate(one.options) if pool(option) and option.is_deployable]
        expected = expect([one.options[i] for i in places], one.quality, learned(others))
        return [places[int(expected.mean.argmax())]]

    return choose


def best_single_by(evidence: str) -> Rule:
    """Choose the single model that one kind of evidence has for the best."""

    def choose(one: Measured, _: Sequence[Measured]) -> list[int]:
        known = one.evidence[evidence]
        models = [i for i in one.singles if one.options[i].name in known]
        return [max(models, key=lambda i: known[one.options[i].name])] if models else one.singles

    return choose


def best_single_in_hindsight(one: Measured, _: Sequence[Measured]) -> list[int]:
    """Choose the single model that did best."""
    return [max(one.singles, key=lambda i: one.means[i])]


def random_pair(weighting: str) -> Rule:
    """Choose any pair."""
    return lambda one, _: [i for i, option in enumerate(one.options) if is_pair(option, weighting)]


def two_best(weighting: str, evidence: str | None = None) -> Rule:
    """Combine the two best single models, by labels or by evidence, whatever they are."""

    def choose(one: Measured, _: Sequence[Measured]) -> list[int]:
        quality = performance(one) if evidence is None else one.evidence[evidence]
        first, second = sorted(performance(one), key=lambda model: -quality[model])[:2]
        return [pair_place(one, (first, second), weighting)]

    return choose


def closest_pair(one: Measured, _: Sequence[Measured]) -> list[int]:
    """Choose the pair whose halves did most alike: α = 0, the paper's baseline."""
    quality = performance(one)
    pair = min(combinations(quality, 2), key=lambda pair: abs(quality[pair[0]] - quality[pair[1]]))
    return [pair_place(one, pair, "equal")]


def most_dissimilar(measure: str, *, evidence: str | None = None) -> Rule:
    """Choose the pair with the highest adjusted dissimilarity, gaps by labels or by evidence."""

    def choose(one: Measured, _: Sequence[Measured]) -> list[int]:
        pairs, adjusted = _adjusted(one, measure, evidence)
        return [pair_place(one, pairs[int(adjusted.argmax())], "equal")]

    return choose


def better_half_and_gain(measure: str, *, evidence: str | None = None) -> Rule:
    """Choose by the better half plus the gain that adjusted dissimilarity foretells, by a line."""

    def choose(one: Measured, others: Sequence[Measured]) -> list[int]:
        x, y = [], []
        for other in others:
            pairs, adjusted = _adjusted(other, measure, evidence)
            quality = performance(other)
            x += adjusted.tolist()
            y += [
                other.means[pair_place(other, pair, "equal")] - max(quality[pair[0]], quality[pair[1]])
                for pair in pairs
            ]
        slope, base = np.polyfit(x, y, 1)
        quality = performance(one) if evidence is None else _scaled(one, others, evidence)
        pairs, adjusted = _adjusted(one, measure, evidence)
        expected = [
            max(quality[a], quality[b]) + base + slope * value
            for (a, b), value in zip(pairs, adjusted, strict=True)
        ]
        return [pair_place(one, pairs[int(np.argmax(expected))], "equal")]

    return choose


def rules() -> dict[str, tuple[Rule, str]]:
    """Return all rules by name, each with what it needs to know."""
    found: dict[str, tuple[Rule, str]] = {
        "best single model in hindsight": (best_single_in_hindsight, "all labels"),
        "two best singles, equal weights": (two_best("equal"), "all labels"),
        "two best singles, calibrated": (two_best("calibrated"), "all labels"),
        "closest pair by performance": (closest_pair, "all labels"),
    }
    for measure in SIMILARITIES:
        found[f"highest AD, {measure}"] = (most_dissimilar(measure), "all labels")
        found[f"better half + gain by AD, {measure}"] = (better_half_and_gain(measure), "all labels")
    for measure in SIMILARITIES:
        found[f"highest AD, {measure}, gap by consensus"] = (
            most_dissimilar(measure, evidence="consensus"),
            "none",
        )
        found[f"better half + gain by AD, {measure}, by consensus"] = (
            better_half_and_gain(measure, evidence="consensus"),
            "none",
        )
    return found | {
        "random pair, equal weights": (random_pair("equal"), "none"),
        "random pair, calibrated": (random_pair("calibrated"), "none"),
        BEST_PUBLISHED: (best_single_by("published"), "published scores"),
        "best single by titles": (best_single_by("titles"), "none"),
        "best single by held-out sentences": (best_single_by("sentences"), "none"),
        "best single by consensus": (best_single_by("consensus"), "none"),
        "two best by consensus, calibrated": (two_best("calibrated", "consensus"), "none"),
        OURS[0]: (label_free(POOLS["vectors"]), "none"),
        OURS[1]: (label_free(POOLS["all"]), "none"),
    }


def panel_regrets(measured: Sequence[Measured], rule: Rule) -> dict[str, float]:
    """Return the mean regret over collections, among models alone, with each model left out in turn."""
    found: dict[str, float] = {}
    for without in measured[0].panels:
        regrets = []
        for one in measured:
            panel = _panel(one, without)
            others = [other for other in measured if other is not one]
            regrets.append(regret(panel, rule(panel, others), POOLS["vectors"]))
        found[without] = float(np.mean(regrets))
    return found


def _panel(one: Measured, without: str) -> Measured:
    """Return a collection as it would be without one model.

    Without quality weights too: they were measured as the agreement of all models gives them.
    """
    kept = [
        i
        for i, option in enumerate(one.options)
        if without not in option.models and option.weighting != "quality"
    ]
    return replace(
        one,
        options=tuple(one.options[i] for i in kept),
        ndcg=one.ndcg[kept],
        evidence={**one.evidence, "consensus": one.panels[without]},
    )


def performance(one: Measured) -> dict[str, float]:
    """Return NDCG@10 of each single model."""
    return {one.options[i].name: float(one.means[i]) for i in one.singles}


def is_pair(option: Option, weighting: str) -> bool:
    """Return whether it is a pair of models, joined so."""
    is_two = len(option.models) == 2 and LEXICAL not in option.legs
    how = option.weighting if option.fusion == "sum" else option.fusion
    return is_two and how == weighting


def pair_place(one: Measured, pair: Sequence[str], weighting: str) -> int:
    """Return where the weighted sum of two models is."""
    return next(
        i
        for i, option in enumerate(one.options)
        if is_pair(option, weighting) and set(option.models) == set(pair)
    )


def _adjusted(one: Measured, measure: str, evidence: str | None) -> tuple[list[tuple[str, str]], np.ndarray]:
    quality = performance(one) if evidence is None else one.evidence[evidence]
    known = {model: quality[model] for model in performance(one)}
    pairs = list(combinations(known, 2))
    similarity = np.array([one.similarities[measure]["+".join(pair)] for pair in pairs])
    gaps = performance_gaps(known, pairs)
    return pairs, adjusted_dissimilarity(1 - similarity, gaps, alpha=ALPHAS[measure])


def _scaled(one: Measured, others: Sequence[Measured], evidence: str) -> dict[str, float]:
    """Return evidence of models as NDCG@10, by the factor of the other collections."""
    factor = np.mean(
        [
            np.mean(list(performance(other).values()))
            / np.mean([other.evidence[evidence][model] for model in performance(other)])
            for other in others
        ]
    )
    return {model: float(factor) * one.evidence[evidence][model] for model in performance(one)}

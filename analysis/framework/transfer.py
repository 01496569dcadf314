"""What holds on one collection, carried to others: similarities, and α.

References
----------
.. [1] K. Ghosh Dastidar et al.: Combining Embedding Models for RAG: A Similarity-Based Approach
   (2025), Table 1 and section 5.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from analysis.evaluation.record import Pair
from analysis.framework.correlation import Correlations, correlate
from analysis.framework.dissimilarity import PairFigures
from analysis.framework.pearson import bootstrap_pearson, both_defined, pearson
from analysis.framework.tuning import tune_alpha
from analysis.framework.values import defined_or_none
from analysis.resampling import N_RESAMPLES, Interval
from retriever.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How the similarities of pairs on two collections go together.

    Attributes
    ----------
    collections
        Their names.
    rho
        Pearson's ρ over the pairs that both have; NaN with fewer than three, or where one side is
        constant.
    interval
        Over draws of models, see `bootstrap_pearson`; None where that is not defined.
    n_pairs
        How many pairs both have.
    """

    collections: tuple[str, str]
    rho: float
    interval: Interval | None
    n_pairs: int

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; None where a number is not defined."""
        return {
            "collections": list(self.collections),
            "rho": defined_or_none(self.rho),
            "interval": None if self.interval is None else self.interval.to_json(),
            "pairs": self.n_pairs,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Consistency:
    """How one similarity measure agrees across collections ([1]_, Table 1).

    Attributes
    ----------
    measure
        Which similarity.
    collections
        In the order given.
    agreements
        One per two collections, in the order of `itertools.combinations`.
    """

    measure: str
    collections: tuple[str, ...]
    agreements: tuple[Agreement, ...]

    def rho(self, a: str, b: str) -> float:
        """Return ρ of two collections in either order; 1 for a collection with itself."""
        if a == b and a in self.collections:
            return 1.0
        for agreement in self.agreements:
            if set(agreement.collections) == {a, b}:
                return agreement.rho
        raise InputError(
            f"collections: expected two of {', '.join(self.collections)}, got {a} and {b}. Name collections "
            f"that were compared."
        )

    @property
    def mean(self) -> float:
        """The mean ρ over two different collections each, where it is defined; NaN if nowhere."""
        defined = [agreement.rho for agreement in self.agreements if not math.isnan(agreement.rho)]
        return math.fsum(defined) / len(defined) if defined else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; None where a number is not defined."""
        return {
            "measure": self.measure,
            "collections": list(self.collections),
            "mean": defined_or_none(self.mean),
            "agreements": [agreement.to_json() for agreement in self.agreements],
        }


def consistency(
    similarities: Mapping[str, Mapping[Pair, float]],
    *,
    measure: str,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
) -> Consistency:
    """Correlate the similarities of pairs between every two collections ([1]_, Table 1).

    Parameters
    ----------
    similarities
        By collection, then by pair, see `similarities_by_pair`. A pair is the same in either order of
        its models. Collections may differ in their models: ρ is over the pairs that both have.
    measure
        Its name, for the record.
    rng, n_resamples, confidence
        As in `bootstrap_pearson`.

    Raises
    ------
    ShapeError
        If confidence or n_resamples are out of range.
    """
    known = {name: _by_models(given) for name, given in similarities.items()}
    agreements = []
    for a, b in combinations(known, 2):
        shared = [pair for pair in known[a] if pair in known[b]]
        x, y = (np.array([known[name][pair] for pair in shared], dtype=np.float64) for name in (a, b))
        agreements.append(
            Agreement(
                collections=(a, b),
                rho=pearson(x, y),
                interval=bootstrap_pearson(
                    shared, x, y, rng=rng, n_resamples=n_resamples, confidence=confidence
                ),
                n_pairs=len(both_defined(x, y)[0]),
            )
        )
    return Consistency(measure=measure, collections=tuple(known), agreements=tuple(agreements))


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """What one collection says about the gains on others ([1]_, section 5.2).

    Attributes
    ----------
    source
        The collection that was carried from.
    alpha
        Of the adjusted dissimilarities.
    by_collection
        Correlations on each other collection.
    """

    source: str
    alpha: float
    by_collection: Mapping[str, Correlations]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; None where a number is not defined."""
        return {
            "source": self.source,
            "alpha": self.alpha,
            "by_collection": {name: found.to_json() for name, found in self.by_collection.items()},
        }


def transfer_similarities(  # noqa: PLR0913  # whence and how, and what any bootstrap needs
    figures: Mapping[str, PairFigures],
    *,
    source: str,
    alpha: float,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
) -> Transfer:
    """Correlate the gains on each other collection with the similarities of `source`.

    Gaps in performance and gains are those of the other collection, over the pairs that both have.

    Parameters
    ----------
    figures
        By collection, of one measure and weighting.
    source
        Whose similarities are used.
    alpha
        In [0, 1].
    rng, n_resamples, confidence
        As in `bootstrap_pearson`.

    Raises
    ------
    InputError
        If the source is not one of the collections.
    ShapeError
        If an option is out of range.
    """
    _check_source(source, figures)
    similarities = _by_models(dict(zip(figures[source].pairs, figures[source].similarity, strict=True)))
    return Transfer(
        source=source,
        alpha=alpha,
        by_collection={
            name: correlate(
                _with_similarities(target, similarities),
                alpha=alpha,
                rng=rng,
                n_resamples=n_resamples,
                confidence=confidence,
            )
            for name, target in figures.items()
            if name != source
        },
    )


def transfer_alpha(
    figures: Mapping[str, PairFigures],
    *,
    source: str,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
) -> Transfer:
    """Tune α on `source`, and use it on each other collection with its own similarities.

    The α is that of the grid with the highest overall ρ, see `AlphaCurve.best`.

    Parameters
    ----------
    figures
        By collection, of one measure and weighting.
    source
        Which to tune on.
    rng, n_resamples, confidence
        As in `bootstrap_pearson`.

    Raises
    ------
    InputError
        If the source is not one of the collections, or has no ρ to tune.
    ShapeError
        If an option is out of range.
    """
    _check_source(source, figures)
    alpha = tune_alpha(figures[source]).best
    if math.isnan(alpha):
        raise InputError(
            f"source: expected a collection with at least three pairs that differ in gain, got {source!r}. "
            f"Tune α on another one, or use the paper's."
        )
    return Transfer(
        source=source,
        alpha=alpha,
        by_collection={
            name: correlate(target, alpha=alpha, rng=rng, n_resamples=n_resamples, confidence=confidence)
            for name, target in figures.items()
            if name != source
        },
    )


def _by_models(similarities: Mapping[Pair, float]) -> dict[Pair, float]:
    """Return the same with the models of each pair in alphabetical order."""
    return {(min(pair), max(pair)): value for pair, value in similarities.items()}


def _with_similarities(figures: PairFigures, similarities: Mapping[Pair, float]) -> PairFigures:
    kept = [index for index, pair in enumerate(figures.pairs) if (min(pair), max(pair)) in similarities]
    pairs = tuple(figures.pairs[index] for index in kept)
    return replace(
        figures,
        pairs=pairs,
        similarity=np.array([similarities[min(pair), max(pair)] for pair in pairs], dtype=np.float64),
        gap=figures.gap[kept],
        gain=figures.gain[kept],
    )


def _check_source(source: str, figures: Mapping[str, PairFigures]) -> None:
    if source not in figures:
        raise InputError(
            f"source: expected one of {', '.join(figures) or 'no collections'}, got {source!r}. Name a "
            f"collection that was measured."
        )

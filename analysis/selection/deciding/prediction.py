"""What evidence lets expect of an option before a query is judged: NDCG@10 with its uncertainty.

The quality of a model is foretold by its evidence (agreement with the consensus of the others), up to a
factor that no corpus tells: how hard its questions are. That of a combination is its best model's and a
gain that falls with the gap between its models. What both amount to was fitted on judged collections, see
`fit_prior` and ``benchmarks/selection.py``. All of it is one normal distribution over the options, so
judgements of a few queries can correct it, see `analysis.selection.deciding.shrinkage`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from analysis.arrays import FloatArray
from analysis.selection.deciding.shrinkage import updated
from analysis.selection.record import Option
from retriever.errors import InputError
from retriever.records import LEXICAL

_RIDGE = 1e-3  # of squared gaps
_CONTENDERS = 16  # an option whose best model is 10 % behind counts a fifth: it is not what is chosen
CLEAR = 1.5
"""Standard errors by which judged queries have to speak up to overrule evidence."""

_USUAL_QUERIES = 5
_SHARED = 0.8  # of the variance of a gain is that of the legs, whatever their weights
_SHALLOWEST = -0.02  # a weaker partner never helps more, whatever a few collections say
_FEWEST = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class KindOfGain:
    """What a kind of option gains over its best model, in shares of the NDCG@10 of that model.

    ``base + slope·x``, x being the relative gap between the quality of its best and of its worst leg, and
    the standard deviation around it.
    """

    base: float
    slope: float
    deviation: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """What judged collections tell of options of other corpora.

    Attributes
    ----------
    factor, factor_deviation
        NDCG@10 of a model over its evidence, the mean over collections and how far collections differ.
    model_deviation
        How far a model is from what evidence says it has of the best one's NDCG@10, those near the best
        counting most.
    lexical_factor, lexical_deviation
        The same of BM25.
    gains
        By kind, see `kinds_of`; that of BM25 is over the same models without it.
    collections
        On which it was fitted.
    """

    factor: float
    factor_deviation: float
    model_deviation: float
    lexical_factor: float
    lexical_deviation: float
    gains: Mapping[str, KindOfGain]
    collections: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "factor": self.factor,
            "factor_deviation": self.factor_deviation,
            "model_deviation": self.model_deviation,
            "lexical_factor": self.lexical_factor,
            "lexical_deviation": self.lexical_deviation,
            "gains": {
                kind: [gain.base, gain.slope, gain.deviation] for kind, gain in sorted(self.gains.items())
            },
            "collections": list(self.collections),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Prior:
        """Return what `to_json` gave."""
        gains = {
            kind: KindOfGain(base=base, slope=slope, deviation=deviation)
            for kind, (base, slope, deviation) in values["gains"].items()
        }
        return cls(**{**values, "gains": gains, "collections": tuple(values["collections"])})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Expectation:
    """A normal distribution over the NDCG@10 of options.

    Attributes
    ----------
    mean : float64, shape (n_options,)
    covariance : float64, shape (n_options, n_options)
    """

    mean: FloatArray
    covariance: FloatArray

    @property
    def deviation(self) -> FloatArray:
        """Standard deviation of each option, shape (n_options,)."""
        root: FloatArray = np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        return root

    def of(self, rows: Sequence[int]) -> Expectation:
        """Return that of some of the options."""
        return Expectation(mean=self.mean[list(rows)], covariance=self.covariance[np.ix_(rows, rows)])

    def gain(self, option: int, over: int) -> tuple[float, float]:
        """Return mean and standard deviation of the gain of one option over another."""
        variance = (
            self.covariance[option, option] + self.covariance[over, over] - 2 * self.covariance[option, over]
        )
        return float(self.mean[option] - self.mean[over]), float(np.sqrt(max(variance, 0.0)))


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedCollection:
    """What `fit_prior` learns from: `quality` by leg, and options with their NDCG@10."""

    name: str
    quality: Mapping[str, float]
    measured: Sequence[tuple[Option, float]]


@lru_cache(maxsize=1)
def known_prior() -> Prior:
    """Return the prior that was fitted on the collections of ``benchmarks/selection.py``."""
    text = files("analysis.selection").joinpath("data", "prior.json").read_text(encoding="utf-8")
    return Prior.from_json(json.loads(text))


def expect(
    options: Sequence[Option], quality: Mapping[str, float], prior: Prior | None = None
) -> Expectation:
    """Return what to expect of options whose legs have this evidence.

    Parameters
    ----------
    options
        At least one.
    quality
        Evidence by leg, above 0: agreement with the consensus, see `analysis.selection.evidence`.
    prior
        The default is `known_prior`.

    Raises
    ------
    InputError
        If a leg of an option has no evidence.
    """
    known = prior or known_prior()
    legs = tuple(dict.fromkeys(leg for option in options for leg in option.legs))
    lacking = [leg for leg in legs if not quality.get(leg, 0.0) > 0]
    if lacking:
        raise InputError(
            f"evidence: expected a quality above 0 of every leg, got none of {', '.join(lacking)}. Measure "
            f"the agreement of all models that take part."
        )
    level = float(np.mean([quality[leg] for leg in legs if leg != LEXICAL] or [quality[LEXICAL]]))
    column = {leg: index + 1 for index, leg in enumerate(legs)}  # column 0: the factor of the collection
    joined = {legs: index for index, legs in enumerate(dict.fromkeys(option.legs for option in options))}
    effects = np.zeros((len(options), 1 + len(legs) + len(joined) + len(options)))
    mean = np.zeros(len(options))
    for row, option in enumerate(options):
        leader = leading_leg(option, quality)
        share, deviation = _share(option, quality, known)
        factor = known.lexical_factor if leader == LEXICAL else known.factor
        mean[row] = factor * quality[leader] * share
        effects[row, 0] = quality[leader] * share * factor / known.factor
        for model, part in _leadership(option, quality).items():
            effects[row, column[model]] = share * part
        own = deviation * factor * quality[leader]
        effects[row, 1 + len(legs) + joined[option.legs]] = own * np.sqrt(_SHARED)
        effects[row, 1 + len(legs) + len(joined) + row] = own * np.sqrt(1 - _SHARED)
    variances = np.concatenate(
        [
            [known.factor_deviation**2],
            [_leg_variance(leg, known, level) for leg in legs],
            np.ones(len(joined) + len(options)),
        ]
    )
    return Expectation(mean=np.clip(mean, 0.0, 1.0), covariance=(effects * variances) @ effects.T)


def corrected(expected: Expectation, ndcg: FloatArray) -> Expectation:
    """Return what to expect once some queries are judged.

    The posterior of `shrinkage.updated`, which widens an expectation that judgements contradict: a corpus
    that is unlike those the prior was fitted on is not held to it.

    Parameters
    ----------
    expected
        Of the options, without judgements.
    ndcg : float64, shape (n_options, n_queries)
        NDCG@10 of each judged query; at least `FEWEST_QUERIES`.

    Raises
    ------
    ShapeError
        As `shrinkage.updated`.
    """
    mean, covariance = updated(expected.mean, expected.covariance, ndcg)
    return Expectation(mean=mean, covariance=covariance)


def choose(expected: Expectation, ndcg: FloatArray | None = None, *, clear: float = CLEAR) -> int:
    """Return which option to serve for a start: the first of those expected to be best.

    Where some queries are judged, they overrule what is expected without them only where they speak up: an
    option must beat that choice by `clear` standard errors of the paired difference. Of those that do, and
    the choice itself, the one with the highest corrected expectation is taken.

    Parameters
    ----------
    expected
        Without judgements.
    ndcg : float64, shape (n_options, n_queries)
        NDCG@10 of each judged query, at least `FEWEST_QUERIES`; None if there are none.
    clear
        At least 0; 0 where the expectation rests on too little to be defended.

    Returns
    -------
    int
        The row of the option.

    Raises
    ------
    ShapeError
        As `shrinkage.updated`.
    """
    first = int(expected.mean.argmax())
    if ndcg is None:
        return first
    differences = ndcg - ndcg[first]
    means = corrected(expected, ndcg).mean
    overruling = differences.mean(axis=1) > clear * _standard_errors(differences)
    overruling[first] = True
    return int(np.where(overruling, means, -np.inf).argmax())


def _standard_errors(differences: FloatArray) -> FloatArray:
    """Return those of the means of rows, variances drawn to their median as by five more queries."""
    n_queries = differences.shape[1]
    variances = differences.var(axis=1, ddof=1)
    differing = variances[variances > 0]
    usual = float(np.median(differing)) if len(differing) else 0.0
    drawn = (variances * (n_queries - 1) + usual * _USUAL_QUERIES) / (n_queries - 1 + _USUAL_QUERIES)
    errors: FloatArray = np.sqrt(drawn / n_queries)
    return errors


def leading_leg(option: Option, quality: Mapping[str, float]) -> str:
    """Return the model of an option with the most evidence; BM25 where it has none."""
    return max(option.models or option.legs, key=lambda leg: quality[leg])


def gap_of(option: Option, quality: Mapping[str, float]) -> float:
    """Return by how much its weakest model falls behind its best, as a share of the best; in [0, 1)."""
    values = [quality[leg] for leg in option.models or option.legs]
    return 1 - min(values) / max(values)


def kinds_of(option: Option) -> tuple[str, ...]:
    """Return what an option gains by, step by step: ``"2 calibrated"`` models, then ``"bm25 calibrated"``."""
    how = option.weighting if option.fusion == "sum" else option.fusion
    called = "quality" if how == "tuned" else how
    models = (f"{len(option.models)} {called}",) if len(option.models) > 1 else ()
    return (*models, f"{LEXICAL} {called}") if option.models and LEXICAL in option.legs else models


def fit_prior(collections: Sequence[JudgedCollection]) -> Prior:
    """Learn what evidence amounts to from judged collections.

    Parameters
    ----------
    collections
        At least three, each with two single models or more.

    Raises
    ------
    InputError
        If there are fewer.
    """
    if len(collections) < _FEWEST:
        raise InputError(
            f"collections: expected at least {_FEWEST} judged ones to learn from, got {len(collections)}."
        )
    factors, lexical, deviations = [], [], []
    shares: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for collection in collections:
        singles = {option.legs[0]: value for option, value in collection.measured if _is_leg(option)}
        known = {_key_of(option): value for option, value in collection.measured}
        models = [leg for leg in singles if leg != LEXICAL]
        level = float(np.mean([singles[leg] for leg in models]))
        evidence = np.array([collection.quality[leg] for leg in models])
        factor = level / float(evidence.mean())
        factors.append(factor)
        deviations += _deviations({leg: singles[leg] for leg in models}, collection.quality)
        if LEXICAL in singles:
            lexical.append(singles[LEXICAL] / (factor * collection.quality[LEXICAL]))
        for option, value in collection.measured:
            if not _is_leg(option):
                leader = leading_leg(option, collection.quality)
                is_lexical = LEXICAL in option.legs
                gap = 0.0 if is_lexical else gap_of(option, collection.quality)
                closeness = (collection.quality[leader] / max(evidence)) ** _CONTENDERS
                without = known.get(_key_of(option, without=LEXICAL)) if is_lexical else None
                before = singles[leader] if without is None else without
                shares[kinds_of(option)[-1]].append((gap, value / before - 1, closeness))
    factor = float(np.mean(factors))
    return Prior(
        factor=factor,
        factor_deviation=float(np.std(factors, ddof=1)),
        model_deviation=_weighted_deviation(deviations),
        lexical_factor=factor * float(np.mean(lexical)) if lexical else factor,
        lexical_deviation=float(np.std(lexical)) if lexical else _weighted_deviation(deviations),
        gains={kind: _gain(found) for kind, found in sorted(shares.items())},
        collections=tuple(collection.name for collection in collections),
    )


_NO_GAIN = KindOfGain(base=0.0, slope=0.0, deviation=0.1)


def _is_leg(option: Option) -> bool:
    return len(option.legs) == 1


def _key_of(option: Option, *, without: str = "") -> tuple[tuple[str, ...], str, str]:
    legs = tuple(leg for leg in option.legs if leg != without)
    how = "equal" if len(legs) == 1 else option.weighting
    return legs, how, "sum" if len(legs) == 1 else option.fusion


def _leadership(option: Option, quality: Mapping[str, float]) -> dict[str, float]:
    """Return how far the NDCG@10 of an option follows that of each of its models; the parts sum to 1."""
    models = option.models or option.legs
    best = max(quality[model] for model in models)
    parts = {model: (quality[model] / best) ** _CONTENDERS for model in models}
    total = sum(parts.values())
    return {model: part / total for model, part in parts.items()}


def _share(option: Option, quality: Mapping[str, float], prior: Prior) -> tuple[float, float]:
    """Return NDCG@10 of an option over that of its best model, and the standard deviation of that."""
    share, variance = 1.0, 0.0
    for kind in kinds_of(option):
        gain = prior.gains.get(kind) or prior.gains.get(f"2 {kind.split()[1]}", _NO_GAIN)
        gap = 0.0 if kind.startswith(LEXICAL) else gap_of(option, quality)
        share *= 1 + gain.base + gain.slope * gap
        variance += gain.deviation**2
    return share, float(np.sqrt(variance))


def _leg_variance(leg: str, prior: Prior, level: float) -> float:
    deviation = prior.lexical_deviation if leg == LEXICAL else prior.model_deviation
    return (deviation * prior.factor * level) ** 2


def _deviations(measured: Mapping[str, float], quality: Mapping[str, float]) -> list[tuple[float, float]]:
    """Return how far each model is from what evidence says it has of the best one's NDCG@10, and weights."""
    best = max(measured, key=lambda leg: quality[leg])
    shares = {leg: quality[leg] / quality[best] for leg in measured if leg != best}
    return [(measured[leg] / measured[best] - share, share**_CONTENDERS) for leg, share in shares.items()]


def _weighted_deviation(deviations: Sequence[tuple[float, float]]) -> float:
    values, weights = np.array(deviations, dtype=np.float64).T
    return float(np.sqrt(weights @ values**2 / weights.sum()))


def _gain(found: Iterable[tuple[float, float, float]]) -> KindOfGain:
    """Fit a line through gaps and gains at their weights, its slope drawn towards 0."""
    gaps, gains, weights = np.array(list(found), dtype=np.float64).T
    weights /= weights.sum()
    centred = gaps - weights @ gaps
    slope = float((weights * centred) @ gains / ((weights * centred) @ centred + _RIDGE))
    slope = min(slope, _SHALLOWEST) if gaps.any() else 0.0
    base = float(weights @ gains - slope * (weights @ gaps))
    left = gains - base - slope * gaps
    return KindOfGain(base=base, slope=slope, deviation=float(np.sqrt((weights * left) @ left)))

"""What could be served, listed: the models, pairs of them, and what one would try first instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import get_args

from analysis.evaluation.record import Pair
from analysis.selection.record import Option, OptionWeighting
from retriever.combine import calibrated_weights, equal_weights
from retriever.errors import InputError
from retriever.records import LEXICAL
from retriever.search.wish import Fusion

_POWER = 4.0
_STEPS = 9
_COMPUTED: tuple[OptionWeighting, ...] = get_args(OptionWeighting)[:3]


def enumerate_options(
    keys: Sequence[str],
    spreads: Mapping[str, float],
    *,
    quality: Mapping[str, float] | None = None,
    lexical: bool = False,
    fusions: bool = True,
) -> tuple[Option, ...]:
    """Return all options of up to two models: what a table of candidates shows.

    Singles, pairs at each weighting, then, for comparison, BM25 and BM25 as one more leg, and the ranks
    and distributions of pairs fused. Labels are unique and the order is that of `keys`. Larger
    combinations are found by `grow`.

    Parameters
    ----------
    keys
        Of the models, in the order of the corpus.
    spreads
        By leg, see `analysis.selection.scoring.legs.CorpusLegs.spreads`.
    quality
        What is expected of each model, for quality weights; None for none.
    lexical
        Whether BM25 takes part.
    fusions
        Whether to list fused rankings.

    Raises
    ------
    InputError
        If a model comes twice, or lacks a spread or a quality that its options need.
    """
    options = [*singles(keys), *pairs(keys, spreads, quality=quality)]
    if lexical:
        options += with_lexical(keys, spreads)
    if fusions:
        options += fused(keys)
    return tuple(options)


def singles(keys: Sequence[str]) -> tuple[Option, ...]:
    """Return each model alone."""
    return tuple(Option(weights={key: 1.0}) for key in _checked(keys))


def pairs(
    keys: Sequence[str], spreads: Mapping[str, float], *, quality: Mapping[str, float] | None = None
) -> tuple[Option, ...]:
    """Return each pair at equal, then calibrated weights, then, where `quality` is given, weighted by it."""
    weightings = _COMPUTED if quality is not None else _COMPUTED[:2]
    return tuple(
        weighted(pair, weighting, spreads, quality=quality)
        for pair in _pairs(keys)
        for weighting in weightings
    )


def with_lexical(keys: Sequence[str], spreads: Mapping[str, float]) -> tuple[Option, ...]:
    """Return BM25 alone, then with each model, then with each pair, at calibrated weights."""
    models = [*((key,) for key in _checked(keys)), *_pairs(keys)]
    return (
        Option(weights={LEXICAL: 1.0}),
        *(weighted((*some, LEXICAL), "calibrated", spreads) for some in models),
    )


def fused(keys: Sequence[str]) -> tuple[Option, ...]:
    """Return each pair with its ranks fused, then its distributions: what the retriever serves on request."""
    methods: tuple[Fusion, ...] = ("rrf", "dbsf")
    return tuple(
        Option(weights=equal_weights(pair), fusion=method) for pair in _pairs(keys) for method in methods
    )


def grid_options(pair: Pair, spreads: Mapping[str, float], *, steps: int = _STEPS) -> tuple[Option, ...]:
    """Return a pair at many weights, from nearly its second half alone to nearly its first.

    Steps are even on the calibrated scale, ``w_1·s_1 / (w_1·s_1 + w_2·s_2) = i / (steps + 1)``: where the
    spreads differ by a factor of five, even steps of the weights would leave out one side. With an odd
    number of steps the calibrated weights are in the middle.

    Parameters
    ----------
    pair
        Two legs.
    spreads
        By leg.
    steps
        How many weights.

    Raises
    ------
    InputError
        If there is no step, or a leg has no spread.
    """
    if steps < 1:
        raise InputError(f"steps: expected at least 1, got {steps}. {_STEPS} are usual.")
    calibrated = calibrated_weights(pair, spreads)
    shares = [step / (steps + 1) for step in range(1, steps + 1)]
    return tuple(
        Option(
            weights=_normalised(
                {pair[0]: share * calibrated[pair[0]], pair[1]: (1 - share) * calibrated[pair[1]]}
            ),
            weighting="tuned",
        )
        for share in shares
    )


def quality_weights(
    legs: Sequence[str],
    spreads: Mapping[str, float],
    quality: Mapping[str, float],
    *,
    power: float = _POWER,
) -> dict[str, float]:
    """Return weights of ``quality^power / spread``, summing to 1.

    Parameters
    ----------
    legs
        Whose weights.
    spreads
        By leg.
    quality
        By leg, at least 0: NDCG@10 as measured or expected, or another number that follows it.
    power
        How much the better leg counts; 0 gives calibrated weights.

    Raises
    ------
    InputError
        If a leg has no spread or no quality, one is negative, or all are 0.
    """
    unknown = [leg for leg in legs if not quality.get(leg, -1.0) >= 0]
    if unknown:
        raise InputError(
            f"quality weights: expected a quality of at least 0 of every leg, got none of "
            f"{', '.join(unknown)}. Give one for each, or use calibrated weights."
        )
    if not any(quality[leg] for leg in legs):
        raise InputError(
            f"quality weights: expected a quality above 0 of one of {', '.join(legs)}, got 0 of all. "
            f"Use calibrated weights."
        )
    calibrated = calibrated_weights(legs, spreads)
    return _normalised({leg: calibrated[leg] * quality[leg] ** power for leg in legs})


def weighted(
    legs: Sequence[str],
    weighting: OptionWeighting,
    spreads: Mapping[str, float],
    *,
    quality: Mapping[str, float] | None = None,
) -> Option:
    """Return the sum of legs at weights that follow a rule: any but ``"tuned"``.

    Raises
    ------
    InputError
        If there is no such rule, or a leg lacks the spread or the quality that it needs.
    """
    if weighting == "equal" or len(legs) == 1:
        return Option(weights=equal_weights(legs))
    if weighting == "calibrated":
        return Option(weights=calibrated_weights(legs, spreads), weighting="calibrated")
    if weighting == "quality":
        return Option(weights=quality_weights(legs, spreads, quality or {}), weighting="quality")
    raise InputError(
        f"weighting: expected one of {', '.join(_COMPUTED)}, got {weighting!r}: tuned weights are found on "
        f"judged queries. Choose a rule."
    )


def grow(  # noqa: PLR0913  # options by name
    measure_one: Callable[[Sequence[Option]], Sequence[float]],
    start: Option,
    keys: Sequence[str],
    spreads: Mapping[str, float],
    *,
    quality: Mapping[str, float] | None = None,
    most_legs: int | None = None,
) -> tuple[Option, ...]:
    """Return an option and what it becomes by adding the best leg, then the next, while that gains.

    Parameters
    ----------
    measure_one
        Returns the quality of some options. It is given every option that is looked at, so whoever
        corrects for how many these were counts them here.
    start
        A sum of scores at weights that follow a rule, which the larger ones keep; the calibrated one
        where it is a single leg.
    keys
        What may be added, and in this order the legs of an option stand, ``"bm25"`` last: those of the
        models in the order of the corpus, and ``"bm25"`` if that may be added. Of equals the first is
        taken.
    spreads, quality
        By leg, for the weights.
    most_legs
        How many legs an option has at most; None for all.

    Returns
    -------
    tuple of Option
        `start` first, each of the others with one leg more than the one before.

    Raises
    ------
    InputError
        If `start` is no sum, its weights are tuned, or it has a leg that is not among `keys`.
    """
    ordered = [*(key for key in _checked(keys) if key != LEXICAL), *(key for key in keys if key == LEXICAL)]
    _check_start(start, ordered)
    rule: OptionWeighting = "calibrated" if len(start.legs) == 1 else start.weighting
    path, (best,) = [start], measure_one([start])
    for _ in range(len(start.legs), len(ordered) if most_legs is None else min(most_legs, len(ordered))):
        there = path[-1].legs
        larger = [
            weighted([leg for leg in ordered if leg in {*there, added}], rule, spreads, quality=quality)
            for added in ordered
            if added not in there
        ]
        values = list(measure_one(larger))
        found = max(values)
        if not found > best:
            break
        path.append(larger[values.index(found)])
        best = found
    return tuple(path)


def _check_start(start: Option, keys: Sequence[str]) -> None:
    strangers = [leg for leg in start.legs if leg not in keys]
    if start.fusion != "sum" or start.weighting == "tuned" or strangers:
        raise InputError(
            f"start: expected a sum at weights that follow a rule, of {', '.join(keys)}, got {start.label}. "
            f"Start from another option, or name its legs among the keys."
        )


def _pairs(keys: Sequence[str]) -> Iterator[Pair]:
    return combinations(_checked(keys), 2)


def _checked(keys: Sequence[str]) -> Sequence[str]:
    if not keys or len(set(keys)) < len(keys):
        raise InputError(
            f"keys: expected at least one and each once, got {', '.join(keys) or 'none'}. Name different "
            f"models."
        )
    return keys


def _normalised(values: Mapping[str, float]) -> dict[str, float]:
    total = sum(values.values())
    return {leg: value / total for leg, value in values.items()}

"""From an open corpus to a selection: what could be served, what it is worth, what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import numpy as np

from analysis.arrays import FloatArray, IntArray
from analysis.evaluation import CUTOFF
from analysis.judgements import Judgements
from analysis.rankings import own_documents
from analysis.resampling import Interval, bootstrap_mean
from analysis.selection.costs.budget import Budget
from analysis.selection.costs.cost import Costs, measure_costs
from analysis.selection.costs.pareto import pareto_front
from analysis.selection.deciding.decision import UNKNOWN_COST, OptionVerdict, decide_options
from analysis.selection.deciding.gate import Gate, check_gate
from analysis.selection.deciding.prediction import CLEAR, Expectation, choose, corrected, expect
from analysis.selection.deciding.shrinkage import FEWEST_QUERIES
from analysis.selection.deciding.tuning import tune_weights
from analysis.selection.evidence import agreement_quality, training_warnings
from analysis.selection.outcome import Row, Selection
from analysis.selection.record import MeasuredOption, Option
from analysis.selection.scoring.candidates import enumerate_options, grid_options, grow, weighted
from analysis.selection.scoring.legs import CorpusLegs, LexicalLeg, chunk_legs, corpus_legs
from analysis.selection.scoring.scoreboard import measure
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models.protocol import EmbeddingModel

_CHUNKS_FOR_QUERIES = 200
_TUNED_PAIRS = 5
_LEAST_QUALITY = 1e-3  # of a leg that agrees with nobody at all: it is expected to be of no use
_RESAMPLES = 2000
_PAIR = 2
_MOST_LEGS = 3
_ENOUGH_JUDGES = 5  # each is judged by four others then


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """How to select.

    Attributes
    ----------
    lexical
        Whether BM25 takes part, alone and as one more leg.
    fusions
        Whether fused ranks and distributions are shown for comparison.
    costs
        Whether to measure what each option takes: 64 stored chunks are embedded again by each model.
    budget
        What an option may cost at most to be served.
    gate
        What a served option must reach; None for nothing.
    confidence
        Of intervals and verdict, in (0, 1).
    minimum_gain
        In NDCG@10 over the best single model; what a combination must exceed to be worth its cost.
    drop_own
        Whether to drop hits whose document id equals the query id (ArguAna).
    collection
        What the collection is called in public, for a warning where a model was trained on it.
    seed
        Of resamples, folds, and chunks in the place of queries.
    """

    lexical: bool = True
    fusions: bool = True
    costs: bool = True
    budget: Budget = field(default_factory=Budget)
    gate: Gate | None = None
    confidence: float = 0.95
    minimum_gain: float = 0.0
    drop_own: bool = False
    collection: str | None = None
    seed: int = 0


def select_corpus(  # noqa: PLR0913  # all but the first by name
    corpus: Corpus,
    *,
    keys: Sequence[str] | None = None,
    judgements: Judgements | None = None,
    queries: Mapping[str, str] | None = None,
    wishes: Wishes | None = None,
    models: Mapping[str, EmbeddingModel] | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Selection:
    """Say what a corpus should serve: one of its models, a combination, or that it cannot be told yet.

    With judgements, options are measured and the verdict is `decide_options`; weights are tuned inside
    folds. What is expected of each option joins evidence that needs no judgement with whatever is judged,
    so few judgements are worth more than they would be alone. Without judgements there is only that
    expectation, and it is called so.

    Parameters
    ----------
    corpus
        An open corpus whose ingest is complete.
    keys
        Which of its models; None for all.
    judgements
        Judged queries, if there are any.
    queries
        Text by query id of queries that are not judged, where there are no judgements; None for chunks of
        the corpus in their place, of which each must find what other chunks are like it: nothing is embedded.
    wishes
        How; the default is `Wishes()`.
    models
        Embedding models by key, where they shall not be loaded as they were at ingest.
    on_step
        Called with what is done next.

    Raises
    ------
    InputError
        If there is one leg alone, a gate or a budget that cannot be checked, or one judged query alone.
    JudgementsError
        If not one judged document is in the corpus.
    ModelMismatchError, StoreCorruptError, StoreError
        As in `analysis.selection.scoring.legs.corpus_legs`.
    """
    selector = _Selector(corpus, keys, wishes or Wishes(), models, on_step or (lambda _: None))
    return selector.judged(judgements) if judgements is not None else selector.unjudged(queries)


class _Selector:
    def __init__(
        self,
        corpus: Corpus,
        keys: Sequence[str] | None,
        wishes: Wishes,
        models: Mapping[str, EmbeddingModel] | None,
        on_step: Callable[[str], None],
    ) -> None:
        self._corpus = corpus
        self._keys = tuple(corpus.manifest.ordered(corpus.manifest.keys if keys is None else keys))
        self._wishes = wishes
        self._models = None if models is None else {k: models[k] for k in self._keys if k in models}
        self._tell = on_step
        if len(self._keys) + wishes.lexical < _PAIR:
            raise InputError(
                f"candidates: expected two models of corpus {corpus.name!r} or more, or BM25 beside one, got "
                f"{', '.join(self._keys)}. Ingest another model, or let BM25 take part."
            )

    def judged(self, judgements: Judgements) -> Selection:
        if len(judgements.queries) < FEWEST_QUERIES:
            raise InputError(
                f"judgements: expected at least {FEWEST_QUERIES} judged queries, got "
                f"{len(judgements.queries)}. Judge more, or give queries without judgements."
            )
        self._tell(f"embedding {len(judgements.queries):,} queries")
        with self._legs(judgements.texts) as legs:
            own = own_documents(judgements.query_ids, legs.documents.ids) if self._wishes.drop_own else None
            quality = self._quality(legs, own=own)
            options = self._options(legs, quality)
            self._tell(f"measuring {len(options)} options")
            measured = [*self._measured(legs, options, judgements)]
            measured += self._grown(legs, measured, judgements, quality)
            measured += self._tuned(legs, options, judgements, quality)
            costs = self._costs(legs, judgements.texts)
        return self._with_verdict(measured, quality, costs)

    def unjudged(self, queries: Mapping[str, str] | None) -> Selection:
        if self._wishes.gate is not None:
            raise InputError(
                f"gate: expected judged queries to check {self._wishes.gate} on, got none. Give judgements: "
                f"what is only expected meets no gate."
            )
        with self._unjudged_legs(queries) as (legs, own):
            quality = self._quality(legs, own=own)
            options = self._options(legs, quality)
            best = sorted(self._keys, key=lambda key: -quality[key])[:_MOST_LEGS]
            if len(best) == _MOST_LEGS:
                triple = [key for key in self._keys if key in best]
                options = (*options, weighted(triple, "quality", legs.spreads, quality=quality))
            costs = self._costs(legs, list((queries or {}).values()))
        n_queries = len(queries or {}) if own is None else len(own)
        expected = expect(options, quality)
        rows = self._rows(options, expected, costs)
        return Selection(
            corpus=self._corpus.name,
            rows=rows,
            quality=quality,
            judged_queries=0,
            queries=n_queries,
            made_queries=queries is None,
            verdict=None,
            recommended=_best_guess(rows, expected),
            gate=None,
            warnings=(*_few_judges(quality), *_expected_without_models(rows), *self._warnings()),
        )

    @contextmanager
    def _unjudged_legs(
        self, queries: Mapping[str, str] | None
    ) -> Iterator[tuple[CorpusLegs, IntArray | None]]:
        """Give legs of queries; without any, of chunks, and the documents that these must not find."""
        if queries is not None:
            self._tell(f"embedding {len(queries):,} queries")
            with self._legs(list(queries.values())) as legs:
                yield legs, None
            return
        self._tell("taking chunks of the corpus for queries")
        with chunk_legs(
            self._corpus,
            self._keys,
            n=_CHUNKS_FOR_QUERIES,
            rng=self._rng(),
            with_lexical=self._wishes.lexical,
        ) as found:
            yield found

    def _legs(self, texts: Sequence[str]) -> AbstractContextManager[CorpusLegs]:
        return corpus_legs(
            self._corpus, self._keys, texts, with_lexical=self._wishes.lexical, models=self._models
        )

    def _quality(self, legs: CorpusLegs, *, own: IntArray | None) -> dict[str, float]:
        self._tell("asking how well models agree")
        found = agreement_quality(legs.legs, legs.documents, spreads=legs.spreads, own=own)
        return {key: max(value, _LEAST_QUALITY) for key, value in found.items()}

    def _options(self, legs: CorpusLegs, quality: Mapping[str, float]) -> tuple[Option, ...]:
        return enumerate_options(
            self._keys,
            legs.spreads,
            quality=quality,
            lexical=self._wishes.lexical,
            fusions=self._wishes.fusions,
        )

    def _measured(
        self, legs: CorpusLegs, options: Sequence[Option], judgements: Judgements
    ) -> tuple[MeasuredOption, ...]:
        return measure(legs.legs, options, legs.documents, judgements, drop_own=self._wishes.drop_own)

    def _grown(
        self,
        legs: CorpusLegs,
        measured: Sequence[MeasuredOption],
        judgements: Judgements,
        quality: Mapping[str, float],
    ) -> list[MeasuredOption]:
        """Add to the best pair the model or BM25 that gains most; everything looked at is returned."""
        pairs = [one for one in measured if _is_sum_of_two(one.option)]
        if not pairs:
            return []
        best = max(pairs, key=lambda one: one.mean)
        known = {one.label: one for one in measured}
        looked_at: dict[str, MeasuredOption] = {}

        def values(options: Sequence[Option]) -> list[float]:
            new = [option for option in options if option.label not in known]
            found = {one.label: one for one in self._measured(legs, new, judgements)} if new else {}
            looked_at.update(found)
            return [(known | looked_at)[option.label].mean for option in options]

        keys = [*self._keys, *(leg for leg in legs.keys if leg not in self._keys)]
        grow(values, best.option, keys, legs.spreads, quality=quality, most_legs=_MOST_LEGS)
        return list(looked_at.values())

    def _tuned(
        self,
        legs: CorpusLegs,
        options: Sequence[Option],
        judgements: Judgements,
        quality: Mapping[str, float],
    ) -> list[MeasuredOption]:
        """Tune the weights of the pairs that are expected to be best: expected, not measured to be."""
        pairs = [option for option in options if _is_sum_of_two(option) and option.weighting == "calibrated"]
        if not pairs:
            return []
        order = expect(pairs, quality).mean.argsort()[::-1][:_TUNED_PAIRS]
        self._tell(f"tuning the weights of {len(order)} pairs in folds of the queries")
        tuned = []
        for pair in (pairs[int(place)] for place in order):
            first, second = pair.models
            grid = self._measured(legs, grid_options((first, second), legs.spreads), judgements)
            tuned.append(tune_weights(grid, home=len(grid) // 2, rng=self._rng()))
        return tuned

    def _costs(self, legs: CorpusLegs, texts: Sequence[str]) -> Costs | None:
        if not self._wishes.costs:
            if self._wishes.budget != Budget():
                raise InputError(
                    "budget: expected measured costs to hold against it, got a wish not to measure them. "
                    "Leave one of the two out."
                )
            return None
        self._tell("measuring costs")
        lexical = next((leg for leg in legs.legs if isinstance(leg, LexicalLeg)), None)
        return measure_costs(self._corpus, self._keys, texts, lexical_leg=lexical, models=self._models)

    def _with_verdict(
        self, measured: Sequence[MeasuredOption], quality: Mapping[str, float], costs: Costs | None
    ) -> Selection:
        verdict = self._verdict(measured, costs)
        options = [one.option for one in measured]
        ndcg = np.stack([one.ndcg for one in measured])
        expected = expect(options, quality)
        rows = self._rows(options, corrected(expected, ndcg), costs, measured=measured, verdict=verdict)
        clear = CLEAR if len(quality) >= _ENOUGH_JUDGES else 0.0
        is_open = verdict.decision == "not enough evidence"
        gate = self._wishes.gate
        return Selection(
            corpus=self._corpus.name,
            rows=rows,
            quality=quality,
            judged_queries=verdict.n_queries,
            queries=verdict.n_queries,
            made_queries=False,
            verdict=verdict,
            recommended=_best_guess(rows, expected, ndcg, clear=clear) if is_open else verdict.serve,
            gate=None if gate is None else check_gate(gate, verdict, rng=self._rng()),
            warnings=(*verdict.warnings, *self._warnings()),
        )

    def _verdict(self, measured: Sequence[MeasuredOption], costs: Costs | None) -> OptionVerdict:
        wishes = self._wishes
        gate = wishes.gate
        by_label = {} if costs is None else {one.label: costs.of(one.option) for one in measured}
        affordable = [one for one in measured if wishes.budget.admits(by_label.get(one.label, UNKNOWN_COST))]
        if not any(one.option.is_single for one in affordable):
            raise InputError(
                "budget: expected a single model within it at least, got none. Raise the budget."
            )
        return decide_options(
            affordable,
            rng=self._rng(),
            costs=by_label,
            confidence=wishes.confidence if gate is None else gate.confidence,
            minimum_gain=max(wishes.minimum_gain, 0.0 if gate is None else gate.minimum_gain),
        )

    def _rows(
        self,
        options: Sequence[Option],
        expected: Expectation,
        costs: Costs | None,
        *,
        measured: Sequence[MeasuredOption] = (),
        verdict: OptionVerdict | None = None,
    ) -> tuple[Row, ...]:
        singles = [row for row, option in enumerate(options) if option.is_single]
        best = max(singles, key=lambda row: expected.mean[row])
        gains = {} if verdict is None else {gain.option.label: gain for gain in verdict.gains}
        intervals = self._intervals(measured)
        taken = [UNKNOWN_COST if costs is None else costs.of(option) for option in options]
        qualities = [
            intervals[option.label].estimate if option.label in intervals else float(mean)
            for option, mean in zip(options, expected.mean, strict=True)
        ]
        front = pareto_front(qualities, taken)
        found = []
        for place, option in enumerate(options):
            gain, deviation = expected.gain(place, best)
            found.append(
                Row(
                    option=option,
                    expected=float(expected.mean[place]),
                    deviation=float(expected.deviation[place]),
                    expected_gain=gain,
                    gain_deviation=deviation,
                    measured=intervals.get(option.label),
                    gain=gains.get(option.label),
                    cost=taken[place],
                    is_affordable=self._wishes.budget.admits(taken[place]),
                    on_front=bool(front[place]),
                )
            )
        return tuple(found)

    def _intervals(self, measured: Sequence[MeasuredOption]) -> dict[str, Interval]:
        rng = self._rng()
        return {
            one.label: bootstrap_mean(
                one.ndcg, rng=rng, confidence=self._wishes.confidence, n_resamples=_RESAMPLES
            )
            for one in measured
        }

    def _warnings(self) -> tuple[str, ...]:
        names = [self._corpus.manifest.model(key).name for key in self._keys]
        return tuple(map(str, training_warnings(names, self._wishes.collection or self._corpus.name)))

    def _rng(self) -> np.random.Generator:
        """Return a generator of its own for each use: what one draws does not hang on another."""
        return np.random.default_rng(self._wishes.seed)


def _best_guess(
    rows: Sequence[Row], expected: Expectation, ndcg: FloatArray | None = None, *, clear: float = CLEAR
) -> Option:
    """Return what is expected to be best of all that can be deployed and is within the budget."""
    places = [i for i, row in enumerate(rows) if row.option.is_deployable and row.is_affordable]
    if not places:
        raise InputError("budget: expected an option within it that can be deployed, got none. Raise it.")
    chosen = choose(expected.of(places), None if ndcg is None else ndcg[places], clear=clear)
    return rows[places[chosen]].option


def _few_judges(quality: Mapping[str, float]) -> tuple[str, ...]:
    """Return a warning where few legs have judged one another."""
    if len(quality) >= _ENOUGH_JUDGES:
        return ()
    legs = f"Only {len(quality)} legs have judged one another ({', '.join(quality)}), and two that are alike"
    return (f"{legs} outvote the third. Add candidates, or judge some queries.",)


def _expected_without_models(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return a warning where BM25 alone is expected to do better than every model."""
    best = max((row for row in rows if row.option.is_single), key=lambda row: row.expected)
    return tuple(
        f"{row.option.label} alone may be better than every model: NDCG@{CUTOFF} of about {row.expected:.2f} "
        f"±{row.deviation:.2f} against {best.expected:.2f} ±{best.deviation:.2f}. Judge some queries to know."
        for row in rows
        if not row.option.models and row.expected > best.expected
    )


def _is_sum_of_two(option: Option) -> bool:
    return option.fusion == "sum" and len(option.models) == len(option.legs) == _PAIR

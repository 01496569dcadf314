"""From an open corpus to a selection: what could be served, what it is worth, what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import numpy as np

from analysis.arrays import IntArray
from analysis.evaluation import CUTOFF
from analysis.judgements import Judgements
from analysis.rankings import own_documents
from analysis.resampling import Interval, bootstrap_mean
from analysis.selection.costs.budget import Budget
from analysis.selection.costs.cost import Costs, measure_costs
from analysis.selection.deciding.decision import UNKNOWN_COST, OptionVerdict, decide_options
from analysis.selection.deciding.gate import Gate, check_gate
from analysis.selection.deciding.prediction import CLEAR, corrected, expect
from analysis.selection.deciding.shrinkage import FEWEST_QUERIES
from analysis.selection.evidence import agreement_quality, training_warnings
from analysis.selection.measuring import MOST_LEGS, JudgedLegs
from analysis.selection.outcome import Row, Selection
from analysis.selection.record import MeasuredOption, Option
from analysis.selection.rows import best_guess, option_rows
from analysis.selection.scoring.bm25 import LexicalLeg
from analysis.selection.scoring.candidates import enumerate_options, weighted
from analysis.selection.scoring.legs import CHUNKS_FOR_QUERIES, CorpusLegs, chunk_legs, corpus_legs
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models.protocol import EmbeddingModel
from retriever.records import LEXICAL

_LEAST_QUALITY = 1e-3  # of a leg that agrees with nobody at all: it is expected to be of no use
_RESAMPLES = 2000
_FEWEST_LEGS = 2
_ENOUGH_JUDGES = 5  # each is judged by four others then
_TOLD_APART = 0.05
"""By which share the agreement of two models has to differ to say which is better, see docs/selection.md."""


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
        If there is one leg alone, a gate or a budget that cannot be checked, or fewer than four judged
        queries.
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
        if len(self._keys) + wishes.lexical < _FEWEST_LEGS:
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
            own = self._own(judgements.query_ids, legs)
            quality = self._quality(legs, own=own)
            judged = JudgedLegs(
                legs=legs,
                keys=self._keys,
                judgements=judgements,
                quality=quality,
                drop_own=self._wishes.drop_own,
                seed=self._wishes.seed,
            )
            measured = judged.look_at(self._options(legs, quality), self._tell)
            costs = self._costs(legs, judgements.texts)
        return self._with_verdict(measured, quality, costs)

    def unjudged(self, queries: Mapping[str, str] | None) -> Selection:
        if self._wishes.gate is not None:
            raise InputError(
                f"gate: expected judged queries to check {self._wishes.gate} on, got none. Give judgements: "
                f"what is only expected meets no gate."
            )
        with self._unjudged_legs(queries) as (legs, own, n_queries):
            quality = self._quality(legs, own=own)
            options = self._options(legs, quality)
            best = sorted(self._keys, key=lambda key: -quality[key])[:MOST_LEGS]
            if len(best) == MOST_LEGS:
                triple = [key for key in self._keys if key in best]
                options = (*options, weighted(triple, "quality", legs.spreads, quality=quality))
            costs = self._costs(legs, list((queries or {}).values()))
        expected = expect(options, quality)
        rows = option_rows(options, expected, costs=costs, budget=self._wishes.budget)
        recommended = best_guess(rows, expected)
        return Selection(
            corpus=self._corpus.name,
            rows=rows,
            quality=quality,
            judged_queries=0,
            queries=n_queries,
            made_queries=queries is None,
            verdict=None,
            recommended=recommended,
            gate=None,
            warnings=(
                *_few_judges(quality),
                *_near(quality, recommended),
                *_expected_without_models(rows),
                *self._warnings(),
            ),
        )

    @contextmanager
    def _unjudged_legs(
        self, queries: Mapping[str, str] | None
    ) -> Iterator[tuple[CorpusLegs, IntArray | None, int]]:
        """Give legs of queries, or else of chunks, what each must not find, and how many there are."""
        if queries is not None:
            self._tell(f"embedding {len(queries):,} queries")
            with self._legs(list(queries.values())) as legs:
                yield legs, self._own(tuple(queries), legs), len(queries)
            return
        self._tell("taking chunks of the corpus for queries")
        with chunk_legs(
            self._corpus,
            self._keys,
            n=CHUNKS_FOR_QUERIES,
            rng=self._rng(),
            with_lexical=self._wishes.lexical,
        ) as (legs, own):
            yield legs, own, len(own)

    def _own(self, query_ids: Sequence[str], legs: CorpusLegs) -> IntArray | None:
        """Return the document that each query must not find; None where all hits are kept."""
        return own_documents(query_ids, legs.documents.ids) if self._wishes.drop_own else None

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
        rows = option_rows(
            options,
            corrected(expected, ndcg),
            costs=costs,
            budget=self._wishes.budget,
            intervals=self._intervals(measured, confidence=verdict.confidence),
            gains={gain.option.label: gain for gain in verdict.gains},
        )
        clear = CLEAR if len(quality) >= _ENOUGH_JUDGES else 0.0
        is_open = verdict.decision == "not enough evidence"
        recommended = best_guess(rows, expected, ndcg, clear=clear) if is_open else verdict.serve
        gate = self._wishes.gate
        return Selection(
            corpus=self._corpus.name,
            rows=rows,
            quality=quality,
            judged_queries=verdict.n_queries,
            queries=verdict.n_queries,
            made_queries=False,
            verdict=verdict,
            recommended=recommended,
            gate=None if gate is None else check_gate(gate, verdict, rng=self._rng(), option=recommended),
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

    def _intervals(self, measured: Sequence[MeasuredOption], *, confidence: float) -> dict[str, Interval]:
        rng = self._rng()
        return {
            one.label: bootstrap_mean(one.ndcg, rng=rng, confidence=confidence, n_resamples=_RESAMPLES)
            for one in measured
        }

    def _warnings(self) -> tuple[str, ...]:
        names = [self._corpus.manifest.model(key).name for key in self._keys]
        return tuple(map(str, training_warnings(names, self._wishes.collection or self._corpus.name)))

    def _rng(self) -> np.random.Generator:
        """Return a generator of its own for each use: what one draws does not hang on another."""
        return np.random.default_rng(self._wishes.seed)


def _few_judges(quality: Mapping[str, float]) -> tuple[str, ...]:
    """Return a warning where few legs have judged one another."""
    if len(quality) >= _ENOUGH_JUDGES:
        return ()
    legs = f"Only {len(quality)} legs have judged one another ({', '.join(quality)}), and "
    risk = (
        "each is judged by the other"
        if len(quality) == _FEWEST_LEGS
        else "two that are alike outvote the rest"
    )
    return (f"{legs}{risk}. Add candidates, or judge some queries.",)


def _near(quality: Mapping[str, float], recommended: Option) -> tuple[str, ...]:
    """Return a warning where models that are not recommended agree about as much as one that is."""
    if not recommended.models:
        return ()
    chosen = min(recommended.models, key=lambda model: quality[model])
    near = [
        f"{key} ({value:.3f})"
        for key, value in quality.items()
        if key not in recommended.legs and key != LEXICAL and value >= (1 - _TOLD_APART) * quality[chosen]
    ]
    if not near:
        return ()
    models = f"{', '.join(near)} and {chosen} ({quality[chosen]:.3f})"
    risk = "agree with the others about as much: which of them is better is a toss-up"
    return (f"{models} {risk}. Judge some queries to know.",)


def _expected_without_models(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return a warning where BM25 alone is expected to do better than every model."""
    best = max((row for row in rows if row.option.is_single), key=lambda row: row.expected)
    return tuple(
        f"{row.option.label} alone may be better than every model: NDCG@{CUTOFF} of about {row.expected:.2f} "
        f"±{row.deviation:.2f} against {best.expected:.2f} ±{best.deviation:.2f}. Judge some queries to know."
        for row in rows
        if not row.option.models and row.expected > best.expected
    )

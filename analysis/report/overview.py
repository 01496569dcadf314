"""The tables across collections: what was found, and what was measured with what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from analysis.evaluation import NDCG, Candidate
from analysis.report.charts import Scale, around, whisker
from analysis.report.figures import NOTHING, Letters, bounded, clean, isolated, number, percent
from analysis.report.findings import Findings, Quality
from analysis.report.table import Row, Table, numbers, words
from analysis.report.tables import models_of
from analysis.results.record import CollectionFacts, Results
from analysis.results.tables import heading

_NOT_JUDGED = Markup('<span class="badge not-judged">Not judged</span>')
_WHISKER = (2, 118)  # from the left to the right end


def summary_table(findings: Sequence[Findings], letters: Letters) -> Table:
    """Return one row per collection: its best single model, its best pair, the gain and the verdict."""
    gains = [one.quality.best.gain for one in findings if one.quality is not None and one.quality.best]
    bounds = [bound for gain in gains for bound in (gain.low, gain.high)]
    across = around(bounds or [0.0], start=_WHISKER[0], stop=_WHISKER[1])
    return Table(
        caption="What to serve",
        columns=(
            *words("Collection", "Verdict", f"Best single, {heading(NDCG)}", f"Best pair, {heading(NDCG)}"),
            *numbers("Gain"),
        ),
        rows=tuple(
            Row(cells=(_name(index, one), *_found(one.quality, across, letters)))
            for index, one in enumerate(findings, start=1)
        ),
    )


def badge(quality: Quality) -> Markup:
    """Return the decision in two to four words, with its class: colour is never all that tells it."""
    decision = quality.verdict.decision
    return Markup('<span class="badge {}">{}</span>').format(decision_class(quality), decision.capitalize())


def decision_class(quality: Quality) -> str:
    """Return the class of what stands under a decision, as ``do-not-combine``."""
    return quality.verdict.decision.replace(" ", "-")


def models_table(results: Results, letters: Letters) -> Table:
    """Return the models as they were measured."""
    return Table(
        caption="Models",
        columns=(
            *words("Model", "Name", "Fingerprint"),
            *numbers("Dimensions", "Tokens at most"),
            *words("Run by", "Arithmetic"),
        ),
        rows=tuple(
            Row(
                cells=(
                    letters.named([model.key]),
                    isolated(model.name),
                    _code(model.fingerprint),
                    f"{model.dimensions:,}",
                    "no limit" if model.max_tokens is None else f"{model.max_tokens:,}",
                    model.backend,
                    model.dtype,
                )
            )
            for model in results.models
        ),
    )


def collections_table(findings: Sequence[Findings], letters: Letters) -> Table:
    """Return the collections as they were measured."""
    return Table(
        caption="Collections",
        columns=(
            *words("Collection"),
            *numbers("Documents", "Chunks", "Queries"),
            *words("Hashes", "Cut by", "Spread of cosines", "Hits with the query's own id"),
        ),
        rows=tuple(_collection_row(one, letters) for one in findings),
        is_sortable=False,
    )


def settings_table(results: Results) -> Table:
    """Return how it was measured, with which versions and on what."""
    settings = results.settings
    pairs = {
        "Seed of all resamples": str(settings.seed),
        "Confidence": percent(settings.confidence),
        "Gain that a pair must exceed": number(settings.minimum_gain),
        "Cutoffs of the overlaps": ", ".join(map(str, settings.ks)),
        "Chunks that score a document": f"mean of the best {settings.aggregate}"
        if settings.aggregate > 1
        else "the best",
        "α": ", ".join(f"{name} {alpha:g}" for name, alpha in settings.alphas.items()),
        **results.versions,
        **results.machine,
    }
    return Table(
        caption="Settings, versions, machine",
        columns=words("What", "Value"),
        rows=tuple(Row(cells=(isolated(name), isolated(value))) for name, value in pairs.items()),
        is_sortable=False,
    )


def _name(index: int, findings: Findings) -> Markup:
    facts = findings.collection.facts
    return Markup('<a href="#c{}">{}</a> <small>{:,} queries, {:,} chunks</small>').format(
        index, isolated(facts.name), facts.queries, facts.chunks
    )


def _found(quality: Quality | None, across: Scale, letters: Letters) -> tuple[str | Markup, ...]:
    """Return verdict, best single model, best pair and gain."""
    if quality is None:
        return _NOT_JUDGED, NOTHING, NOTHING, NOTHING
    single, best = _valued(quality.verdict.best_single, letters), quality.best
    if best is None:
        return badge(quality), single, NOTHING, NOTHING
    gain = Markup("{}{}").format(whisker(best.gain, across), bounded(best.gain, sign=True))
    return badge(quality), single, _valued(best.candidate, letters), gain


def _valued(candidate: Candidate, letters: Letters) -> Markup:
    how = f", {candidate.weighting} weights" if len(candidate.models) > 1 else ""
    return Markup("{}<br/><small>{}{}</small>").format(
        letters.named(candidate.models), number(candidate.mean), how
    )


def _collection_row(findings: Findings, letters: Letters) -> Row:
    facts = findings.collection.facts
    spreads = Markup("<br/>").join(
        Markup("<b>{}</b> {}").format(letters.letter(key), number(facts.spreads[key], 4))
        for key in models_of(findings.collection.evaluation)
        if key in facts.spreads
    )
    return Row(
        cells=(
            isolated(facts.name),
            f"{facts.documents:,}",
            f"{facts.chunks:,}",
            f"{facts.queries:,}",
            _hashes(facts),
            _chunker(facts.chunker),
            spreads,
            "dropped" if facts.drop_own else "kept",
        )
    )


def _hashes(facts: CollectionFacts) -> Markup:
    named = {"corpus": facts.corpus_hash, "queries": facts.queries_hash, "judgements": facts.qrels_hash}
    return Markup("<br/>").join(
        Markup("{} {}").format(name, _code(value) if value else "none") for name, value in named.items()
    )


def _chunker(chunker: Mapping[str, object]) -> Markup:
    return Markup("<br/>").join(
        Markup("{} {}").format(
            isolated(name), isolated(value if isinstance(value, str) else json.dumps(value))
        )
        for name, value in chunker.items()
    )


def _code(text: str) -> Markup:
    return Markup("<code>{}</code>").format(clean(text))

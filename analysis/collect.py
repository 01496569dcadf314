"""From the corpora of a store to results: what each collection is, what was measured, on what machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from analysis.evaluation import Evaluation
from analysis.judgements import Judgements
from analysis.results.record import CollectionFacts, CollectionResults, ModelFacts, Results, Settings
from analysis.selection.costs.cost import embedding_cost, sample_texts
from analysis.stored import compare_corpus, evaluate_corpus
from retriever.corpus import Corpus
from retriever.errors import InputError, ModelMismatchError
from retriever.models.protocol import EmbeddingModel
from retriever.records import ModelSpec
from retriever.search import stored_models
from retriever.store.protocol import VectorStore

_PACKAGES = ("tandem-rag", "numpy", "scipy")
_BACKEND_PACKAGES = {
    "torch": ("torch", "sentence-transformers", "transformers"),
    "onnx": ("onnxruntime", "tokenizers"),
    "openvino": ("openvino", "tokenizers"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """A corpus, and what to ask it.

    Attributes
    ----------
    corpus
        Its name.
    judgements
        Judged queries; None to compare models without them.
    queries
        Text by query id, where there are no judgements; without queries models are compared by their
        vectors alone.
    drop_own
        Whether to drop hits whose document id equals the query id (ArguAna).
    """

    corpus: str
    judgements: Judgements | None = None
    queries: Mapping[str, str] = field(default_factory=dict)
    drop_own: bool = False

    @property
    def texts(self) -> Mapping[str, str]:
        """Text by query id."""
        return self.queries if self.judgements is None else self.judgements.queries


def collect_results(  # noqa: PLR0913  # what can be asked of a measurement
    store: VectorStore,
    collections: Sequence[Collection],
    *,
    keys: Sequence[str] | None = None,
    models: Mapping[str, EmbeddingModel] | None = None,
    settings: Settings | None = None,
    grid: Sequence[float] = (),
    cost: bool = False,
    on_open: Callable[[Corpus, Collection], None] | None = None,
) -> Results:
    """Measure models on corpora of a store, one corpus in memory at a time.

    Parameters
    ----------
    store
        Where the corpora are.
    collections
        At least one.
    keys
        Which models; None for all that a corpus has.
    models
        Embedding models by key, where they shall not be loaded as they were at ingest.
    settings
        How; the default is `Settings()`.
    grid
        Explicit weights of the first model of each pair, see `analysis.evaluate`.
    cost
        Whether to measure what each model takes: 64 stored chunks are embedded again.
    on_open
        Called with each corpus before it is measured.

    Raises
    ------
    InputError
        If there is no collection, or one twice.
    ModelMismatchError
        If two corpora have different models of one key.
    CorpusNotFoundError, JudgementsError, ModelError, StoreError
        As in `analysis.evaluate_corpus`.
    """
    chosen = settings or Settings()
    names = [collection.corpus for collection in collections]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"collections: expected at least one corpus and each once, got {', '.join(names) or 'none'}. "
            f"Name different corpora."
        )
    _check_cutoffs(store, names, chosen.ks)
    measured: list[CollectionResults] = []
    specs: dict[str, ModelSpec] = {}
    facts: dict[str, ModelFacts] = {}
    for collection in collections:
        with Corpus.open(store, collection.corpus) as corpus:
            if on_open is not None:
                on_open(corpus, collection)
            for key in corpus.manifest.ordered(corpus.manifest.keys if keys is None else keys):
                spec = corpus.manifest.model(key)
                _check_same(specs.setdefault(key, spec), spec, corpus=corpus.name)
            one = collect_corpus(corpus, collection, keys=keys, models=models, settings=chosen, grid=grid)
            measured.append(one)
            for key in one.facts.spreads:
                if key not in facts:
                    facts[key] = _model_facts(specs[key])
                    if cost:
                        facts[key] = _with_cost(facts[key], corpus, collection, models)
    return Results(
        models=tuple(facts.values()),
        collections=tuple(measured),
        settings=chosen,
        versions=_versions(model.backend for model in facts.values()),
        machine=_machine(),
    )


def _check_cutoffs(store: VectorStore, names: Sequence[str], ks: Sequence[int]) -> None:
    """Refuse a cutoff that one of the corpora is too small for, before the first is measured."""
    if tuple(ks) == Settings().ks:  # which is lowered to what there is
        return
    for name in names:
        with Corpus.open(store, name) as corpus:
            n_chunks = corpus.count_chunks()
        if max(ks) > n_chunks:
            raise InputError(
                f"k: expected at most {n_chunks}, the number of chunks of corpus {name!r}, got {max(ks)}. "
                f"Lower k, or leave this corpus out."
            )


def collect_corpus(  # noqa: PLR0913  # what can be asked of a measurement
    corpus: Corpus,
    collection: Collection,
    *,
    keys: Sequence[str] | None = None,
    models: Mapping[str, EmbeddingModel] | None = None,
    settings: Settings,
    grid: Sequence[float] = (),
) -> CollectionResults:
    """Measure models on one open corpus; parameters and errors as in `collect_results`."""
    chosen = corpus.manifest.ordered(corpus.manifest.keys if keys is None else keys)
    given = None if models is None else {key: models[key] for key in chosen if key in models}
    evaluation = _evaluate(corpus, collection, keys=chosen, models=given, settings=settings, grid=grid)
    judgements = collection.judgements
    return CollectionResults(
        facts=CollectionFacts(
            name=corpus.name,
            corpus_hash=_hash(corpus.texts()),
            queries_hash=_hash(sorted(collection.texts.items())),
            qrels_hash=_hash_of_qrels(judgements) if judgements is not None else "",
            documents=evaluation.n_documents,
            chunks=evaluation.n_chunks,
            queries=len(evaluation.query_ids),
            chunker=asdict(corpus.manifest.chunker),
            spreads={key: corpus.manifest.spreads[key] for key in chosen},
            drop_own=collection.drop_own,
        ),
        evaluation=evaluation,
        query_texts=dict(collection.texts),
    )


def _evaluate(  # noqa: PLR0913  # those of collect_corpus
    corpus: Corpus,
    collection: Collection,
    *,
    keys: Sequence[str],
    models: Mapping[str, EmbeddingModel] | None,
    settings: Settings,
    grid: Sequence[float],
) -> Evaluation:
    ks = None if settings.ks == Settings().ks else settings.ks  # None is lowered to what there is
    if collection.judgements is None:
        return compare_corpus(
            corpus,
            queries=collection.queries or None,
            keys=keys,
            models=models,
            ks=ks if collection.queries else None,
            drop_own=collection.drop_own,
        )
    return evaluate_corpus(
        corpus,
        collection.judgements,
        keys=keys,
        models=models,
        ks=ks,
        grid=grid,
        aggregate=settings.aggregate,
        drop_own=collection.drop_own,
    )


def _check_same(known: ModelSpec, found: ModelSpec, *, corpus: str) -> None:
    if known.fingerprint != found.fingerprint:
        raise ModelMismatchError(
            f"corpus {corpus!r}: expected the model {known.key} as in the corpora before it "
            f"({known.fingerprint}), got another of that name ({found.fingerprint}). Measure these corpora "
            f"apart, or ingest one of them again with the same model."
        )


def _model_facts(spec: ModelSpec) -> ModelFacts:
    return ModelFacts(
        key=spec.key,
        name=spec.name,
        fingerprint=spec.fingerprint,
        dimensions=spec.dimensions,
        max_tokens=spec.max_tokens,
        backend=spec.backend,
        dtype=spec.dtype,
    )


def _with_cost(
    facts: ModelFacts,
    corpus: Corpus,
    collection: Collection,
    models: Mapping[str, EmbeddingModel] | None,
) -> ModelFacts:
    given = {facts.key: models[facts.key]} if models and facts.key in models else None
    model = stored_models(corpus, [facts.key], given=given)[facts.key]
    cost = embedding_cost(model, *sample_texts(corpus, list(collection.texts.values())))
    return replace(
        facts,
        seconds_per_1000_chunks=cost.seconds_per_1000_chunks,
        milliseconds_per_query=cost.milliseconds_per_query,
    )


def _hash(values: Iterable[object]) -> str:
    """Hash values one by one, as JSON lines: no two lists of texts run into the same bytes."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps(value, ensure_ascii=False).encode() + b"\n")
    return f"sha256:{digest.hexdigest()}"


def _hash_of_qrels(judgements: Judgements) -> str:
    return _hash(
        (query, document, grade)
        for query, grades in sorted(judgements.qrels.items())
        for document, grade in sorted(grades.items())
    )


def _versions(backends: Iterable[str]) -> dict[str, str]:
    names = dict.fromkeys(_PACKAGES)
    for backend in backends:
        names |= dict.fromkeys(_BACKEND_PACKAGES.get(backend, ()))
    found = {"python": platform.python_version()}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _machine() -> dict[str, str]:
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": str(os.cpu_count() or 0),
    }


def _processor() -> str:
    """Return what the processor calls itself; the architecture where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()

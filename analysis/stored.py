"""Evaluates what a corpus has stored: its vectors, its models, no embedding but of the queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.evaluation import Evaluation, ModelVectors, Pair, evaluate
from analysis.judgements import Judgements, check_documents
from retriever.corpus import Corpus
from retriever.models.protocol import EmbeddingModel
from retriever.search import stored_models


def evaluate_corpus(  # noqa: PLR0913  # all but the first two by name
    corpus: Corpus,
    judgements: Judgements,
    *,
    keys: Sequence[str] | None = None,
    models: Mapping[str, EmbeddingModel] | None = None,
    pairs: Sequence[Pair] | None = None,
    k: int = 10,
    drop_own: bool = False,
) -> Evaluation:
    """Measure models of a corpus, and pairs of them, on judged queries.

    Parameters
    ----------
    corpus
        An open corpus whose ingest is complete.
    judgements
        Of its documents.
    keys
        Which of its models; None for all.
    models
        Embedding models by key, where they shall not be loaded as they were at ingest.
    pairs, k, drop_own
        See `analysis.evaluate`.

    Raises
    ------
    JudgementsError
        If not one judged document is in the corpus.
    ModelMismatchError
        If a model is not the one that was stored.
    StoreCorruptError
        If a chunk lacks a vector.
    """
    chosen = corpus.manifest.ordered(corpus.manifest.keys if keys is None else keys)
    loaded = stored_models(corpus, chosen, given=models)
    stored = corpus.read_vectors(chosen)
    check_documents(judgements, set(stored.doc_ids))
    vectors = [
        ModelVectors(
            key=key, queries=loaded[key].embed_queries(judgements.texts), chunks=stored.by_model[key]
        )
        for key in chosen
    ]
    return evaluate(
        vectors,
        judgements=judgements,
        chunk_documents=stored.doc_ids,
        spreads=corpus.manifest.spreads,
        pairs=pairs,
        k=k,
        drop_own=drop_own,
    )

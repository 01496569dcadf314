"""Evaluates what a corpus has stored: its vectors, its models, no embedding but of the queries."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.arrays import ScoreArray
from analysis.evaluation import Evaluation, ModelVectors, Pair, compare, evaluate
from analysis.judgements import Judgements, check_documents
from retriever.corpus import Corpus
from retriever.errors import InputError, StoreError
from retriever.models.protocol import EmbeddingModel
from retriever.payload import document_of
from retriever.search import stored_models


def evaluate_corpus(  # noqa: PLR0913  # all but the first two by name
    corpus: Corpus,
    judgements: Judgements,
    *,
    keys: Sequence[str] | None = None,
    models: Mapping[str, EmbeddingModel] | None = None,
    pairs: Sequence[Pair] | None = None,
    ks: Sequence[int] | None = None,
    grid: Sequence[float] = (),
    aggregate: int = 1,
    drop_own: bool = False,
) -> Evaluation:
    """Measure models of a corpus, and pairs of them, on judged queries.

    Vectors are read into files of the system's folder for temporary ones, which are mapped into
    memory and removed afterwards: as many bytes as the vectors of these models have in float32.

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
    pairs, ks, grid, aggregate, drop_own
        See `analysis.evaluate`.

    Raises
    ------
    JudgementsError
        If not one judged document is in the corpus.
    ModelMismatchError
        If a model is not the one that was stored.
    StoreCorruptError
        If a chunk lacks a vector.
    StoreError
        If the files cannot be written: the disk is full.
    """
    chosen = _chosen(corpus, keys, models)
    queries = query_vectors(corpus, chosen, judgements.texts, given=models)
    with stored_vectors(corpus, chosen) as stored:
        check_documents(judgements, set(stored.doc_ids))
        return evaluate(
            stored.models(queries),
            judgements=judgements,
            chunk_documents=stored.doc_ids,
            spreads=corpus.manifest.spreads,
            pairs=pairs,
            ks=ks,
            grid=grid,
            aggregate=aggregate,
            drop_own=drop_own,
        )


def compare_corpus(  # noqa: PLR0913  # all but the first by name
    corpus: Corpus,
    *,
    queries: Mapping[str, str] | None = None,
    keys: Sequence[str] | None = None,
    models: Mapping[str, EmbeddingModel] | None = None,
    pairs: Sequence[Pair] | None = None,
    ks: Sequence[int] | None = None,
    drop_own: bool = False,
) -> Evaluation:
    """Measure how alike the models of a corpus are, without judgements.

    Parameters
    ----------
    corpus
        An open corpus whose ingest is complete.
    queries
        Text by query id; None for the similarity of the vectors alone, which loads no model.
    keys, models
        As in `evaluate_corpus`.
    pairs, ks, drop_own
        See `analysis.compare`.

    Raises
    ------
    ModelMismatchError, StoreCorruptError, StoreError
        As in `evaluate_corpus`.
    InputError
        If `queries` has none, though it is given.
    """
    if queries is not None and not queries:
        raise InputError("queries: expected at least one, got none. Give None to compare vectors alone.")
    asked = queries or {}
    chosen = _chosen(corpus, keys, models)
    vectors = query_vectors(corpus, chosen, tuple(asked.values()), given=models)
    with stored_vectors(corpus, chosen) as stored:
        return compare(
            stored.models(vectors),
            query_ids=tuple(asked),
            chunk_documents=stored.doc_ids,
            pairs=pairs,
            ks=ks,
            drop_own=drop_own,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MappedVectors:
    """Vectors of all chunks by model key, in files; row i of each belongs to ``doc_ids[i]``."""

    doc_ids: tuple[str, ...]
    chunks: Mapping[str, ScoreArray]

    def models(self, queries: Mapping[str, ScoreArray]) -> list[ModelVectors]:
        """Return them with the vectors of the queries, by model key."""
        return [
            ModelVectors(key=key, queries=queries[key], chunks=chunks) for key, chunks in self.chunks.items()
        ]


def _chosen(
    corpus: Corpus, keys: Sequence[str] | None, given: Mapping[str, EmbeddingModel] | None
) -> tuple[str, ...]:
    chosen = corpus.manifest.ordered(corpus.manifest.keys if keys is None else keys)
    unused = set(given or {}) - set(chosen)
    if unused:
        raise InputError(
            f"models: expected keys among {', '.join(chosen)}, got {', '.join(sorted(unused))} as well. Give "
            f"those that are measured."
        )
    return tuple(chosen)


def query_vectors(
    corpus: Corpus,
    keys: Sequence[str],
    texts: Sequence[str],
    *,
    given: Mapping[str, EmbeddingModel] | None,
) -> dict[str, ScoreArray]:
    """Embed the queries with one model after the other: only one needs to be in memory."""
    if not texts:
        return {key: np.empty((0, corpus.manifest.model(key).dimensions), dtype=np.float32) for key in keys}
    vectors = {}
    for key in keys:
        model = {key: given[key]} if given and key in given else None
        vectors[key] = stored_models(corpus, [key], given=model)[key].embed_queries(texts)
    return vectors


@contextmanager
def stored_vectors(corpus: Corpus, keys: Sequence[str]) -> Iterator[MappedVectors]:
    """Read the vectors of all chunks into files that last as long as the context."""
    with _writing():
        temporary = tempfile.TemporaryDirectory(prefix="tandem-vectors-")
    with temporary as folder:
        paths = {key: Path(folder, str(index)) for index, key in enumerate(keys)}
        doc_ids = tuple(_write_vectors(corpus, paths))
        shapes = {key: (len(doc_ids), corpus.manifest.model(key).dimensions) for key in keys}
        yield MappedVectors(
            doc_ids=doc_ids,
            chunks={
                key: np.memmap(path, dtype=np.float32, mode="r", shape=shapes[key])
                if doc_ids
                else np.empty(shapes[key], dtype=np.float32)
                for key, path in paths.items()
            },
        )


def _write_vectors(corpus: Corpus, paths: Mapping[str, Path]) -> list[str]:
    """Append the vectors of each block of chunks to the files, and return the chunks' documents."""
    doc_ids: list[str] = []
    with _writing(), ExitStack() as stack:
        files = {key: stack.enter_context(path.open("wb")) for key, path in paths.items()}
        for points in corpus.complete_blocks(list(paths)):
            doc_ids += [document_of(point.payload) for point in points]
            for key, file in files.items():
                file.write(np.array([point.vectors[key] for point in points], dtype=np.float32).tobytes())
    return doc_ids


@contextmanager
def _writing() -> Iterator[None]:
    """Say what to do when files cannot be written: a write that finds no room says so, a mapped page dies."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{tempfile.gettempdir()}: expected room for the vectors of these models in float32, got: "
            f"{error}. Make room, name another folder for temporary files in TMPDIR, or measure fewer models."
        ) from error

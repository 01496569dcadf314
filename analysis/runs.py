"""Rankings of candidates with their scores, as runs that other tools can evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from analysis.arrays import ScoreArray
from analysis.evaluation import Candidate, Evaluation, ModelVectors
from analysis.judgements import Judgements
from analysis.measures import Run
from analysis.rankings import NO_DOCUMENT, ChunkGroups, own_documents, rank_documents
from analysis.stored import query_vectors, stored_vectors
from analysis.trec import write_qrels, write_run
from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models.protocol import EmbeddingModel

DEPTH = 100
"""Documents per query of a run."""

_BLOCK_BYTES = 2**28


def candidate_run(  # noqa: PLR0913  # two inputs by position would be mixed up; all are named
    candidate: Candidate,
    models: Sequence[ModelVectors],
    *,
    query_ids: Sequence[str],
    chunk_documents: Sequence[str],
    depth: int = DEPTH,
    aggregate: int = 1,
    drop_own: bool = False,
) -> Run:
    """Search with a candidate and return its first documents with their scores.

    Parameters
    ----------
    candidate
        What to search with; its numbers are not looked at.
    models
        Those of the candidate among others, see `analysis.evaluate`.
    query_ids
        Names of the rows of `queries`.
    chunk_documents
        Document id of each chunk.
    depth
        How many documents per query, at most.
    aggregate, drop_own
        As in `analysis.evaluate`.

    Returns
    -------
    dict
        Score by document id by query id, best first.
    """
    document_ids = sorted(set(chunk_documents), reverse=True)
    column = {document: index for index, document in enumerate(document_ids)}
    groups = ChunkGroups([column[document] for document in chunk_documents])
    own = own_documents(query_ids, document_ids) if drop_own else None
    run: dict[str, dict[str, float]] = {}
    for rows in _blocks(n_queries=len(query_ids), n_chunks=len(chunk_documents)):
        scores = groups.mean_of_best(_scores(candidate, models, rows), aggregate)
        top = rank_documents(scores, k=depth, own=None if own is None else own[rows])
        for query_id, places, of_query in zip(query_ids[rows], top.tolist(), scores, strict=True):
            found = [place for place in places if place != NO_DOCUMENT]
            run[query_id] = {document_ids[place]: float(of_query[place]) for place in found}
    return run


def write_runs(  # noqa: PLR0913  # those of evaluate_corpus
    folder: str | Path,
    corpus: Corpus,
    judgements: Judgements,
    evaluation: Evaluation,
    *,
    models: Mapping[str, EmbeddingModel] | None = None,
    aggregate: int = 1,
    drop_own: bool = False,
) -> None:
    """Write a TREC run of every candidate of an evaluation, and the judgements as ``qrels.txt``.

    A model's run is ``A.run``, a pair's ``A+B.equal.run``, ``A+B.calibrated.run`` or, with an
    explicit weight of the first model, ``A+B.0.30.run``.

    Parameters
    ----------
    folder
        Must not exist, or be empty.
    corpus, judgements, models, aggregate, drop_own
        Those of the evaluation, see `analysis.evaluate_corpus`.

    Raises
    ------
    InputError
        If something is in the folder, or an id has white space.
    """
    target = check_new(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{target}: expected a folder that can be made, got: {error.strerror or error}. Name another one."
        ) from error
    write_qrels(target / "qrels.txt", judgements.qrels)
    keys = [single.name for single in evaluation.singles]
    queries = query_vectors(corpus, keys, judgements.texts, given=models)
    with stored_vectors(corpus, keys) as stored:
        for candidate in (*evaluation.singles, *evaluation.pairs):
            run = candidate_run(
                candidate,
                stored.models(queries),
                query_ids=evaluation.query_ids,
                chunk_documents=stored.doc_ids,
                aggregate=aggregate,
                drop_own=drop_own,
            )
            name = run_name(candidate)
            write_run(target / f"{name}.run", run, tag=name)


def run_name(candidate: Candidate) -> str:
    """Return the label of a candidate in a form that is fit for files and tags."""
    if len(candidate.models) == 1:
        return candidate.name
    how = f"{candidate.weights[0]:.2f}" if candidate.weighting == "explicit" else candidate.weighting
    return f"{candidate.name}.{how}"


def check_new(folder: str | Path) -> Path:
    """Return the folder as a path if nothing is there yet.

    Raises
    ------
    InputError
        If something is.
    """
    target = Path(folder)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target}: expected a new folder, got one with files, or a file. Name another one.")
    return target


def _scores(candidate: Candidate, models: Sequence[ModelVectors], rows: slice) -> ScoreArray:
    """Return Σ w·cos of a block of queries, float32, shape (n_queries, n_chunks)."""
    by_key = {model.key: model for model in models}
    total: ScoreArray = np.zeros((rows.stop - rows.start, len(models[0].chunks)), dtype=np.float32)
    for key, weight in zip(candidate.models, candidate.weights, strict=True):
        model = by_key[key]
        total += (model.queries[rows] @ model.chunks.T).astype(np.float32, copy=False) * np.float32(weight)
    return total


def _blocks(*, n_queries: int, n_chunks: int) -> Iterator[slice]:
    size = max(1, _BLOCK_BYTES // (4 * n_chunks))
    for start in range(0, n_queries, size):
        yield slice(start, min(start + size, n_queries))

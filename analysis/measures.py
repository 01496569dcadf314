"""Retrieval measures per query, as trec_eval defines them, on documents.

A document scores as its best chunk (`analysis.rankings.document_scores`). Scores are compared as
float32, ties go by document id, both descending, as in trec_eval. Every query with judgements
counts: it scores 0 where the run has no hits for it or no document is relevant. Grades below 0
count as 0, unjudged documents as 0; the ideal ranking is that of all judged documents, whether the
corpus has them or not.

References
----------
trec_eval, ``m_ndcg_cut.c``, ``m_recall.c``, ``m_recip_rank.c``, ``form_res_rels.c``.
K. Järvelin, J. Kekäläinen: Cumulated gain-based evaluation of IR techniques, ACM TOIS 20 (2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import FloatArray, IntArray, ScoreArray, check_floats, check_rows
from analysis.judgements import Qrels
from analysis.rankings import check_k, own_documents, rank_documents
from retriever.errors import ShapeError

Run: TypeAlias = Mapping[str, Mapping[str, float]]
"""Score by document id by query id; higher is better."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grades:
    """What the first k documents of each query are worth, and what the best ones would be.

    Attributes
    ----------
    retrieved : float64, shape (n_queries, k)
        Grade at each rank, at least 0; 0 where nothing was retrieved.
    ideal : float64, shape (n_queries, k)
        The same for the ideal ranking.
    relevant : int64, shape (n_queries,)
        How many documents are relevant: judged above 0.
    """

    retrieved: FloatArray
    ideal: FloatArray
    relevant: IntArray

    def ndcg(self) -> FloatArray:
        """Return the normalised discounted cumulative gain at k: Σ grade / log2(rank + 1) over the ideal.

        Returns
        -------
        float64, shape (n_queries,)
            In [0, 1]; 0 where no document is relevant.
        """
        discounts = 1 / np.log2(np.arange(self.retrieved.shape[1]) + 2)
        return _divide(self.retrieved @ discounts, self.ideal @ discounts)

    def recall(self) -> FloatArray:
        """Return the share of the relevant documents among the first k.

        Returns
        -------
        float64, shape (n_queries,)
            In [0, 1]; 0 where no document is relevant.
        """
        return _divide(np.count_nonzero(self.retrieved, axis=1), self.relevant)

    def reciprocal_rank(self) -> FloatArray:
        """Return one over the rank of the first relevant document, 0 if it is not among the first k.

        Returns
        -------
        float64, shape (n_queries,)
            In [0, 1].
        """
        found = self.retrieved > 0
        return np.where(found.any(axis=1), 1 / (found.argmax(axis=1) + 1), 0.0)

    def precision(self) -> FloatArray:
        """Return the share of the first k that is relevant; of k, even where fewer were retrieved.

        Returns
        -------
        float64, shape (n_queries,)
            In [0, 1].
        """
        shares: FloatArray = np.count_nonzero(self.retrieved, axis=1) / self.retrieved.shape[1]
        return shares

    def average_precision(self) -> FloatArray:
        """Return the precision at each relevant document among the first k, summed, over all relevant ones.

        Returns
        -------
        float64, shape (n_queries,)
            In [0, 1]; 0 where no document is relevant.
        """
        found = self.retrieved > 0
        precisions = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
        return _divide(np.where(found, precisions, 0.0).sum(axis=1), self.relevant)


def ndcg(run: Run, qrels: Qrels, *, k: int = 10, drop_own: bool = False) -> dict[str, float]:
    """Return NDCG@k of each query of `qrels`, in sorted order of query ids.

    Parameters
    ----------
    run
        Score by document id by query id; queries without judgements are ignored.
    qrels
        Grade by document id by query id.
    k
        Cutoff, at least 1.
    drop_own
        Whether to drop hits whose document id equals the query id (ArguAna).

    Returns
    -------
    dict
        By query id, in [0, 1].

    Raises
    ------
    ShapeError
        If k is below 1 or a score is not finite.

    Examples
    --------
    >>> ndcg({"q": {"a": 0.9, "b": 0.8}}, {"q": {"b": 1}})
    {'q': 0.6309297535714575}
    """
    grades = grades_of_run(run, qrels, k=k, drop_own=drop_own)
    return dict(zip(sorted(qrels), grades.ndcg().tolist(), strict=True))


def recall(run: Run, qrels: Qrels, *, k: int = 10, drop_own: bool = False) -> dict[str, float]:
    """Return recall@k of each query of `qrels`; parameters and errors as in `ndcg`."""
    grades = grades_of_run(run, qrels, k=k, drop_own=drop_own)
    return dict(zip(sorted(qrels), grades.recall().tolist(), strict=True))


def reciprocal_rank(run: Run, qrels: Qrels, *, k: int = 10, drop_own: bool = False) -> dict[str, float]:
    """Return the reciprocal rank, cut at k, of each query of `qrels`; parameters and errors as in `ndcg`."""
    grades = grades_of_run(run, qrels, k=k, drop_own=drop_own)
    return dict(zip(sorted(qrels), grades.reciprocal_rank().tolist(), strict=True))


def precision(run: Run, qrels: Qrels, *, k: int = 10, drop_own: bool = False) -> dict[str, float]:
    """Return precision@k of each query of `qrels`; parameters and errors as in `ndcg`."""
    grades = grades_of_run(run, qrels, k=k, drop_own=drop_own)
    return dict(zip(sorted(qrels), grades.precision().tolist(), strict=True))


def average_precision(run: Run, qrels: Qrels, *, k: int = 10, drop_own: bool = False) -> dict[str, float]:
    """Return the average precision, cut at k, of each query of `qrels`; its mean over queries is MAP.

    Parameters and errors as in `ndcg`.
    """
    grades = grades_of_run(run, qrels, k=k, drop_own=drop_own)
    return dict(zip(sorted(qrels), grades.average_precision().tolist(), strict=True))


def ndcg_of_scores(  # noqa: PLR0913  # a matrix needs the names of its rows and columns
    scores: ArrayLike,
    *,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    qrels: Qrels,
    k: int = 10,
    drop_own: bool = False,
) -> FloatArray:
    """Return NDCG@k of a full score matrix; the same numbers as `ndcg`, without dictionaries of scores.

    Parameters
    ----------
    scores : float, shape (n_queries, n_documents)
        Higher is better; compared as float32.
    query_ids, document_ids
        Names of the rows and columns; document ids differ.
    qrels, k, drop_own
        As in `ndcg`.

    Returns
    -------
    float64, shape (n_queries,)
        In the order of `query_ids`, in [0, 1]; 0 for a query without judgements.

    Raises
    ------
    ShapeError
        If the lengths differ, a document id comes twice, k is below 1 or a score is not finite.
    """
    matrix = _as_scores(check_floats(scores, name="scores", ndim=2))
    check_k(k)
    check_rows(name="query_ids", got=len(query_ids), expected=matrix.shape[0], of="row of scores")
    check_rows(name="document_ids", got=len(document_ids), expected=matrix.shape[1], of="column of scores")
    if len(set(document_ids)) != len(document_ids):
        raise ShapeError("document_ids: expected different ids, got one twice. Score each document once.")
    descending = sorted(range(len(document_ids)), key=document_ids.__getitem__, reverse=True)
    names = [document_ids[column] for column in descending]
    own = own_documents(query_ids, names) if drop_own else None
    top = rank_documents(matrix[:, descending], k=k, own=own)
    return JudgedDocuments(qrels, query_ids=query_ids, document_ids=names, k=k).grades(top).ndcg()


class JudgedDocuments:
    """The grades of judged documents, laid out once for the rankings of many candidates.

    Parameters
    ----------
    qrels
        Grade by document id by query id.
    query_ids
        Names of the rows of rankings.
    document_ids
        Names of what the entries of rankings point to; all different.
    k
        Cutoff.
    """

    def __init__(
        self, qrels: Qrels, *, query_ids: Sequence[str], document_ids: Sequence[str], k: int
    ) -> None:
        positive = [
            {document: grade for document, grade in qrels.get(query, {}).items() if grade > 0}
            for query in query_ids
        ]
        # Numbers of the few relevant documents stand for columns, so that the table is small. The
        # last number is that of all other documents and of NO_DOCUMENT, which is -1.
        number: dict[str, int] = {}
        for grades in positive:
            for document in grades:
                number.setdefault(document, len(number))
        others = len(number)
        numbers = map(number.get, document_ids, repeat(others))
        self._number = np.fromiter(chain(numbers, [others]), dtype=np.int64, count=len(document_ids) + 1)
        self._starts = np.arange(len(positive))[:, None] * (others + 1)
        highest = max((grade for grades in positive for grade in grades.values()), default=0)
        self._table = np.zeros(len(positive) * (others + 1), dtype=np.min_scalar_type(highest))
        for start, grades in zip(self._starts[:, 0].tolist(), positive, strict=True):
            for document, grade in grades.items():
                self._table[start + number[document]] = grade
        self._ideal, self._relevant = _ideal([list(grades.values()) for grades in positive], k=k)

    def grades(self, top: IntArray) -> Grades:
        """Look up the grades of ranked documents.

        Parameters
        ----------
        top : int64, shape (n_queries, at most k)
            Indices into `document_ids`, best first; `NO_DOCUMENT` where there is none.
        """
        places = self._number.take(top)
        places += self._starts
        retrieved = np.zeros(self._ideal.shape)
        retrieved[:, : top.shape[1]] = self._table.take(places)
        return Grades(retrieved=retrieved, ideal=self._ideal, relevant=self._relevant)


def grades_of_run(run: Run, qrels: Qrels, *, k: int = 10, drop_own: bool = False) -> Grades:
    """Rank the documents of a run and look up their grades; parameters and errors as in `ndcg`.

    Returns
    -------
    Grades
        One row per query of `qrels`, in sorted order of query ids.
    """
    check_k(k)
    queries = sorted(qrels)
    ranked = [_ranked(query, run.get(query, {}), k=k, drop=query if drop_own else None) for query in queries]
    return _grades(queries, ranked, qrels, k=k)


def _ranked(query: str, hits: Mapping[str, float], *, k: int, drop: str | None) -> list[str]:
    documents = [document for document in hits if document != drop]
    if not documents:
        return []
    values = check_floats([hits[document] for document in documents], name=f"run of query {query!r}", ndim=1)
    scores = _as_scores(values)
    depth = min(k, len(documents))
    cutoff = np.partition(scores, len(scores) - depth)[len(scores) - depth]
    contenders = [(float(scores[i]), documents[i]) for i in np.flatnonzero(scores >= cutoff)]
    return [document for _, document in sorted(contenders, reverse=True)[:depth]]


def _grades(queries: Sequence[str], ranked: Sequence[Sequence[str]], qrels: Qrels, *, k: int) -> Grades:
    """Look up what few rankings of named documents are worth."""
    retrieved = np.zeros((len(queries), k))
    for row, (query, documents) in enumerate(zip(queries, ranked, strict=True)):
        judged = qrels.get(query, {})
        retrieved[row, : len(documents)] = [max(judged.get(document, 0), 0) for document in documents]
    positive = [[grade for grade in qrels.get(query, {}).values() if grade > 0] for query in queries]
    ideal, relevant = _ideal(positive, k=k)
    return Grades(retrieved=retrieved, ideal=ideal, relevant=relevant)


def _ideal(positive: Sequence[Sequence[int]], *, k: int) -> tuple[FloatArray, IntArray]:
    """Return the grades of the ideal ranking and how many documents are relevant, per query."""
    ideal = np.zeros((len(positive), k))
    for row, grades in enumerate(positive):
        best = sorted(grades, reverse=True)[:k]
        ideal[row, : len(best)] = best
    return ideal, np.array([len(grades) for grades in positive], dtype=np.int64)


def _as_scores(values: ArrayLike) -> ScoreArray:
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite in trec_eval, too
        return np.asarray(values).astype(np.float32, copy=False)


def _divide(part: ArrayLike, whole: ArrayLike) -> FloatArray:
    """Divide, with 0/0 = 0."""
    divisor = np.asarray(whole, dtype=np.float64)
    return np.divide(part, divisor, out=np.zeros_like(divisor), where=divisor > 0)

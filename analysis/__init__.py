"""From models and queries to a verdict: evaluation, similarity, intervals."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.evaluation.record import Candidate as Candidate
    from analysis.evaluation.record import Evaluation as Evaluation
    from analysis.evaluation.record import ModelVectors as ModelVectors
    from analysis.evaluation.record import PairSimilarity as PairSimilarity
    from analysis.evaluation.run import evaluate as evaluate
    from analysis.judgements import Judgements as Judgements
    from analysis.judgements import check_documents as check_documents
    from analysis.judgements import read_judgements as read_judgements
    from analysis.judgements import read_qrels as read_qrels
    from analysis.judgements import read_queries as read_queries
    from analysis.measures import ndcg as ndcg
    from analysis.measures import ndcg_of_scores as ndcg_of_scores
    from analysis.measures import recall as recall
    from analysis.measures import reciprocal_rank as reciprocal_rank
    from analysis.rankings import document_scores as document_scores
    from analysis.rankings import top_k as top_k
    from analysis.resampling import Gain as Gain
    from analysis.resampling import Interval as Interval
    from analysis.resampling import bootstrap_gain as bootstrap_gain
    from analysis.resampling import bootstrap_gains as bootstrap_gains
    from analysis.resampling import bootstrap_mean as bootstrap_mean
    from analysis.resampling import holm as holm
    from analysis.resampling import queries_needed as queries_needed
    from analysis.similarity.cka import cka as cka
    from analysis.similarity.cka import debiased_cka as debiased_cka
    from analysis.similarity.cka import pairwise_cka as pairwise_cka
    from analysis.similarity.overlap import jaccard as jaccard
    from analysis.similarity.overlap import rank_similarity as rank_similarity
    from analysis.stored import evaluate_corpus as evaluate_corpus
    from analysis.verdict import CandidateGain as CandidateGain
    from analysis.verdict import Verdict as Verdict
    from analysis.verdict import decide as decide

_LOADED_ON_USE = {
    "Candidate": "evaluation.record",
    "CandidateGain": "verdict",
    "Evaluation": "evaluation.record",
    "Gain": "resampling",
    "Interval": "resampling",
    "Judgements": "judgements",
    "ModelVectors": "evaluation.record",
    "PairSimilarity": "evaluation.record",
    "Verdict": "verdict",
    "bootstrap_gain": "resampling",
    "bootstrap_gains": "resampling",
    "bootstrap_mean": "resampling",
    "check_documents": "judgements",
    "cka": "similarity.cka",
    "debiased_cka": "similarity.cka",
    "decide": "verdict",
    "document_scores": "rankings",
    "evaluate": "evaluation.run",
    "evaluate_corpus": "stored",
    "holm": "resampling",
    "jaccard": "similarity.overlap",
    "ndcg": "measures",
    "ndcg_of_scores": "measures",
    "pairwise_cka": "similarity.cka",
    "queries_needed": "resampling",
    "rank_similarity": "similarity.overlap",
    "read_judgements": "judgements",
    "read_qrels": "judgements",
    "read_queries": "judgements",
    "recall": "measures",
    "reciprocal_rank": "measures",
    "top_k": "rankings",
}

__all__ = list(_LOADED_ON_USE)


def __getattr__(name: str) -> object:
    """Load a public name from its module, on first use: importing the package loads no numpy."""
    if name in _LOADED_ON_USE:
        return getattr(import_module(f"{__name__}.{_LOADED_ON_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LOADED_ON_USE})

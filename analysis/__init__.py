"""From models and queries to a verdict: evaluation, similarity, intervals."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.collect import Collection as Collection
    from analysis.collect import collect_results as collect_results
    from analysis.evaluation.record import Candidate as Candidate
    from analysis.evaluation.record import Evaluation as Evaluation
    from analysis.evaluation.record import ModelVectors as ModelVectors
    from analysis.evaluation.record import PairSimilarity as PairSimilarity
    from analysis.evaluation.run import compare as compare
    from analysis.evaluation.run import evaluate as evaluate
    from analysis.framework.correlation import Correlations as Correlations
    from analysis.framework.correlation import correlate as correlate
    from analysis.framework.dissimilarity import PairFigures as PairFigures
    from analysis.framework.dissimilarity import adjusted_dissimilarity as adjusted_dissimilarity
    from analysis.framework.dissimilarity import dissimilarity as dissimilarity
    from analysis.framework.dissimilarity import pair_figures as pair_figures
    from analysis.framework.dissimilarity import performance_gaps as performance_gaps
    from analysis.framework.dissimilarity import similarities_by_pair as similarities_by_pair
    from analysis.framework.pearson import Line as Line
    from analysis.framework.pearson import bootstrap_pearson as bootstrap_pearson
    from analysis.framework.pearson import fitted_line as fitted_line
    from analysis.framework.pearson import pearson as pearson
    from analysis.framework.printed import PrintedColumn as PrintedColumn
    from analysis.framework.printed import printed_correlations as printed_correlations
    from analysis.framework.transfer import Agreement as Agreement
    from analysis.framework.transfer import Consistency as Consistency
    from analysis.framework.transfer import Transfer as Transfer
    from analysis.framework.transfer import consistency as consistency
    from analysis.framework.transfer import transfer_alpha as transfer_alpha
    from analysis.framework.transfer import transfer_similarities as transfer_similarities
    from analysis.framework.tuning import AlphaCurve as AlphaCurve
    from analysis.framework.tuning import tune_alpha as tune_alpha
    from analysis.judgements import Judgements as Judgements
    from analysis.judgements import check_documents as check_documents
    from analysis.judgements import read_judgements as read_judgements
    from analysis.judgements import read_qrels as read_qrels
    from analysis.judgements import read_queries as read_queries
    from analysis.measures import average_precision as average_precision
    from analysis.measures import ndcg as ndcg
    from analysis.measures import ndcg_of_scores as ndcg_of_scores
    from analysis.measures import precision as precision
    from analysis.measures import recall as recall
    from analysis.measures import reciprocal_rank as reciprocal_rank
    from analysis.rankings import document_scores as document_scores
    from analysis.rankings import top_k as top_k
    from analysis.report.page import report_page as report_page
    from analysis.report.page import write_report as write_report
    from analysis.resampling import Gain as Gain
    from analysis.resampling import Interval as Interval
    from analysis.resampling import bootstrap_gain as bootstrap_gain
    from analysis.resampling import bootstrap_gains as bootstrap_gains
    from analysis.resampling import bootstrap_mean as bootstrap_mean
    from analysis.resampling import holm as holm
    from analysis.resampling import queries_needed as queries_needed
    from analysis.results.folder import read_results as read_results
    from analysis.results.folder import write_results as write_results
    from analysis.results.record import Results as Results
    from analysis.results.tables import results_tables as results_tables
    from analysis.runs import candidate_run as candidate_run
    from analysis.runs import write_runs as write_runs
    from analysis.selection.costs.budget import Budget as Budget
    from analysis.selection.deciding.decision import OptionVerdict as OptionVerdict
    from analysis.selection.deciding.decision import decide_options as decide_options
    from analysis.selection.deciding.gate import Gate as Gate
    from analysis.selection.deciding.gate import check_gate as check_gate
    from analysis.selection.deciding.gate import read_gate as read_gate
    from analysis.selection.outcome import Selection as Selection
    from analysis.selection.plan import plan_selection as plan_selection
    from analysis.selection.record import MeasuredOption as MeasuredOption
    from analysis.selection.record import Option as Option
    from analysis.selection.run import Wishes as Wishes
    from analysis.selection.run import select_corpus as select_corpus
    from analysis.selection.screening.run import screen as screen
    from analysis.similarity.cka import PairwiseCka as PairwiseCka
    from analysis.similarity.cka import cka as cka
    from analysis.similarity.cka import cka_of_blocks as cka_of_blocks
    from analysis.similarity.cka import debiased_cka as debiased_cka
    from analysis.similarity.cka import pairwise_cka as pairwise_cka
    from analysis.similarity.overlap import Overlap as Overlap
    from analysis.similarity.overlap import jaccard as jaccard
    from analysis.similarity.overlap import kendall_tau as kendall_tau
    from analysis.similarity.overlap import overlap as overlap
    from analysis.similarity.overlap import overlaps as overlaps
    from analysis.similarity.overlap import rank_biased_overlap as rank_biased_overlap
    from analysis.similarity.overlap import rank_similarity as rank_similarity
    from analysis.stored import compare_corpus as compare_corpus
    from analysis.stored import evaluate_corpus as evaluate_corpus
    from analysis.trec import read_run as read_run
    from analysis.trec import write_qrels as write_qrels
    from analysis.trec import write_run as write_run
    from analysis.verdict import CandidateGain as CandidateGain
    from analysis.verdict import Verdict as Verdict
    from analysis.verdict import decide as decide

_LOADED_ON_USE = {
    "Agreement": "framework.transfer",
    "AlphaCurve": "framework.tuning",
    "Budget": "selection.costs.budget",
    "Candidate": "evaluation.record",
    "CandidateGain": "verdict",
    "Collection": "collect",
    "Consistency": "framework.transfer",
    "Correlations": "framework.correlation",
    "Evaluation": "evaluation.record",
    "Gain": "resampling",
    "Gate": "selection.deciding.gate",
    "Interval": "resampling",
    "Judgements": "judgements",
    "Line": "framework.pearson",
    "MeasuredOption": "selection.record",
    "ModelVectors": "evaluation.record",
    "Option": "selection.record",
    "OptionVerdict": "selection.deciding.decision",
    "Overlap": "similarity.overlap",
    "PairFigures": "framework.dissimilarity",
    "PairSimilarity": "evaluation.record",
    "PairwiseCka": "similarity.cka",
    "PrintedColumn": "framework.printed",
    "Results": "results.record",
    "Selection": "selection.outcome",
    "Transfer": "framework.transfer",
    "Verdict": "verdict",
    "Wishes": "selection.run",
    "adjusted_dissimilarity": "framework.dissimilarity",
    "average_precision": "measures",
    "bootstrap_gain": "resampling",
    "bootstrap_gains": "resampling",
    "bootstrap_mean": "resampling",
    "bootstrap_pearson": "framework.pearson",
    "candidate_run": "runs",
    "check_documents": "judgements",
    "check_gate": "selection.deciding.gate",
    "cka": "similarity.cka",
    "cka_of_blocks": "similarity.cka",
    "compare": "evaluation.run",
    "compare_corpus": "stored",
    "collect_results": "collect",
    "consistency": "framework.transfer",
    "correlate": "framework.correlation",
    "debiased_cka": "similarity.cka",
    "decide": "verdict",
    "decide_options": "selection.deciding.decision",
    "dissimilarity": "framework.dissimilarity",
    "document_scores": "rankings",
    "evaluate": "evaluation.run",
    "evaluate_corpus": "stored",
    "fitted_line": "framework.pearson",
    "holm": "resampling",
    "jaccard": "similarity.overlap",
    "kendall_tau": "similarity.overlap",
    "ndcg": "measures",
    "ndcg_of_scores": "measures",
    "overlap": "similarity.overlap",
    "overlaps": "similarity.overlap",
    "pair_figures": "framework.dissimilarity",
    "pairwise_cka": "similarity.cka",
    "pearson": "framework.pearson",
    "performance_gaps": "framework.dissimilarity",
    "plan_selection": "selection.plan",
    "precision": "measures",
    "printed_correlations": "framework.printed",
    "queries_needed": "resampling",
    "rank_biased_overlap": "similarity.overlap",
    "rank_similarity": "similarity.overlap",
    "read_gate": "selection.deciding.gate",
    "read_judgements": "judgements",
    "read_qrels": "judgements",
    "read_queries": "judgements",
    "read_results": "results.folder",
    "read_run": "trec",
    "recall": "measures",
    "reciprocal_rank": "measures",
    "report_page": "report.page",
    "results_tables": "results.tables",
    "screen": "selection.screening.run",
    "select_corpus": "selection.run",
    "similarities_by_pair": "framework.dissimilarity",
    "top_k": "rankings",
    "transfer_alpha": "framework.transfer",
    "transfer_similarities": "framework.transfer",
    "tune_alpha": "framework.tuning",
    "write_qrels": "trec",
    "write_report": "report.page",
    "write_results": "results.folder",
    "write_run": "trec",
    "write_runs": "runs",
}

__all__ = list(_LOADED_ON_USE)


def __getattr__(name: str) -> object:
    """Load a public name from its module, on first use: importing the package loads no numpy."""
    if name in _LOADED_ON_USE:
        return getattr(import_module(f"{__name__}.{_LOADED_ON_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LOADED_ON_USE})

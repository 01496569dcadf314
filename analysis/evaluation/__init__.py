"""Candidates measured on judged queries, and the similarity of their models."""

from analysis.evaluation.record import CUTOFF as CUTOFF
from analysis.evaluation.record import MEASURES as MEASURES
from analysis.evaluation.record import NDCG as NDCG
from analysis.evaluation.record import Candidate as Candidate
from analysis.evaluation.record import Evaluation as Evaluation
from analysis.evaluation.record import ModelVectors as ModelVectors
from analysis.evaluation.record import Pair as Pair
from analysis.evaluation.record import PairSimilarity as PairSimilarity
from analysis.evaluation.record import Weighting as Weighting
from analysis.evaluation.run import compare as compare
from analysis.evaluation.run import evaluate as evaluate

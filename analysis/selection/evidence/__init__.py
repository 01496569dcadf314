"""What the corpus itself tells of the quality of its models, and what others have said of them.

`consensus` asks how well a model agrees with the others, `titles`, `sentences` and `questions` how well it
finds what was taken from the corpus, `published` how it fared elsewhere, and `training` where that is no
proof.
"""

from analysis.selection.evidence.consensus import agreement_quality, consensus_ndcg
from analysis.selection.evidence.pseudo_queries import PseudoQueries, pseudo_legs, pseudo_quality
from analysis.selection.evidence.published import published_quality, read_published
from analysis.selection.evidence.questions import llm_queries
from analysis.selection.evidence.sentences import sentence_quality, sentence_queries
from analysis.selection.evidence.titles import title_quality, title_queries
from analysis.selection.evidence.training import TrainingWarning, training_warnings

__all__ = [
    "PseudoQueries",
    "TrainingWarning",
    "agreement_quality",
    "consensus_ndcg",
    "llm_queries",
    "pseudo_legs",
    "pseudo_quality",
    "published_quality",
    "read_published",
    "sentence_quality",
    "sentence_queries",
    "title_quality",
    "title_queries",
    "training_warnings",
]

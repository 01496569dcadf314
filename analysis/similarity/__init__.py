"""How alike two models are: in their vectors, and in what they retrieve."""

from analysis.similarity.cka import FEWEST_FOR_DEBIASED as FEWEST_FOR_DEBIASED
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

"""Chances are those of samples drawn again, and no smaller."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.arrays import ScoreArray
from analysis.evaluation.search import Documents
from analysis.selection.evidence.consensus import consensus_ndcg
from analysis.selection.scoring.legs import DenseLeg
from analysis.selection.screening.sampling import Sample
from analysis.selection.screening.stability import DRAWS, HALVES, SampledVectors, chance_missing

N_QUERIES, N_CHUNKS, SIZE = 24, 90, 16
NOISE = {"good": 0.2, "fair": 0.5, "poor": 2.0, "other": 0.6}


def unit_rows(rows: np.ndarray) -> ScoreArray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def drawn(seed: int) -> SampledVectors:
    """Return four models that see the same directions through more or less noise."""
    rng = np.random.default_rng(seed)
    queries, chunks = rng.normal(size=(N_QUERIES, SIZE)), rng.normal(size=(N_CHUNKS, SIZE))
    sample = Sample(
        queries=tuple(f"q{i}" for i in range(N_QUERIES)),
        chunk_ids=tuple(f"c{i:03}" for i in range(N_CHUNKS)),
        near=tuple(tuple(np.argsort(-chunks[:60] @ query)[:3].tolist()) for query in queries),
        n_near=60,
    )
    noisy = {
        key: [unit_rows(rows + noise * rng.normal(size=rows.shape)) for rows in (queries, chunks)]
        for key, noise in NOISE.items()
    }
    return SampledVectors(
        sample,
        queries={key: rows for key, (rows, _) in noisy.items()},
        chunks={key: rows for key, (_, rows) in noisy.items()},
        spreads=dict.fromkeys(NOISE, 0.25),
        evidence=consensus_ndcg,
    )


# By hand: the best of the four rows are models 0, 1, 2, 0; the two best (0, 1), (1, 2), (2, 0), (0, 2)
REPLICATES = np.array([[0.9, 0.8, 0.1], [0.2, 0.8, 0.7], [0.5, 0.4, 0.6], [0.9, 0.1, 0.5]])


@pytest.mark.parametrize(
    ("kept", "best", "chance"),
    [([0], 1, 0.5), ([0, 1], 1, 0.25), ([0, 1, 2], 1, 0.0), ([0, 1], 2, 0.75), ([0, 2], 2, 0.5)],
)
def test_the_chance_is_the_share_of_replicates_whose_best_are_missing(
    kept: list[int], best: int, chance: float
) -> None:
    assert chance_missing(REPLICATES, kept, best=best) == chance


def test_evidence_is_the_mean_of_the_consensus_over_the_queries_of_the_sample() -> None:
    vectors = drawn(1)
    legs = [
        DenseLeg(key=key, queries=vectors.queries[key], chunks=vectors.chunks[key]) for key in vectors.keys
    ]
    found = consensus_ndcg(
        legs, Documents.of(vectors.sample.chunk_ids), spreads=dict.fromkeys(vectors.keys, 0.25)
    )
    assert vectors.keys == tuple(NOISE)
    assert vectors.evidence().tolist() == pytest.approx([found[key].mean() for key in NOISE])
    assert np.argmin(vectors.evidence()) == 2


def test_replicates_are_repeated_by_their_seed() -> None:
    first, again = (drawn(1).replicates(np.random.default_rng(4)) for _ in range(2))
    assert first.shape == (HALVES * DRAWS, len(NOISE))
    assert first.tolist() == again.tolist()
    assert drawn(1).replicates(np.random.default_rng(5)).tolist() != first.tolist()


def test_replicates_differ_about_half_as_much_again_as_samples_that_are_drawn_anew() -> None:
    def lead(evidence: np.ndarray) -> np.ndarray:
        return evidence[..., 0] - evidence[..., 1]

    anew = np.std([lead(drawn(seed).evidence()) for seed in range(40)])
    within = np.mean([lead(drawn(seed).replicates(np.random.default_rng(seed))).std() for seed in range(6)])
    assert 1.2 * anew < within < 2 * anew

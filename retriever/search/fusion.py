"""Rankings joined instead of scores added: for comparison with the exact sum.

Each leg gives its first chunks, and only these count: a chunk that is good under every leg and first
under none may be missed. Hits are therefore marked as approximate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from retriever.search.wish import Found, best_first

DEPTH = 100
"""How many chunks of each leg count, at least."""

_RRF_CONSTANT = 60
_SPREADS = 3.0


def reciprocal_ranks(scores: Sequence[float]) -> list[float]:
    """Return ``1 / (60 + rank)`` per place, the rank counted from 1 (Cormack, Clarke and Büttcher 2009)."""
    return [1 / (_RRF_CONSTANT + place) for place in range(1, len(scores) + 1)]


def distribution_scores(scores: Sequence[float]) -> list[float]:
    """Return scores moved and scaled so that mean ± 3 standard deviations of the ranking are 1 and 0.

    Equal scores become 0.5. A single one as well.
    """
    values = np.asarray(scores, dtype=np.float64)
    width = 2 * _SPREADS * (float(values.std(ddof=1)) if len(values) > 1 else 0.0)
    if not width:
        return [0.5] * len(values)
    normalised: list[float] = ((values - values.mean()) / width + 0.5).tolist()
    return normalised


METHODS: Mapping[str, Callable[[Sequence[float]], list[float]]] = {
    "rrf": reciprocal_ranks,
    "dbsf": distribution_scores,
}
"""What a place in a ranking is worth, from the scores of the ranking, best first."""


def fuse(rankings: Mapping[str, Sequence[Found]], method: str, *, k: int) -> list[Found]:
    """Return the best `k` chunks of some rankings; contributions are what each leg's place is worth.

    Parameters
    ----------
    rankings
        By leg, best first.
    method
        One of `METHODS`.
    k
        How many to return.
    """
    shares: dict[str, dict[str, float]] = {}
    by_id: dict[str, Found] = {}
    for leg, ranking in rankings.items():
        for found, worth in zip(ranking, METHODS[method]([one.score for one in ranking]), strict=True):
            by_id.setdefault(found.point_id, found)
            shares.setdefault(found.point_id, dict.fromkeys(rankings, 0.0))[leg] = worth
    fused = [
        replace(by_id[point_id], score=math.fsum(parts.values()), contributions=parts, approximate=True)
        for point_id, parts in shares.items()
    ]
    return best_first(fused)[:k]

"""What the paper prints, as data: its Tables 1 and 2, its α and its transfer, to stand beside ours.

The names of models are those of their repositories, the names of collections those of BEIR in lower case.
The numbers are over all queries of a collection, training ones included, and chunks of 256 tokens. The paper
does not say how deep its rankings are.

The printed means of Table 2 are those of its rows, but for NFCorpus: there the rows give .755, .834, .711 and
.823 where .752, .841, .703 and .823 are printed. Both are kept: see `PrintedColumn`.

References
----------
.. [1] K. Ghosh Dastidar et al.: Combining Embedding Models for RAG: A Similarity-Based Approach (2025).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODELS: Mapping[str, str] = {
    "bge-large-en-v1.5": "BAAI/bge-large-en-v1.5",
    "bge-base-en-v1.5": "BAAI/bge-base-en-v1.5",
    "bge-small-en-v1.5": "BAAI/bge-small-en-v1.5",
    "GIST-large-Embedding-v0": "avsolatorio/GIST-large-Embedding-v0",
    "UAE-Large-V1": "WhereIsAI/UAE-Large-V1",
    "e5-base-v2": "intfloat/e5-base-v2",
    "e5-small-v2": "intfloat/e5-small-v2",
    "e5-large-v2": "intfloat/e5-large-v2",
    "arctic-embed-l": "Snowflake/snowflake-arctic-embed-l",
    "arctic-embed-m": "Snowflake/snowflake-arctic-embed-m",
    "arctic-embed-s": "Snowflake/snowflake-arctic-embed-s",
    "mxbai-embed-large-v1": "mixedbread-ai/mxbai-embed-large-v1",
    "gte-large": "thenlper/gte-large",
    "gte-base": "thenlper/gte-base",
    "gte-small": "thenlper/gte-small",
}
"""Repository of each model, by the name that the paper prints."""

ALPHAS: Mapping[str, float] = {"jaccard": 0.7, "cka": 0.5, "rank_similarity": 0.8}
"""Section 5.2: α of each measure."""

TUNED_ON = "nfcorpus"
"""Section 5.2: the collection that `ALPHAS` were tuned on, and whose similarities `TRANSFER` uses."""

TRANSFER: Mapping[str, float] = {"fiqa": 0.784, "scifact": 0.758, "scidocs": 0.759}
"""Section 5.2: overall ρ with the similarities of NFCorpus. The paper does not say of which measure."""

N_PAIRS = 105
"""Section 4.2: all pairs of the 15 models."""

IMPROVED_PAIRS: Mapping[str, int] = {"scidocs": 71, "fiqa": 98}
"""Section 4.2: how many of them are better than their better half."""

BASELINE = "baseline"
"""The column of Table 2 with α = 0."""

COLUMNS = (BASELINE, "jaccard", "cka", "rank_similarity")
"""The columns of each collection in Table 2, in its order."""

CONSISTENCY: Mapping[str, Mapping[tuple[str, str], float]] = {
    "jaccard": {
        ("fiqa", "nfcorpus"): 0.929,
        ("fiqa", "scidocs"): 0.899,
        ("fiqa", "scifact"): 0.917,
        ("nfcorpus", "scidocs"): 0.935,
        ("nfcorpus", "scifact"): 0.963,
        ("scidocs", "scifact"): 0.958,
    },
    "rank_similarity": {
        ("fiqa", "nfcorpus"): 0.932,
        ("fiqa", "scidocs"): 0.898,
        ("fiqa", "scifact"): 0.931,
        ("nfcorpus", "scidocs"): 0.913,
        ("nfcorpus", "scifact"): 0.933,
        ("scidocs", "scifact"): 0.938,
    },
    "cka": {
        ("fiqa", "nfcorpus"): 0.868,
        ("fiqa", "scidocs"): 0.929,
        ("fiqa", "scifact"): 0.866,
        ("nfcorpus", "scidocs"): 0.953,
        ("nfcorpus", "scifact"): 0.994,
        ("scidocs", "scifact"): 0.963,
    },
}
"""Table 1: ρ of the similarities of pairs on two collections, by measure; names in alphabetical order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrintedColumn:
    """A column of Table 2 ([1]_).

    Attributes
    ----------
    by_model
        ρ, by repository of the model.
    mean
        As printed, see `mean_of_rows`.
    overall
        ρ over all pairs.
    """

    by_model: Mapping[str, float]
    mean: float
    overall: float

    @property
    def mean_of_rows(self) -> float:
        """The mean of `by_model`, which `mean` should be."""
        return math.fsum(self.by_model.values()) / len(self.by_model)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "by_model": dict(self.by_model),
            "mean": self.mean,
            "mean_of_rows": self.mean_of_rows,
            "overall": self.overall,
        }


def printed_correlations(collection: str) -> dict[str, PrintedColumn]:
    """Return what Table 2 prints of a collection, by column; empty for one that is not in the paper.

    Examples
    --------
    >>> printed_correlations("SciFact")["jaccard"].overall
    0.779
    """
    rows = _TABLE_2.get(collection.lower(), {})
    return {
        column: PrintedColumn(
            by_model={MODELS[name]: values[index] for name, values in rows.items() if name in MODELS},
            mean=rows["mean"][index],
            overall=rows["overall"][index],
        )
        for index, column in enumerate(COLUMNS)
        if rows
    }


_TABLE_2: Mapping[str, Mapping[str, tuple[float, float, float, float]]] = {
    "nfcorpus": {
        "bge-large-en-v1.5": (0.579, 0.739, 0.563, 0.72),
        "bge-base-en-v1.5": (0.789, 0.844, 0.65, 0.918),
        "bge-small-en-v1.5": (0.886, 0.95, 0.876, 0.927),
        "GIST-large-Embedding-v0": (0.34, 0.639, 0.269, 0.676),
        "UAE-Large-V1": (0.654, 0.689, 0.567, 0.601),
        "e5-base-v2": (0.836, 0.911, 0.841, 0.927),
        "e5-small-v2": (0.864, 0.902, 0.9, 0.904),
        "e5-large-v2": (0.801, 0.893, 0.767, 0.902),
        "arctic-embed-l": (0.766, 0.904, 0.762, 0.881),
        "arctic-embed-m": (0.876, 0.844, 0.861, 0.93),
        "arctic-embed-s": (0.898, 0.923, 0.876, 0.89),
        "mxbai-embed-large-v1": (0.619, 0.622, 0.528, 0.499),
        "gte-large": (0.829, 0.793, 0.742, 0.699),
        "gte-base": (0.816, 0.898, 0.665, 0.916),
        "gte-small": (0.774, 0.954, 0.794, 0.95),
        "mean": (0.752, 0.841, 0.703, 0.823),
        "overall": (0.671, 0.819, 0.646, 0.801),
    },
    "scifact": {
        "bge-large-en-v1.5": (0.233, 0.117, 0.004, 0.436),
        "bge-base-en-v1.5": (0.565, 0.519, 0.375, 0.673),
        "bge-small-en-v1.5": (0.64, 0.91, 0.783, 0.922),
        "GIST-large-Embedding-v0": (-0.112, 0.739, 0.07, 0.727),
        "UAE-Large-V1": (0.353, 0.442, 0.26, 0.622),
        "e5-base-v2": (0.871, 0.883, 0.852, 0.883),
        "e5-small-v2": (0.772, 0.854, 0.796, 0.846),
        "e5-large-v2": (0.927, 0.899, 0.903, 0.915),
        "arctic-embed-l": (0.907, 0.968, 0.933, 0.965),
        "arctic-embed-m": (0.831, 0.945, 0.868, 0.938),
        "arctic-embed-s": (0.907, 0.937, 0.897, 0.938),
        "mxbai-embed-large-v1": (0.196, 0.156, -0.006, 0.381),
        "gte-large": (0.017, 0.804, 0.356, 0.836),
        "gte-base": (0.251, 0.665, 0.408, 0.727),
        "gte-small": (0.759, 0.967, 0.846, 0.973),
        "mean": (0.541, 0.72, 0.557, 0.785),
        "overall": (0.5, 0.779, 0.57, 0.838),
    },
    "scidocs": {
        "bge-large-en-v1.5": (0.453, 0.867, 0.683, 0.811),
        "bge-base-en-v1.5": (0.829, 0.916, 0.834, 0.886),
        "bge-small-en-v1.5": (0.813, 0.899, 0.903, 0.881),
        "GIST-large-Embedding-v0": (0.736, 0.766, 0.707, 0.583),
        "UAE-Large-V1": (0.612, 0.827, 0.687, 0.778),
        "e5-base-v2": (0.822, 0.87, 0.87, 0.803),
        "e5-small-v2": (0.646, 0.721, 0.686, 0.696),
        "e5-large-v2": (0.821, 0.823, 0.812, 0.849),
        "arctic-embed-l": (0.684, 0.887, 0.646, 0.829),
        "arctic-embed-m": (0.799, 0.877, 0.724, 0.786),
        "arctic-embed-s": (0.789, 0.82, 0.786, 0.745),
        "mxbai-embed-large-v1": (0.598, 0.751, 0.794, 0.625),
        "gte-large": (0.829, 0.649, 0.676, 0.532),
        "gte-base": (0.876, 0.829, 0.751, 0.805),
        "gte-small": (0.744, 0.636, 0.609, 0.483),
        "mean": (0.737, 0.809, 0.744, 0.739),
        "overall": (0.692, 0.746, 0.708, 0.673),
    },
    "fiqa": {
        "bge-large-en-v1.5": (0.011, 0.632, 0.154, 0.624),
        "bge-base-en-v1.5": (0.577, 0.936, 0.794, 0.946),
        "bge-small-en-v1.5": (0.756, 0.967, 0.871, 0.968),
        "GIST-large-Embedding-v0": (-0.093, 0.852, 0.144, 0.866),
        "UAE-Large-V1": (-0.074, 0.808, 0.143, 0.799),
        "e5-base-v2": (0.887, 0.946, 0.92, 0.951),
        "e5-small-v2": (0.755, 0.857, 0.819, 0.881),
        "e5-large-v2": (0.793, 0.882, 0.84, 0.846),
        "arctic-embed-l": (0.363, 0.846, 0.504, 0.895),
        "arctic-embed-m": (0.672, 0.94, 0.761, 0.943),
        "arctic-embed-s": (0.849, 0.95, 0.875, 0.948),
        "mxbai-embed-large-v1": (-0.037, 0.692, 0.123, 0.689),
        "gte-large": (0.257, 0.735, 0.428, 0.701),
        "gte-base": (0.642, 0.93, 0.768, 0.933),
        "gte-small": (0.681, 0.941, 0.791, 0.949),
        "mean": (0.469, 0.861, 0.596, 0.863),
        "overall": (0.452, 0.881, 0.635, 0.884),
    },
}

"""Whether the vector of a text depends on the texts it is embedded with.

A graph whose arithmetic is scaled by the largest number in a batch (dynamic int8 quantisation) gives a
text another vector in other company. A run that was resumed after a crash has other batches than one
that was not, so its vectors would differ; nothing would fail.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

INVARIANT = 1e-5
"""The largest ``1 - cosine`` that counts as the same vector: rounding stays far below it."""

PROBES = (
    "Basil.",
    "Which bank pays interest on the first working day of a quarter?",
    "The ferry leaves at noon; in winter it leaves an hour earlier, and on holidays it does not leave.",
    "def area(radius): return 3.14159 * radius**2  # in square metres; naïve café 日本語 🤖",
    "Warm soil helps basil, and so do six hours of sun. " * 6,
    "0 1 2 3 5 8 13 21 34 55 !!! ??? ... --- *** ### $$$ %%% AAAA zzzz",
)
"""Texts of unlike lengths and contents, so that the largest numbers inside a model differ."""


def batch_invariance(embed: Callable[[list[str]], NDArray[np.floating]]) -> float:
    """Return how far the vector of a text moves when it is embedded among others.

    Parameters
    ----------
    embed
        From texts to vectors, shape (n_texts, dimensions), of any length; ``model.embed_chunks``.

    Returns
    -------
    float
        The largest ``1 - cosine`` between the vector of a probe text alone and in one batch with the
        others, in [0, 2]. At most `INVARIANT`: the same text has the same vector, whatever the batch.
    """
    together = np.asarray(embed(list(PROBES)), dtype=np.float64)
    alone = np.vstack([np.asarray(embed([text]), dtype=np.float64) for text in PROBES])
    return max(0.0, float((1 - cosines(together, alone)).max()))


def cosines(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine of each row of `a` with the same row of `b`, float64, shape (n,)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms: NDArray[np.float64] = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    result: NDArray[np.float64] = (a * b).sum(axis=1) / norms
    return result

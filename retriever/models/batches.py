"""Token ids into batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def token_batches(lengths: Sequence[int], *, budget: int) -> Iterator[list[int]]:
    """Yield the indices of texts in batches that hold at most `budget` tokens, padding included.

    The longest texts come first, so whatever does not fit into memory fails at once, and texts of one
    batch are of about one length, so little is padded.

    Parameters
    ----------
    lengths
        Tokens of each text. One without tokens is in no batch: there is nothing to run.
    budget
        Rows of a batch times its longest row. A text longer than that is a batch of its own.
    """
    batch: list[int] = []
    filled = (i for i, length in enumerate(lengths) if length > 0)
    for i in sorted(filled, key=lambda i: -lengths[i]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def padded_rows(
    ids: Sequence[NDArray[np.integer]], *, pad_id: int, left: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of token ids as one array, and where it is not padded.

    Parameters
    ----------
    ids
        One row per text.
    pad_id
        Fills the shorter rows, at their end, or at their beginning if `left`.

    Returns
    -------
    int64, shape (n_texts, longest)
        The ids.
    int64, shape (n_texts, longest)
        1 where a text has a token, 0 where it is padded.
    """
    lengths = np.array([len(row) for row in ids])
    mask = np.arange(lengths.max()) < lengths[:, np.newaxis]
    if left:
        mask = mask[:, ::-1]
    padded = np.full(mask.shape, pad_id, dtype=np.int64)
    padded[mask] = np.concatenate(ids)
    return padded, mask.astype(np.int64)

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retriever.models.batches import padded_rows, token_batches


def test_batches_are_filled_from_the_longest_text_on() -> None:
    """By hand: 3 rows of 5 would be 15 tokens; 2 rows of 3 are 6; the empty text is nowhere."""
    assert list(token_batches([3, 5, 0, 5, 5, 3], budget=10)) == [[1, 3], [4, 0], [5]]
    assert list(token_batches([], budget=10)) == []
    assert list(token_batches([50, 2], budget=10)) == [[0], [1]]


@given(lengths=st.lists(st.integers(0, 300), max_size=60), budget=st.integers(1, 2000))
def test_every_text_with_tokens_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    """Padding counts: a batch is as wide as its longest text."""
    batches = list(token_batches(lengths, budget=budget))
    given_out = sorted(i for batch in batches for i in batch)
    assert given_out == [i for i, length in enumerate(lengths) if length]
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_rows_are_padded_at_either_end() -> None:
    """By hand."""
    rows = [np.array([7, 8, 9], dtype=np.int32), np.array([5], dtype=np.int32)]
    ids, mask = padded_rows(rows, pad_id=0)
    assert ids.tolist() == [[7, 8, 9], [5, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    ids, mask = padded_rows(rows, pad_id=1, left=True)
    assert ids.tolist() == [[7, 8, 9], [1, 1, 5]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert ids.dtype == mask.dtype == np.int64

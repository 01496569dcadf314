from __future__ import annotations

import numpy as np
import pytest

from retriever.models import batch_invariance
from retriever.models.probe import INVARIANT, PROBES
from retriever.models.protocol import FloatArray
from retriever.testing import FakeModel


def test_a_model_that_reads_each_text_for_itself_is_invariant() -> None:
    """Nothing at all moves."""
    assert batch_invariance(FakeModel().embed_chunks) <= INVARIANT


def test_the_largest_move_is_what_is_reported() -> None:
    """By hand: one of the texts turns by the angle whose cosine is 0.6, but only in company."""

    def embed(texts: list[str]) -> FloatArray:
        rows = np.tile(np.array([2, 0], dtype=np.float32), (len(texts), 1))
        if len(texts) > 1:
            rows[1] = (0.6, 0.8)
        return rows

    assert batch_invariance(embed) == pytest.approx(0.4)


def test_the_probes_are_unlike_each_other() -> None:
    """Texts of one length would be padded nowhere."""
    assert len({len(text) for text in PROBES}) == len(PROBES)

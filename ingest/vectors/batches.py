"""Texts in the portions in which they are embedded and stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from retriever.models.protocol import FloatArray

TOKENS_PER_BATCH = 16_384
"""Texts times the tokens of the longest: 64 chunks of 256. An interruption loses two batches at most:
the one that is embedded and the one that is written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Distinct texts that are embedded together, by the models of these keys in turn."""

    texts: tuple[str, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedBatch:
    """A batch with its vectors.

    Attributes
    ----------
    batch
        What was embedded.
    vectors : arrays by model key, float32, shape (n_texts, d)
        Unit rows; those of texts that failed are zero.
    seconds
        By model key, what it took.
    failures
        Why, by the position of a text on which a model failed.
    """

    batch: Batch
    vectors: Mapping[str, FloatArray]
    seconds: Mapping[str, float]
    failures: Mapping[int, str] = field(default_factory=dict)


def batches_of(lengths: Mapping[str, int], keys: Sequence[str]) -> Iterator[Batch]:
    """Yield batches of texts of similar length, the longest first.

    Texts are padded to the longest of their batch, so sorting them saves what padding would cost; and
    what does not fit in memory fails at once rather than at the end.

    Parameters
    ----------
    lengths
        The tokens of each text.
    keys
        Of the models to run.
    """
    texts: list[str] = []
    longest = 0
    for text in sorted(lengths, key=lengths.__getitem__, reverse=True):
        longest = longest or max(lengths[text], 1)
        if texts and longest * (len(texts) + 1) > TOKENS_PER_BATCH:
            yield Batch(texts=tuple(texts), keys=tuple(keys))
            texts, longest = [], max(lengths[text], 1)
        texts.append(text)
    if texts:
        yield Batch(texts=tuple(texts), keys=tuple(keys))

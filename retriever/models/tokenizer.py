"""Tokenizers of the ``tokenizers`` library behind the seam."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers

from retriever.errors import ModelError
from retriever.models.protocol import Spans
from retriever.records import fingerprint_of

_PROBE = (
    "The quick brown Fox, 42 dogs & 3.14159 pies: isn't it re-usable? Unbelievably so!",
    "na\u00efve Caf\u00e9 \u201cquotes\u201d \u2014 \u0130stanbul, Stra\u00dfe, e\u0301tude",
    "\ufb01ne \u00bd \u2461 \u2116 \u2211\u222b\u2260 \u200b\ufeff\x00",
    "def f(x_1): return {'a': [x_1**2]}  # \t tabs\n\n\nhttps://example.org/a?b=c%20d",
    "日本語のテキスト。中文\uff0c한국어; Привет мир; مرحبا بالعالم; שלום; नमस्ते; ภาษาไทย",
    "\U0001f916 \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "supercalifragilisticexpialidocious " + "x" * 40,
    "  leading, trailing and   inner   spaces  ",
    "",
)
"""Texts on which tokenizers of one vocabulary differ if their rules do: case, accents, scripts, white
space, bytes, digits, long words."""


class HFTokenizer:
    """A fast tokenizer, for counting and for offsets.

    Works on a private copy without truncation and padding: the model's own one is neither read while
    it works nor changed, and a text is always counted whole.

    Parameters
    ----------
    tokenizer
        What the model tokenizes with.
    add_special_tokens
        Whether the model adds its special tokens (``[CLS]``, ``<s>``) to a text; static models do not.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, *, add_special_tokens: bool) -> None:
        self._tokenizer = tokenizers.Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._add_special_tokens = add_special_tokens
        self._fingerprint = fingerprint_of(self._identity())

    @property
    def fingerprint(self) -> str:
        """Content hash: equal for models that share a vocabulary and its rules.

        Hashes the vocabulary and what becomes of fixed probe texts, not the serialised tokenizer:
        its JSON gains fields with releases of the library, and a corpus would no longer open.
        """
        return self._fingerprint

    def spans(self, text: str) -> Spans:
        """Return where each token starts and ends in `text`, without special tokens.

        Several tokens may share a span: the bytes of one character, or the space that a tokenizer
        puts before the first word.

        Returns
        -------
        int64, shape (n_tokens, 2)
            Character offsets, ``0 <= start <= end <= len(text)``; starts never decrease.
        """
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        spans = np.array(offsets, dtype=np.int64).reshape(-1, 2)
        np.maximum.accumulate(spans[:, 0], out=spans[:, 0])
        np.maximum(spans[:, 0], spans[:, 1], out=spans[:, 1])
        return spans

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, special tokens included, never truncated."""
        encodings = self._tokenizer.encode_batch_fast(
            list(texts), add_special_tokens=self._add_special_tokens
        )
        return [len(encoding.ids) for encoding in encodings]

    def _identity(self) -> dict[str, object]:
        encodings = self._tokenizer.encode_batch(list(_PROBE), add_special_tokens=self._add_special_tokens)
        return {
            "vocabulary": sorted(self._tokenizer.get_vocab().items()),
            "probe": [encoding.ids for encoding in encodings],
            "add_special_tokens": self._add_special_tokens,
        }


def read_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """Return the tokenizer that a ``tokenizer.json`` holds.

    Raises
    ------
    ModelError
        If the file is missing or not a tokenizer.
    """
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception for each defect
        raise ModelError(
            f"{path}: expected a tokenizer of the `tokenizers` library, got {error}. Copy the model again."
        ) from error

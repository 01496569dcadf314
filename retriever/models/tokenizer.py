"""Tokenizers of the ``tokenizers`` library behind the seam."""

from __future__ import annotations

import hashlib
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
import tokenizers
from numpy.typing import NDArray

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


TokenIds: TypeAlias = NDArray[np.int32]

_CACHE_BYTES = 16 * 2**20
_LARGEST_ENTRY = _CACHE_BYTES // 64  # one book must not push out a batch of chunks
_ENTRY_OVERHEAD = 300


class TokenCache:
    """Token ids of the texts that were tokenised last; safe from several threads.

    Parameters
    ----------
    capacity
        Bytes of texts and ids to keep; what was used longest ago goes first.
    largest
        Bytes above which a text is not kept at all.
    """

    def __init__(self, capacity: int = _CACHE_BYTES, largest: int = _LARGEST_ENTRY) -> None:
        self._capacity = capacity
        self._largest = largest
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str], TokenIds] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes that are kept now, about."""
        return self._size

    def get(self, rules: str, texts: Sequence[str]) -> list[TokenIds | None]:
        """Return the ids of each text under a tokenizer, None where they are not known."""
        with self._lock:
            found = [self._entries.get((rules, text)) for text in texts]
            for text, ids in zip(texts, found, strict=True):
                if ids is not None:
                    self._entries.move_to_end((rules, text))
        return found

    def put(self, rules: str, texts: Sequence[str], ids: Sequence[TokenIds]) -> None:
        """Keep the ids of each text."""
        with self._lock:
            for text, tokens in zip(texts, ids, strict=True):
                size = _bytes_of(text, tokens)
                if size <= self._largest and (rules, text) not in self._entries:
                    self._entries[rules, text] = tokens
                    self._size += size
            while self._size > self._capacity:
                (_, text), tokens = self._entries.popitem(last=False)
                self._size -= _bytes_of(text, tokens)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._size = 0


def _bytes_of(text: str, ids: TokenIds) -> int:
    return sys.getsizeof(text) + ids.nbytes + _ENTRY_OVERHEAD


class _Backend:
    """A tokenizer without truncation and padding, one for all instances with the same rules."""

    _known: ClassVar[weakref.WeakValueDictionary[str, _Backend]] = weakref.WeakValueDictionary()
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def of(cls, tokenizer: tokenizers.Tokenizer, rules: str) -> _Backend:
        with cls._guard:
            backend = cls._known.get(rules)
            if backend is None:
                backend = cls._known[rules] = cls(tokenizer)
            return backend


_cache = TokenCache()


def forget_tokens() -> None:
    """Empty the cache that all tokenizers share, so that a measurement starts from nothing."""
    _cache.clear()


class HFTokenizer:
    """A fast tokenizer: token ids, counts and offsets.

    Works on a private copy without truncation and padding: the model's own one is neither read while
    it works nor changed, and a text is always counted whole. Instances whose rules are the same to the
    letter share this copy and the ids of recent texts, so a text is tokenised once for the chunker and
    for every model of one vocabulary.

    Parameters
    ----------
    tokenizer
        What the model tokenizes with.
    add_special_tokens
        Whether the model adds its special tokens (``[CLS]``, ``<s>``) to a text; static models do not.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, *, add_special_tokens: bool) -> None:
        copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
        copy.no_truncation()
        copy.no_padding()
        # The fingerprint knows probe texts only; what is shared in a process has to be the very same.
        self._rules = hashlib.sha256(f"{add_special_tokens}{copy.to_str()}".encode()).hexdigest()
        self._backend = _Backend.of(copy, self._rules)
        self._tokenizer = self._backend.tokenizer
        self._add_special_tokens = add_special_tokens
        self._specials_after = self._count_specials_after()
        self._fingerprint = fingerprint_of(self._identity())

    @property
    def add_special_tokens(self) -> bool:
        """Whether special tokens are added to a text."""
        return self._add_special_tokens

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
        return [len(ids) for ids in self.encode(texts)]

    def encode(self, texts: Sequence[str], *, max_tokens: int | None = None) -> list[TokenIds]:
        """Return the token ids of each text, special tokens included.

        Parameters
        ----------
        texts
            Prompts included.
        max_tokens
            Longer texts are cut at their end, as a model does: special tokens count and stay. None
            for whole texts.

        Returns
        -------
        list of int32, shape (n_tokens,)
            Not to be written to: they are shared. Without tokens where a text has none.
        """
        texts = list(texts)
        whole = self._encode(texts)
        return whole if max_tokens is None else [self._cut(ids, max_tokens) for ids in whole]

    def _encode(self, texts: list[str]) -> list[TokenIds]:
        known = _cache.get(self._rules, texts)
        missing = list(dict.fromkeys(text for text, ids in zip(texts, known, strict=True) if ids is None))
        if not missing:
            return [ids for ids in known if ids is not None]
        fresh = dict(zip(missing, self._tokenize(missing), strict=True))
        _cache.put(self._rules, missing, list(fresh.values()))
        return [fresh[text] if ids is None else ids for text, ids in zip(texts, known, strict=True)]

    def _tokenize(self, texts: list[str]) -> list[TokenIds]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=self._add_special_tokens)
        arrays = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        for ids in arrays:
            ids.flags.writeable = False
        return arrays

    def _cut(self, ids: TokenIds, max_tokens: int) -> TokenIds:
        if len(ids) <= max_tokens:
            return ids
        end = len(ids) - self._specials_after
        return np.concatenate([ids[: max(0, max_tokens - self._specials_after)], ids[end:]])

    def _count_specials_after(self) -> int:
        """Return how many special tokens stand behind a text."""
        encoding = self._tokenizer.encode(_PROBE[0], add_special_tokens=self._add_special_tokens)
        is_special = encoding.special_tokens_mask
        return is_special[::-1].index(0) if 0 in is_special else 0

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

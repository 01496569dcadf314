"""What is tried out on a model, check by check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TypeAlias

import numpy as np

from retriever.doctor.texts import BLANK, PARAPHRASES, UNUSUAL, chunk_texts
from retriever.errors import EmbeddingError
from retriever.models.probe import INVARIANT, PROBES, batch_invariance, cosines
from retriever.models.prompts import prompts_for
from retriever.models.protocol import EmbeddingModel, FloatArray

_UNIT = 1e-3
_SAME = 1e-6
_AGREES = 0.99
_HARDLY_AGREES = 0.9
_LONGEST_TRIED = 1024  # tokens; a longer text may take minutes
_TAIL_WORDS = 8
_FOUND = 10  # of the paraphrases; random vectors find 1


class Verdict(IntEnum):
    """How bad a finding is."""

    OK = 0
    WARN = 1
    FAIL = 2


Outcome: TypeAlias = tuple[Verdict, str]


class Checks:
    """The checks of one model, for chunks of a length; each returns a verdict and its reason."""

    def __init__(self, model: EmbeddingModel, chunk_tokens: int) -> None:
        self._model = model
        self._spec = model.spec
        self._chunk_tokens = chunk_tokens
        self._room = self._room_for_a_chunk()

    @property
    def chunk_tokens_read(self) -> int:
        """Length of the chunks that can be tried: those that the model reads whole."""
        return self._chunk_tokens if self._room is None else min(self._chunk_tokens, self._room)

    def by_name(self) -> dict[str, Callable[[], Outcome]]:
        """Return the checks in the order they are made; without the first the others make no sense."""
        return {
            "dimensions": self._dimensions,
            "maximum tokens": self._maximum,
            "truncation": self._truncation,
            "unusual texts": self._unusual,
            "prompts": self._prompts,
            "symmetric": self._symmetric,
            "same in any batch": self._batches,
            "same when repeated": self._repeated,
            "agreement": self._agreement,
            "meaning": self._meaning,
        }

    def _dimensions(self) -> Outcome:
        for embed in (self._model.embed_queries, self._model.embed_chunks):
            vectors = embed(list(PROBES))
            if vectors.shape != (len(PROBES), self._spec.dimensions):
                return Verdict.FAIL, (
                    f"promises {self._spec.dimensions} for each of {len(PROBES)} texts, gives {vectors.shape}"
                )
        return Verdict.OK, f"{self._spec.dimensions}, as promised"

    def _maximum(self) -> Outcome:
        limit, wanted = self._spec.max_tokens, self._chunk_tokens
        if self._spec.over_length == "windows":
            return Verdict.OK, "none: longer chunks are embedded in windows, whose vectors are averaged"
        if limit is None and self._model.tokenizer is None:
            return Verdict.WARN, "unknown: a chunk that is too long may be cut in silence"
        if limit is None:
            return Verdict.OK, "none"
        assert self._room is not None  # noqa: S101  # there is a limit
        if wanted > self._room:
            return Verdict.FAIL, (
                f"{limit:,}, of which the prompt leaves {self._room:,}: chunks of {wanted:,} would lose "
                f"their ends. Cut chunks of at most {self._room:,}, or use windows (--over-length windows)."
            )
        return Verdict.OK, f"{limit:,}: room for chunks of {wanted:,} tokens and the prompt"

    def _truncation(self) -> Outcome:
        limit, tokenizer = self._spec.max_tokens, self._model.tokenizer
        if limit is None or tokenizer is None or limit > _LONGEST_TRIED:
            return self._reads_a_chunk()
        prompt = self._spec.document_prompt
        words = ["a"] * (limit - tokenizer.count([prompt])[0])
        if tokenizer.count([prompt + " ".join(words)]) != [limit]:
            return Verdict.WARN, "not tried: no text of exactly the maximum was found"
        texts = [words, [*words, "zebra"], [*words[:-1], "zebra"]]
        whole, beyond, other = self._model.embed_chunks([" ".join(text) for text in texts])
        if whole @ other > 1 - _SAME:
            return Verdict.FAIL, f"says it reads {limit:,} tokens, but the last of them changes nothing"
        if whole @ beyond < 1 - INVARIANT:
            return Verdict.WARN, f"says it reads {limit:,} tokens, but reads on"
        return Verdict.OK, f"reads {limit:,} tokens and no more"

    def _reads_a_chunk(self) -> Outcome:
        tokens = self.chunk_tokens_read
        (text,) = chunk_texts(1, tokens=tokens, tokenizer=self._model.tokenizer, seed=0)
        words = text.split()
        words[-_TAIL_WORDS:] = ["zebra"] * min(_TAIL_WORDS, len(words))
        whole, other = self._model.embed_chunks([text, " ".join(words)])
        if whole @ other > 1 - _SAME:
            return Verdict.FAIL, f"the end of a text of {tokens:,} tokens changes nothing"
        return Verdict.OK, f"reads {tokens:,} tokens to their end"

    def _unusual(self) -> Outcome:
        refused, broken = [], []
        for text in (*BLANK, *UNUSUAL):
            try:
                vector = self._model.embed_chunks([text])[0]
            except EmbeddingError:
                refused.append(text)
                continue
            if not abs(float(np.linalg.norm(vector)) - 1) < _UNIT:  # NaN is not below anything
                broken.append(text)
        if broken:
            return Verdict.FAIL, f"no unit vector for {_shown(broken)}"
        if set(refused) - set(BLANK):
            return Verdict.WARN, f"no vector for {_shown(refused)}: documents with such texts will fail"
        blank = ", but for texts without a word, which it refuses" if refused else ""
        return Verdict.OK, f"finite vectors of length 1{blank}"

    def _prompts(self) -> Outcome:
        query, document = self._spec.query_prompt, self._spec.document_prompt
        used = f"{query!r} before queries, {document!r} before chunks"
        known = prompts_for(self._spec.name)
        if self._spec.backend == "llama-index":
            return Verdict.OK, "its own business"
        if known is not None and (known.query, known.document) == (query, document):
            return Verdict.OK, f"{used if query or document else 'none'}, as the {known.source} says"
        if known is not None:
            return Verdict.WARN, (
                f"{used}; but the {known.source} has {known.query!r} and {known.document!r}. "
                "Check the model's files."
            )
        if query or document:
            return Verdict.OK, f"{used}, as the model's own files say"
        return Verdict.WARN, (
            "none are known for this model: if its publisher names some, put them under 'prompts' in its "
            "config_sentence_transformers.json"
        )

    def _symmetric(self) -> Outcome:
        texts = list(PROBES)
        lowest = float(cosines(self._model.embed_queries(texts), self._model.embed_chunks(texts)).min())
        if self._spec.query_prompt != self._spec.document_prompt and lowest > 1 - _SAME:
            return Verdict.FAIL, "no: but its prompts change nothing, so they are not used"
        if lowest > 1 - INVARIANT:
            return Verdict.OK, "yes: a text has one vector, as query and as chunk"
        return Verdict.OK, f"no: query and chunk of one text have a cosine of {lowest:.3f} at the lowest"

    def _batches(self) -> Outcome:
        tokens = self.chunk_tokens_read
        chunks = chunk_texts(2, tokens=tokens, tokenizer=self._model.tokenizer, seed=0)
        texts = [*PROBES, *chunks]
        forwards, backwards = self._model.embed_chunks(texts), self._model.embed_chunks(texts[::-1])[::-1]
        moved = max(
            batch_invariance(self._model.embed_chunks),
            _largest_distance(forwards, backwards),
            _largest_distance(forwards[len(PROBES) :], self._model.embed_chunks(chunks)),
        )
        if moved > INVARIANT:
            return Verdict.FAIL, (
                f"no: a vector moves by up to {moved:.1e} (1 - cosine) with the texts beside it, so a run "
                "that was interrupted and resumed stores other vectors. Use float32, or 8-bit weights alone."
            )
        return Verdict.OK, f"yes{_to(moved)}: alone, among others, in another order"

    def _repeated(self) -> Outcome:
        once, again = (self._model.embed_chunks(list(PROBES)) for _ in range(2))
        moved = float(np.abs(once - again).max())
        if moved > INVARIANT:
            return Verdict.WARN, f"no: two calls differ by up to {moved:.1e}"
        return Verdict.OK, f"yes{_to(moved)}"

    def _agreement(self) -> Outcome:
        agreement = self._spec.agreement
        if agreement is None and self._spec.dtype == "float32":
            return Verdict.OK, "full precision"
        if agreement is None:
            return Verdict.WARN, f"nobody has measured what {self._spec.dtype} changes"
        text = f"mean cosine of {agreement:.4f} to the vectors in full precision"
        if agreement < _HARDLY_AGREES:
            return Verdict.FAIL, f"{text}: this is another model"
        return (Verdict.OK if agreement >= _AGREES else Verdict.WARN), text

    def _meaning(self) -> Outcome:
        queries = self._model.embed_queries([question for question, _ in PARAPHRASES])
        chunks = self._model.embed_chunks([answer for _, answer in PARAPHRASES])
        scores = queries @ chunks.T
        found = int((scores.argmax(axis=1) == np.arange(len(PARAPHRASES))).sum())
        text = f"{found} of {len(PARAPHRASES)} English questions find their answer first"
        if found >= _FOUND:
            return Verdict.OK, text
        return Verdict.WARN, f"{text}: for an English model, check pooling and weights"

    def _room_for_a_chunk(self) -> int | None:
        limit, tokenizer = self._spec.max_tokens, self._model.tokenizer
        if limit is None or tokenizer is None:
            return limit
        with_prompt, without = tokenizer.count([self._spec.document_prompt, ""])
        return limit - (with_prompt - without)


def _largest_distance(a: FloatArray, b: FloatArray) -> float:
    return max(0.0, float((1 - cosines(a, b)).max()))


def _shown(texts: Sequence[str]) -> str:
    return ", ".join(repr(text[:20]) for text in texts)


def _to(moved: float) -> str:
    return "" if moved == 0 else f", to {moved:.0e}"

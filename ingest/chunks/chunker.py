"""Documents into chunks that no model truncates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID, uuid5

from ingest.chunks.pieces import Piece, pieces_of
from ingest.chunks.planner import Budget
from retriever.errors import InputError, ModelError, ModelMismatchError, ModelTooShortError
from retriever.models.protocol import EmbeddingModel, Tokenizer
from retriever.records import Chunk, ChunkerSpec, Document

NAMESPACE = UUID("77ffd335-2e2e-431b-91ef-7280b0955725")
"""Of the chunk ids; with another one every stored chunk would be a stranger."""


class Chunker:
    """Cuts documents into chunks of at most `spec.max_tokens` tokens by every tokenizer.

    - The tokens of each chunk are counted on its own text, special tokens included. Nor has a chunk
      more than 32 characters for each token allowed, which only text with hardly any tokens meets.
    - A chunk ends where a paragraph ends; if that leaves it less than half full, where a sentence ends;
      else where a line ends; else after any word.
    - Words are what white space separates. Scripts that are written without spaces (Chinese, Japanese,
      Thai and their like) may be cut between any two characters, punctuation and marks aside.
    - A single word that is too long is cut between tokens, and within what is seen as one character
      only where that alone is too long.
    - With overlap, a chunk begins with the last words of the one before, as many as have at most
      `spec.overlap_tokens` tokens: fewer where the next word would no longer fit, none inside a word that
      was cut.

    Parameters
    ----------
    spec
        How to cut; `spec.tokenizers` must be the sorted fingerprints of `tokenizers`.
    tokenizers
        All that count, in any order; repeats are allowed.

    Raises
    ------
    ModelMismatchError
        If `spec` asks for other tokenizers, or for a way of cutting that this release does not have.
    InputError
        If there is no room for text, or more overlap than half a chunk.
    """

    def __init__(self, spec: ChunkerSpec, tokenizers: Sequence[Tokenizer]) -> None:
        self._tokenizers = _distinct(tokenizers)
        _check_spec(spec, self._tokenizers)
        specials = tuple(tokenizer.count([""])[0] for tokenizer in self._tokenizers)
        _check_sizes(spec, max(specials))
        self._budget = Budget(
            max_tokens=spec.max_tokens, overlap_tokens=spec.overlap_tokens, specials=specials
        )
        self._spec = spec
        self._fingerprint = spec.fingerprint

    @property
    def spec(self) -> ChunkerSpec:
        """How it cuts."""
        return self._spec

    def chunks(self, document: Document, corpus: str) -> list[Chunk]:
        """Return the chunks of `document` in order; none if it has only white space.

        Ids depend on the corpus, the document's id, the place and text of the chunk and the spec,
        and on nothing else.

        Raises
        ------
        InputError
            If a single character has more tokens than a chunk may have.
        """
        pieces = pieces_of(document.text, self._tokenizers, self._budget)
        return [self._chunk(document, corpus, index, piece) for index, piece in enumerate(pieces)]

    def _chunk(self, document: Document, corpus: str, index: int, piece: Piece) -> Chunk:
        text = document.text[piece.start : piece.end]
        identity = json.dumps([corpus, document.doc_id, index, text, self._fingerprint])
        return Chunk(
            chunk_id=str(uuid5(NAMESPACE, identity)),
            doc_id=document.doc_id,
            index=index,
            text=text,
            start_char=piece.start,
            end_char=piece.end,
            token_count=piece.token_count,
            metadata=dict(document.metadata),
        )


def chunker_for(
    models: Sequence[EmbeddingModel], *, max_tokens: int = 256, overlap_tokens: int = 0
) -> Chunker:
    """Return a chunker whose chunks all of `models` read to the end.

    Parameters
    ----------
    models
        One or more. Those without a tokenizer on this machine are trusted to have room: only the
        tokenizers of the others count.
    max_tokens
        The longest chunk, special tokens included and the models' document prompts not; 256 as in the
        paper this rests on.
    overlap_tokens
        How much of a chunk its successor repeats.

    Raises
    ------
    ModelError
        If no model has a tokenizer.
    ModelTooShortError
        If a model reads less than such a chunk with its prompt.
    InputError
        If there is no room for text, or more overlap than half a chunk.
    """
    tokenizers = _distinct([model.tokenizer for model in models if model.tokenizer is not None])
    if not tokenizers:
        names = ", ".join(model.spec.name for model in models) or "no model"
        raise ModelError(
            f"chunks: expected a model with a tokenizer on this machine, got {names}. "
            "Add a local model: its tokenizer measures the chunks."
        )
    for model in models:
        _check_room(model, max_tokens, tokenizers)
    fingerprints = tuple(tokenizer.fingerprint for tokenizer in tokenizers)
    spec = ChunkerSpec(max_tokens=max_tokens, overlap_tokens=overlap_tokens, tokenizers=fingerprints)
    return Chunker(spec, tokenizers)


def _distinct(tokenizers: Sequence[Tokenizer]) -> list[Tokenizer]:
    """Return one tokenizer of each fingerprint, sorted by it."""
    by_fingerprint = {tokenizer.fingerprint: tokenizer for tokenizer in tokenizers}
    return [by_fingerprint[fingerprint] for fingerprint in sorted(by_fingerprint)]


def _check_room(model: EmbeddingModel, max_tokens: int, tokenizers: Sequence[Tokenizer]) -> None:
    """Refuse a model that reads less than its prompt and `max_tokens`.

    The prompt of a model without a tokenizer is measured with the tokenizer that finds most in it.
    """
    limit = model.spec.max_tokens
    if limit is None:
        return
    own = tokenizers if model.tokenizer is None else [model.tokenizer]
    prompt = max(_prompt_tokens(model.spec.document_prompt, tokenizer) for tokenizer in own)
    if limit < max_tokens + prompt:
        raise ModelTooShortError(
            f"model {model.spec.name}: expected room for {max_tokens + prompt} tokens ({max_tokens} of a "
            f"chunk, {prompt} of its prompt), got {limit}. Make chunks shorter (--chunk-tokens "
            f"{limit - prompt}), or take another model."
        )


def _prompt_tokens(prompt: str, tokenizer: Tokenizer) -> int:
    with_prompt, without = tokenizer.count([prompt, ""])
    return with_prompt - without


def _check_spec(spec: ChunkerSpec, tokenizers: Sequence[Tokenizer]) -> None:
    default = ChunkerSpec()
    if (spec.method, spec.version) != (default.method, default.version):
        raise ModelMismatchError(
            f"chunker: expected method {default.method!r} version {default.version}, got {spec.method!r} "
            f"version {spec.version}. Use the release that cut this corpus, or ingest it again."
        )
    given = tuple(tokenizer.fingerprint for tokenizer in tokenizers)
    if not given or spec.tokenizers != given:
        raise ModelMismatchError(
            f"chunker: expected the tokenizers {', '.join(spec.tokenizers) or '(none)'}, "
            f"got {', '.join(given) or '(none)'}. Load the models that the corpus was cut for."
        )


def _check_sizes(spec: ChunkerSpec, specials: int) -> None:
    if spec.max_tokens <= specials:
        raise InputError(
            f"chunk tokens: expected more than the {specials} special tokens of a chunk, got "
            f"{spec.max_tokens}. Allow more (--chunk-tokens)."
        )
    if not 0 <= spec.overlap_tokens <= spec.max_tokens // 2:
        raise InputError(
            f"chunk overlap: expected 0 to {spec.max_tokens // 2} tokens, half of a chunk, got "
            f"{spec.overlap_tokens}. Let chunks overlap less."
        )

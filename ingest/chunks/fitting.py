"""Chunkers whose chunks a set of models reads to the end."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.chunks.chunker import TextChunker, distinct
from ingest.chunks.protocol import Chunker
from ingest.chunks.settings import DEFAULT_TOKENS, METHODS, NODE_PARSER, WORDS, ChunkSettings
from retriever.errors import InputError, ModelError, ModelMismatchError, ModelTooShortError
from retriever.models.protocol import EmbeddingModel, Tokenizer
from retriever.records import ChunkerSpec


def chunker_for(models: Sequence[EmbeddingModel], settings: ChunkSettings | None = None) -> Chunker:
    """Return a chunker whose chunks all of `models` read to the end.

    Parameters
    ----------
    models
        One or more. Those without a tokenizer on this machine are trusted to have room: only the
        tokenizers of the others count.
    settings
        How to cut; what is left out has its default.

    Raises
    ------
    ModelError
        If no model has a tokenizer.
    ModelTooShortError
        If a model reads less than such a chunk with its prompt.
    InputError
        If the settings are not what `ChunkSettings` allows, or leave no room for text.
    """
    wished = ChunkSettings() if settings is None else settings
    tokenizers = distinct([model.tokenizer for model in models if model.tokenizer is not None])
    if not tokenizers:
        names = ", ".join(model.spec.name for model in models) or "no model"
        raise ModelError(
            f"chunks: expected a model with a tokenizer on this machine, got {names}. "
            "Add a local model: its tokenizer measures the chunks."
        )
    spec = _spec(wished, tokenizers)
    for model in models:
        _check_room(model, spec.max_tokens, tokenizers)
    return chunker_of(spec, tokenizers, parser=wished.parser)


def chunker_of(
    spec: ChunkerSpec, tokenizers: Sequence[Tokenizer], *, parser: object | None = None
) -> Chunker:
    """Return the chunker that `spec` describes.

    Raises
    ------
    ModelMismatchError
        If `spec` asks for other tokenizers, for the node parser of a program that has not given it, or
        for a way of cutting that this release does not have.
    InputError
        If there is no room for text, or more overlap than half a chunk.
    """
    if spec.method != NODE_PARSER and parser is None:
        return TextChunker(spec, tokenizers)
    if parser is None:
        raise ModelMismatchError(
            f"chunker: expected the node parser {spec.parser}, which is a program's own, got none. Give it "
            "again from Python (parser=...): no option of the command line can."
        )
    from ingest.chunks.llama_parser import NodeParserChunker

    return NodeParserChunker(spec, tokenizers, parser)


def parser_identity(parser: object | None) -> str:
    """Return what `ChunkerSpec.parser` is for this node parser; empty for none.

    Raises
    ------
    InputError
        If it is no node parser.
    """
    if parser is None:
        return ""
    from ingest.chunks.llama_parser import identity

    return identity(parser)


def _spec(wished: ChunkSettings, tokenizers: Sequence[Tokenizer]) -> ChunkerSpec:
    if wished.method is not None and wished.method not in METHODS:
        raise InputError(f"chunking: expected one of {', '.join(METHODS)}, got {wished.method!r}.")
    if wished.method is not None and wished.parser is not None:
        raise InputError(
            f"chunking: expected either a method or a node parser, got {wished.method!r} and a "
            f"{type(wished.parser).__name__}. Leave one out."
        )
    own = WORDS if wished.method is None else wished.method
    return ChunkerSpec(
        method=own if wished.parser is None else NODE_PARSER,
        max_tokens=DEFAULT_TOKENS if wished.max_tokens is None else wished.max_tokens,
        overlap_tokens=0 if wished.overlap_tokens is None else wished.overlap_tokens,
        tokenizers=tuple(tokenizer.fingerprint for tokenizer in tokenizers),
        title_prefix=bool(wished.title_prefix),
        parser=parser_identity(wished.parser),
    )


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
            f"{limit - prompt}), have long ones embedded in pieces (--over-length windows), or take another "
            "model."
        )


def _prompt_tokens(prompt: str, tokenizer: Tokenizer) -> int:
    with_prompt, without = tokenizer.count([prompt, ""])
    return with_prompt - without

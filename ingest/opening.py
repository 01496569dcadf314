"""A corpus opened for writing: with its own chunker and with all of its models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from ingest.chunks import Chunker, chunker_for
from ingest.lengths import LengthGuard
from retriever.corpus import Corpus
from retriever.errors import InputError, ModelMismatchError
from retriever.models.protocol import EmbeddingModel
from retriever.search import stored_models
from retriever.store.protocol import VectorStore

DEFAULT_CHUNK_TOKENS = 256
"""As in the paper."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedCorpus:
    """A corpus, how it is cut, and every model of its vectors by key.

    `guards` check chunks for models that had no say in how the corpus is cut.
    """

    corpus: Corpus
    chunker: Chunker
    models: Mapping[str, EmbeddingModel]
    guards: Sequence[LengthGuard]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.corpus.close()


def open_for_writing(
    store: VectorStore,
    name: str,
    models: Sequence[EmbeddingModel],
    *,
    chunk_tokens: int | None,
    overlap_tokens: int | None,
) -> OpenedCorpus:
    """Open the corpus and add the models it has not seen; or create it for these models.

    All is checked before anything is written. None for the sizes means as the corpus is, or 256
    and 0 for a new one.

    Raises
    ------
    InputError
        If a new corpus gets no model.
    ModelMismatchError
        If a model or a size differs from what the corpus was made with.
    ModelTooShortError
        If a model would truncate chunks, also chunks that are stored.
    """
    if name not in store.names():
        return _create(
            store,
            name,
            models,
            chunk_tokens=DEFAULT_CHUNK_TOKENS if chunk_tokens is None else chunk_tokens,
            overlap_tokens=0 if overlap_tokens is None else overlap_tokens,
        )
    corpus = Corpus.open(store, name)
    try:
        _check_setting(corpus, "--chunk-tokens", corpus.manifest.chunker.max_tokens, chunk_tokens)
        _check_setting(corpus, "--chunk-overlap", corpus.manifest.chunker.overlap_tokens, overlap_tokens)
        return _reopen(corpus, models)
    except BaseException:
        corpus.close()
        raise


def _create(
    store: VectorStore,
    name: str,
    models: Sequence[EmbeddingModel],
    *,
    chunk_tokens: int,
    overlap_tokens: int,
) -> OpenedCorpus:
    if not models:
        raise InputError(f"corpus {name!r}: expected at least one model for a new corpus, got none.")
    chunker = chunker_for(models, max_tokens=chunk_tokens, overlap_tokens=overlap_tokens)
    corpus = Corpus.create(store, name, chunker=chunker.spec, models=[model.spec for model in models])
    by_key = {model.spec.key: model for model in models}
    return OpenedCorpus(corpus=corpus, chunker=chunker, models=by_key, guards=())


def _reopen(corpus: Corpus, models: Sequence[EmbeddingModel]) -> OpenedCorpus:
    manifest = corpus.manifest
    known = {model.spec.key: model for model in models if model.spec.key in manifest.keys}
    added = {model.spec.key: model for model in models if model.spec.key not in manifest.keys}
    stored = stored_models(corpus, manifest.keys, given=known)
    counted = manifest.chunker.tokenizers
    chunker = Chunker(
        manifest.chunker,
        [
            model.tokenizer
            for model in stored.values()
            if model.tokenizer is not None and model.tokenizer.fingerprint in counted
        ],
    )
    new_guards = _guards(added.values(), counted)
    for chunks in corpus.chunks() if new_guards else ():
        for guard in new_guards:
            guard.check(chunks)
    corpus.add_models([model.spec for model in added.values()])
    guards = [*_guards(stored.values(), counted), *new_guards]
    return OpenedCorpus(corpus=corpus, chunker=chunker, models={**stored, **added}, guards=guards)


def _guards(models: Iterable[EmbeddingModel], counted: Sequence[str]) -> list[LengthGuard]:
    guards = (LengthGuard.of(model, counted=counted) for model in models)
    return [guard for guard in guards if guard is not None]


def _check_setting(corpus: Corpus, option: str, stored: int, given: int | None) -> None:
    if given is not None and given != stored:
        raise ModelMismatchError(
            f"corpus {corpus.name!r} at {corpus.location}, {option}: expected {stored}, as it was made with, "
            f"got {given}. Leave the option out, or ingest into a corpus of another name."
        )

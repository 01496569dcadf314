"""A corpus opened for writing: with its own chunker and with all of its models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from ingest.chunks import Chunker, chunker_for
from ingest.lengths import LengthGuard
from retriever.corpus import Corpus
from retriever.errors import InputError, ModelMismatchError
from retriever.models.protocol import EmbeddingModel
from retriever.records import ChunkerSpec, CorpusManifest
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


def open_for_writing(  # noqa: PLR0913  # all but the first three by name
    store: VectorStore,
    name: str,
    models: Sequence[EmbeddingModel],
    *,
    combine: Sequence[Sequence[str]],
    chunk_tokens: int | None,
    overlap_tokens: int | None,
) -> OpenedCorpus:
    """Open the corpus and add the models it has not seen; or create it for these models.

    All is checked before anything is written, the combinations that are to be made afterwards too.
    None for the sizes means as the corpus is, or 256 and 0 for a new one.

    Raises
    ------
    InputError
        If a new corpus gets no model, or a combination is not of at least two models of the corpus.
    ModelMismatchError
        If a model or a size differs from what the corpus was made with, or two models have one key.
    ModelTooShortError
        If a model would truncate chunks, also chunks that are stored.
    """
    given = _by_key(models)
    if name not in store.names():
        return _create(
            store,
            name,
            given,
            combine=combine,
            chunk_tokens=DEFAULT_CHUNK_TOKENS if chunk_tokens is None else chunk_tokens,
            overlap_tokens=0 if overlap_tokens is None else overlap_tokens,
        )
    corpus = Corpus.open(store, name)
    try:
        _check_setting(corpus, "--chunk-tokens", corpus.manifest.chunker.max_tokens, chunk_tokens)
        _check_setting(corpus, "--chunk-overlap", corpus.manifest.chunker.overlap_tokens, overlap_tokens)
        return _reopen(corpus, given, combine)
    except BaseException:
        corpus.close()
        raise


def _create(  # noqa: PLR0913  # all but the first three by name
    store: VectorStore,
    name: str,
    given: Mapping[str, EmbeddingModel],
    *,
    combine: Sequence[Sequence[str]],
    chunk_tokens: int,
    overlap_tokens: int,
) -> OpenedCorpus:
    if not given:
        raise InputError(
            f"corpus {name!r}: expected at least one model for a new corpus, got none. "
            "Name some (--models A,B), or check the name of the corpus and its store."
        )
    models = list(given.values())
    specs = [model.spec for model in models]
    chunker = chunker_for(models, max_tokens=chunk_tokens, overlap_tokens=overlap_tokens)
    _check_combinations(CorpusManifest(corpus=name, chunker=chunker.spec, models=tuple(specs)), combine)
    corpus = Corpus.create(store, name, chunker=chunker.spec, models=specs)
    return OpenedCorpus(corpus=corpus, chunker=chunker, models=given, guards=())


def _reopen(
    corpus: Corpus, given: Mapping[str, EmbeddingModel], combine: Sequence[Sequence[str]]
) -> OpenedCorpus:
    manifest = corpus.manifest
    known = {key: model for key, model in given.items() if key in manifest.keys}
    added = {key: model for key, model in given.items() if key not in manifest.keys}
    new_specs = [model.spec for model in added.values()]
    _check_combinations(replace(manifest, models=(*manifest.models, *new_specs)), combine)
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
    new_guards = _guards(added.values(), manifest.chunker)
    for chunks in corpus.chunks() if new_guards else ():
        for guard in new_guards:
            guard.check(chunks)
    corpus.add_models([model.spec for model in given.values()])
    guards = [*_guards(stored.values(), manifest.chunker), *new_guards]
    return OpenedCorpus(corpus=corpus, chunker=chunker, models={**stored, **added}, guards=guards)


def _by_key(models: Sequence[EmbeddingModel]) -> dict[str, EmbeddingModel]:
    by_key: dict[str, EmbeddingModel] = {}
    for model in models:
        other = by_key.setdefault(model.spec.key, model)
        if other is not model:
            raise ModelMismatchError(
                f"models: expected one of each name, got {other.spec.name} ({other.spec.source}) and "
                f"{model.spec.name} ({model.spec.source}), which would both be stored as "
                f"{model.spec.key!r}. Leave one out."
            )
    return by_key


def _check_combinations(manifest: CorpusManifest, combine: Sequence[Sequence[str]]) -> None:
    for names in combine:
        if len(manifest.ordered(names)) == 1:
            raise InputError(f"combination: expected two models or more, got {names[0]!r} alone.")


def _guards(models: Iterable[EmbeddingModel], chunker: ChunkerSpec) -> list[LengthGuard]:
    guards = (LengthGuard.of(model, chunker) for model in models)
    return [guard for guard in guards if guard is not None]


def _check_setting(corpus: Corpus, option: str, stored: int, given: int | None) -> None:
    if given is not None and given != stored:
        raise ModelMismatchError(
            f"corpus {corpus.name!r} at {corpus.location}, {option}: expected {stored}, as it was made with, "
            f"got {given}. Leave the option out, or ingest into a corpus of another name."
        )

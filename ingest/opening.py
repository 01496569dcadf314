"""A corpus opened for writing: with its own chunker and with all of its models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ingest.chunks import NODE_PARSER, Chunker, ChunkSettings, chunker_for, chunker_of, parser_identity
from ingest.lengths import LengthGuard
from retriever.corpus import Corpus
from retriever.errors import InputError, ModelError, ModelMismatchError, StoreLockedError
from retriever.models import load_stored
from retriever.models.protocol import EmbeddingModel, Tokenizer
from retriever.records import ChunkerSpec, CorpusManifest, ModelSpec
from retriever.search import stored_models
from retriever.store.protocol import VectorStore


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedCorpus:
    """A corpus, how it is cut, and every model of its vectors by key.

    `guards` check chunks for models that had no say in how the corpus is cut.
    """

    corpus: Corpus
    chunker: Chunker
    models: Mapping[str, EmbeddingModel]
    guards: Sequence[LengthGuard]


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """All that a run needs, checked, before anything is written.

    Attributes
    ----------
    store, name
        Which corpus.
    exists
        Whether the store has it.
    corpus
        The corpus as it is, for reading; None where it is not there or is to be made anew.
    chunker
        How documents are, or will be, cut.
    models
        Every model that its vectors will have, by key: the stored ones first.
    guards
        What checks chunks for models that had no say in how the corpus is cut.
    """

    store: VectorStore
    name: str
    exists: bool
    corpus: Corpus | None
    chunker: Chunker
    models: Mapping[str, EmbeddingModel]
    guards: Sequence[LengthGuard]

    @contextmanager
    def for_writing(self) -> Iterator[OpenedCorpus]:
        """Be the only writer of the corpus within ``with``: made if it has to be, with room for all models.

        Raises
        ------
        StoreLockedError
            If another run writes to the corpus, or has changed its models since it was opened.
        """
        if self.corpus is not None:
            with self._locked(self.corpus) as opened:
                yield opened
            return
        if self.exists:
            self.store.drop(self.name)
        specs = [model.spec for model in self.models.values()]
        with (
            Corpus.create(self.store, self.name, chunker=self.chunker.spec, models=specs) as corpus,
            self._locked(corpus) as opened,
        ):
            yield opened

    @contextmanager
    def _locked(self, corpus: Corpus) -> Iterator[OpenedCorpus]:
        known = corpus.manifest.keys
        with corpus.lock():
            if corpus.manifest.keys != known:
                raise StoreLockedError(
                    f"corpus {self.name!r} at {corpus.location}: expected the models {', '.join(known)}, got "
                    f"{', '.join(corpus.manifest.keys)}: another run has changed them meanwhile. Run again."
                )
            corpus.add_models([model.spec for model in self.models.values()])
            yield OpenedCorpus(corpus=corpus, chunker=self.chunker, models=self.models, guards=self.guards)


@contextmanager
def prepare(  # noqa: PLR0913  # all but the first three by name
    store: VectorStore,
    name: str,
    models: Sequence[EmbeddingModel],
    *,
    combine: Sequence[Sequence[str]] = (),
    settings: ChunkSettings | None = None,
    recreate: bool = False,
) -> Iterator[Opening]:
    """Open the corpus, and load its models; or see what it takes to make it for these models.

    All is checked, the combinations that are to be made afterwards too, and nothing is written. With
    `recreate`, a corpus that is there will be dropped with all it holds, its deployments too, and made
    anew.

    Raises
    ------
    InputError
        If a new corpus gets no model, a combination is not of at least two models of the corpus, or
        documents cannot be cut as wished.
    ModelMismatchError
        If a model or how documents are cut differs from what the corpus was made with, or two models
        have one key.
    ModelTooShortError
        If a model would truncate chunks, also chunks that are stored.
    """
    wished = ChunkSettings() if settings is None else settings
    given = _by_key(models)
    exists = name in store.names()
    if recreate or not exists:
        chunker = _new_chunker(name, given, combine, wished)
        yield Opening(
            store=store, name=name, exists=exists, corpus=None, chunker=chunker, models=given, guards=()
        )
        return
    with Corpus.open(store, name) as corpus:
        _check_settings(corpus, wished)
        yield _reopening(store, corpus, given, combine, parser=wished.parser)


def _new_chunker(
    name: str,
    given: Mapping[str, EmbeddingModel],
    combine: Sequence[Sequence[str]],
    settings: ChunkSettings,
) -> Chunker:
    if not given:
        raise InputError(
            f"corpus {name!r}: expected at least one model for a new corpus, got none. "
            "Name some (--models A,B), or check the name of the corpus and its store."
        )
    chunker = chunker_for(list(given.values()), settings)
    specs: tuple[ModelSpec, ...] = tuple(model.spec for model in given.values())
    _check_combinations(CorpusManifest(corpus=name, chunker=chunker.spec, models=specs), combine)
    return chunker


def _reopening(
    store: VectorStore,
    corpus: Corpus,
    given: Mapping[str, EmbeddingModel],
    combine: Sequence[Sequence[str]],
    *,
    parser: object | None,
) -> Opening:
    manifest = corpus.manifest
    known = {key: model for key, model in given.items() if key in manifest.keys}
    added = {key: model for key, model in given.items() if key not in manifest.keys}
    new_specs = [model.spec for model in added.values()]
    _check_combinations(replace(manifest, models=(*manifest.models, *new_specs)), combine)
    models = {**stored_models(corpus, manifest.keys, given=known), **added}
    chunker = chunker_of(manifest.chunker, _counting(manifest, models.values()), parser=parser)
    _check_stored(corpus, _guards(added.values(), manifest.chunker))
    return Opening(
        store=store,
        name=corpus.name,
        exists=True,
        corpus=corpus,
        chunker=chunker,
        models=models,
        guards=_guards(models.values(), manifest.chunker),
    )


def _counting(manifest: CorpusManifest, models: Iterable[EmbeddingModel]) -> list[Tokenizer]:
    """Return the tokenizers that count when documents are cut, those of models dropped since included."""
    found = {model.tokenizer.fingerprint: model.tokenizer for model in models if model.tokenizer is not None}
    for spec in manifest.counting:
        if spec.tokenizer not in found:
            tokenizer = _dropped(spec, manifest.corpus).tokenizer
            if tokenizer is not None:
                found[tokenizer.fingerprint] = tokenizer
    return [tokenizer for key, tokenizer in found.items() if key in manifest.chunker.tokenizers]


def _dropped(spec: ModelSpec, corpus: str) -> EmbeddingModel:
    try:
        return load_stored(spec)
    except ModelError as error:
        raise type(error)(
            f"corpus {corpus!r}: expected {spec.name}, which was dropped, and whose tokenizer still counts "
            f"when documents are cut, got: {str(error).rstrip('.')}. Bring it back to where it was, make the "
            "corpus anew (--recreate), or ingest into a corpus of another name."
        ) from error


def _check_stored(corpus: Corpus, guards: Sequence[LengthGuard]) -> None:
    """Refuse models that would truncate chunks that are stored."""
    for chunks in corpus.chunks() if guards else ():
        for guard in guards:
            guard.check(chunks)


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


def _check_settings(corpus: Corpus, wished: ChunkSettings) -> None:
    """Refuse each wish that differs from how the corpus is cut, before its models are loaded."""
    stored = corpus.manifest.chunker
    _check_parser(corpus, wished)
    for option, found, given in (
        ("--chunking", stored.method, wished.method),
        ("--chunk-tokens", stored.max_tokens, wished.max_tokens),
        ("--chunk-overlap", stored.overlap_tokens, wished.overlap_tokens),
        ("--title-prefix", _switch(stored.title_prefix), _switch(wished.title_prefix)),
    ):
        if given is not None and given != found:
            raise _differs(
                corpus, option, expected=str(found), got=str(given), way_out="Leave the option out"
            )


def _check_parser(corpus: Corpus, wished: ChunkSettings) -> None:
    stored, given = corpus.manifest.chunker, parser_identity(wished.parser)
    if stored.method == NODE_PARSER and not given:
        raise _differs(
            corpus,
            "chunks",
            expected=f"the node parser of the program that made it, {stored.parser}",
            got="none",
            way_out="Ingest from Python with the same parser (parser=...), which no option can name",
        )
    if given != stored.parser:
        cut_by = stored.parser or f"Tandem's own chunking by {stored.method}"
        raise _differs(corpus, "node parser", expected=cut_by, got=given, way_out="Give the same one")


def _switch(on: bool | None) -> str | None:  # noqa: FBT001  # a setting that is a boolean
    return None if on is None else "on" if on else "off"


def _differs(corpus: Corpus, name: str, *, expected: str, got: str, way_out: str) -> ModelMismatchError:
    return ModelMismatchError(
        f"corpus {corpus.name!r} at {corpus.location}, {name}: expected {expected}, as it was made with, "
        f"got {got}. {way_out}, make the corpus anew (--recreate), or ingest into a corpus of another name."
    )

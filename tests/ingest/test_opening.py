"""A corpus opens for writing as it was made, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.node_parser import SentenceSplitter, TokenTextSplitter

from ingest.chunks import NODE_PARSER, ChunkSettings
from ingest.lengths import LengthGuard
from ingest.opening import OpenedCorpus, prepare
from retriever.corpus import Corpus
from retriever.errors import (
    CorpusNotFoundError,
    InputError,
    ModelMismatchError,
    ModelNotFoundError,
    ModelTooShortError,
    StoreLockedError,
)
from retriever.records import Chunk, ChunkerSpec, Document, ModelSpec
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import VectorStore
from retriever.testing import FakeModel, WhitespaceTokenizer

ALPHA = FakeModel("acme/alpha", dimensions=8)
BETA = FakeModel("acme/beta", dimensions=8)
NAME = "c"


@pytest.fixture
def store(tmp_path: Path) -> VectorStore:
    return EmbeddedStore(tmp_path)


@contextmanager
def opened(
    store: VectorStore, models: Sequence[FakeModel] = (ALPHA,), *, recreate: bool = False, **settings: Any
) -> Iterator[OpenedCorpus]:
    wished = ChunkSettings(**settings)
    with (
        prepare(store, NAME, models, settings=wished, recreate=recreate) as opening,
        opening.for_writing() as corpus,
    ):
        yield corpus


def make(store: VectorStore, models: Sequence[FakeModel] = (ALPHA,), **options: Any) -> None:
    with opened(store, models, **options):
        pass


def spec_of(store: VectorStore) -> ChunkerSpec:
    corpus = Corpus.open(store, NAME)
    try:
        return corpus.manifest.chunker
    finally:
        corpus.close()


CHOICES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # what the corpus was made with, what is wished, what is said
    "method": ({}, {"method": "sentences"}, "--chunking: expected words, as it was made with, got sentences"),
    "method-back": (
        {"method": "markdown"},
        {"method": "words"},
        "--chunking: expected markdown, .* got words",
    ),
    "size": ({"max_tokens": 64}, {"max_tokens": 32}, "--chunk-tokens: expected 64, .* got 32"),
    "overlap": ({}, {"overlap_tokens": 8}, "--chunk-overlap: expected 0, .* got 8"),
    "title": ({}, {"title_prefix": True}, "--title-prefix: expected off, .* got on"),
    "no-title": ({"title_prefix": True}, {"title_prefix": False}, "--title-prefix: expected on, .* got off"),
}


@pytest.fixture(params=CHOICES)
def choice(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any], str]:
    return CHOICES[request.param]


class TestSettings:
    def test_a_corpus_is_cut_as_it_was_made(
        self, store: VectorStore, choice: tuple[dict[str, Any], dict[str, Any], str]
    ) -> None:
        made, _, _ = choice
        with opened(store, **made) as first:
            spec = first.chunker.spec
        with opened(store) as again:
            assert again.chunker.spec == spec == spec_of(store)
        with opened(store, **made) as repeated:
            assert repeated.chunker.spec == spec

    def test_a_difference_is_refused_by_name_with_the_ways_out(
        self, store: VectorStore, choice: tuple[dict[str, Any], dict[str, Any], str]
    ) -> None:
        made, wished, message = choice
        make(store, **made)
        with pytest.raises(ModelMismatchError, match=message) as caught:
            make(store, **wished)
        assert "Leave the option out, make the corpus anew (--recreate), or ingest into" in str(caught.value)
        make(store)  # it was closed, and is as before


class TestParsers:
    def test_the_same_parser_must_be_given_again(self, store: VectorStore) -> None:
        with opened(store, parser=SentenceSplitter(chunk_size=64, chunk_overlap=0)) as first:
            assert first.chunker.spec.method == NODE_PARSER
            chunks = first.chunker.chunks(Document(doc_id="a", text="b c"), NAME)
        with opened(store, parser=SentenceSplitter(chunk_size=64, chunk_overlap=0)) as again:
            assert again.chunker.chunks(Document(doc_id="a", text="b c"), NAME) == chunks

    def test_without_it_the_corpus_stays_closed(self, store: VectorStore) -> None:
        make(store, parser=SentenceSplitter(chunk_size=64, chunk_overlap=0))
        for settings in ({}, {"method": "words"}):
            with pytest.raises(
                ModelMismatchError, match=r"the node parser of the program that made it, .*SentenceSplitter"
            ):
                make(store, **settings)

    def test_another_one_is_refused_with_both_names(self, store: VectorStore) -> None:
        make(store, parser=SentenceSplitter(chunk_size=64, chunk_overlap=0))
        with pytest.raises(
            ModelMismatchError, match=r"expected .*SentenceSplitter.* got .*TokenTextSplitter"
        ):
            make(store, parser=TokenTextSplitter(chunk_size=64))

    def test_one_for_a_corpus_that_tandem_cut_is_refused(self, store: VectorStore) -> None:
        make(store)
        with pytest.raises(ModelMismatchError, match=r"expected Tandem's own chunking by words, .*TokenText"):
            make(store, parser=TokenTextSplitter(chunk_size=64))


class TestRecreate:
    def test_the_corpus_is_made_anew_as_wished(self, store: VectorStore) -> None:
        make(store, max_tokens=64)
        with opened(store, [BETA], recreate=True, method="sentences") as anew:
            assert anew.corpus.manifest.keys == ("beta",)
            assert anew.corpus.manifest.chunker == anew.chunker.spec
            assert (anew.chunker.spec.method, anew.chunker.spec.max_tokens) == ("sentences", 256)

    def test_where_there_is_none_it_is_made(self, store: VectorStore) -> None:
        with opened(store, recreate=True) as anew:
            assert anew.corpus.manifest.keys == ("alpha",)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"models": []},
            {"models": [FakeModel("acme/short", max_tokens=32)]},
            {"models": [ALPHA], "method": "lines"},
            {"models": [ALPHA], "overlap_tokens": 1_000},
        ],
        ids=["no-model", "short-model", "method", "overlap"],
    )
    def test_what_cannot_be_made_leaves_the_old_one(self, store: VectorStore, wrong: dict[str, Any]) -> None:
        make(store, max_tokens=64)
        with pytest.raises((InputError, ModelTooShortError)):
            make(store, recreate=True, **wrong)
        assert spec_of(store).max_tokens == 64

    def test_a_combination_that_cannot_be_leaves_the_old_one(self, store: VectorStore) -> None:
        make(store, max_tokens=64)
        combine = [("alpha", "beta")]
        with pytest.raises(InputError), prepare(store, NAME, [ALPHA], combine=combine, recreate=True):
            pytest.fail("it was prepared")
        assert spec_of(store).max_tokens == 64

    def test_nothing_is_made_without_it_for_a_name_that_is_wrong(self, store: VectorStore) -> None:
        with pytest.raises(InputError, match="at least one model"):
            make(store, [])
        with pytest.raises(CorpusNotFoundError):
            Corpus.open(store, NAME)


class TestPreparing:
    @pytest.mark.parametrize("recreate", [False, True])
    def test_it_writes_nothing(self, store: VectorStore, *, recreate: bool) -> None:
        with prepare(store, NAME, [ALPHA], recreate=recreate) as opening:
            assert (opening.exists, opening.corpus, list(opening.models)) == (False, None, ["alpha"])
        assert store.names() == []
        make(store, max_tokens=64)
        with prepare(store, NAME, [ALPHA, BETA], recreate=recreate) as opening:
            assert opening.exists
            assert (opening.corpus is None) == recreate
            assert list(opening.models) == ["alpha", "beta"]
            assert opening.chunker.spec.max_tokens == (256 if recreate else 64)
        with Corpus.open(store, NAME) as corpus:
            assert corpus.manifest.keys == ("alpha",)

    def test_writing_makes_room_for_the_models_that_are_new(self, store: VectorStore) -> None:
        make(store)
        with opened(store, [BETA, ALPHA]) as corpus:
            assert corpus.corpus.manifest.keys == ("alpha", "beta")
            assert list(corpus.models) == ["alpha", "beta"]

    def test_there_is_one_writer_at_a_time(self, store: VectorStore) -> None:
        make(store)
        for recreate in (False, True):
            with (
                opened(store),
                prepare(store, NAME, [ALPHA], recreate=recreate) as second,
                pytest.raises(StoreLockedError),
                second.for_writing(),
            ):
                pytest.fail("both write")

    def test_models_that_another_run_added_meanwhile_are_not_passed_over(self, store: VectorStore) -> None:
        make(store)
        with prepare(store, NAME, [ALPHA]) as first:
            make(store, [ALPHA, BETA])
            with pytest.raises(StoreLockedError, match="got alpha, beta: another run"), first.for_writing():
                pytest.fail("chunks would lack vectors of beta")


class TestLengths:
    CHUNK = Chunk(
        chunk_id="x", doc_id="a", index=0, text="b c", start_char=0, end_char=3, token_count=5, prefix="T\n\n"
    )
    TOKENS = 6  # two special tokens, the prompt of the model, the title and two words

    def guard(self, limit: int) -> LengthGuard:
        model = FakeModel("acme/short", max_tokens=limit)
        guard = LengthGuard.of(model, ChunkerSpec(tokenizers=("other",)))
        assert guard is not None
        return guard

    def test_a_guard_counts_what_is_embedded(self) -> None:
        self.guard(self.TOKENS).check([self.CHUNK])
        self.guard(self.TOKENS - 1).check([replace(self.CHUNK, prefix="")])
        with pytest.raises(ModelTooShortError, match=r"has 6 by its tokenizer\. .*--over-length windows"):
            self.guard(self.TOKENS - 1).check([self.CHUNK])

    def test_a_model_without_a_limit_needs_none(self) -> None:
        assert LengthGuard.of(FakeModel("acme/long", max_tokens=None), ChunkerSpec()) is None


def test_a_dropped_model_whose_tokenizer_still_counts_is_missed_by_name(store: VectorStore) -> None:
    class Other(FakeModel):
        @property
        def spec(self) -> ModelSpec:
            return replace(super().spec, tokenizer="other", source="/nowhere/beta")

        @property
        def tokenizer(self) -> Any:
            return OtherTokenizer()

    class OtherTokenizer(WhitespaceTokenizer):
        @property
        def fingerprint(self) -> str:
            return "other"

    make(store, [ALPHA, Other("acme/beta", dimensions=8)])
    with Corpus.open(store, NAME) as corpus:
        corpus.drop_model("beta")
    with pytest.raises(ModelNotFoundError) as caught:
        make(store)
    said = str(caught.value)
    assert "corpus 'c': expected acme/beta, which was dropped, and whose tokenizer still counts" in said
    assert "/nowhere/beta" in said
    assert "Bring it back to where it was, make the corpus anew (--recreate)" in said
    make(store, recreate=True)

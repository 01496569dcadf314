"""An ingest run brings a corpus to the state of its source, embeds what is new, and breaks nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.chunks import ChunkSettings
from ingest.collection import Counts
from ingest.documents import FailedDocument
from ingest.run import IngestSummary, ingest
from retriever.combine import concatenate
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.errors import (
    EmbeddingError,
    InputError,
    ModelMismatchError,
    ModelNotFoundError,
    ModelTooShortError,
    SourceError,
)
from retriever.models.protocol import EmbeddingModel, FloatArray, Spans
from retriever.records import Document, ModelSpec
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import Collection, Point, VectorStore
from retriever.testing import FakeModel, WhitespaceTokenizer

CHUNK_TOKENS = 14  # a paragraph of ten words is a chunk, two do not fit
CHUNKS = ChunkSettings(max_tokens=CHUNK_TOKENS)
BAD = "poison"

Contents = Callable[[VectorStore, str], Any]


def paragraph(name: str, words: int = 10) -> str:
    return " ".join(f"{name}{i}" for i in range(words))


def document(doc_id: str, *names: str, **metadata: Any) -> Document:
    """One chunk per name."""
    return Document(doc_id=doc_id, text="\n\n".join(map(paragraph, names)), metadata=metadata)


LIBRARY = (
    document("a", "apple", "avocado", "almond", shelf=1),
    document("b", "banana", "basil", shelf=2),
    document("c", "cherry", shelf=1),
)


class CountingModel:
    """A real model that remembers which chunks it embedded."""

    def __init__(self, model: EmbeddingModel) -> None:
        self.model = model
        self.embedded: list[str] = []

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec

    @property
    def tokenizer(self) -> Any:
        return self.model.tokenizer

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        return self.model.embed_queries(texts)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        self.embedded += texts
        return self.model.embed_chunks(texts)


class BadOn(CountingModel):
    """A model that does something bad to texts with a certain word, and fails whole batches with it."""

    def __init__(self, model: EmbeddingModel, bad: Callable[[FloatArray], FloatArray]) -> None:
        super().__init__(model)
        self._bad = bad

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        vectors = super().embed_chunks(texts)
        return self._bad(vectors) if any(BAD in text for text in texts) else vectors


class WithSpec(CountingModel):
    """The same vectors under another description."""

    def __init__(self, model: EmbeddingModel, **changed: Any) -> None:
        super().__init__(model)
        self._spec = replace(model.spec, **changed)

    @property
    def spec(self) -> ModelSpec:
        return self._spec


class LetterTokenizer(WhitespaceTokenizer):
    """One token per character."""

    @property
    def fingerprint(self) -> str:
        return "letters"

    def spans(self, text: str) -> Spans:
        return np.array([(i, i + 1) for i in range(len(text))], dtype=np.int64).reshape(-1, 2)

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text) + 2 for text in texts]


class LetterModel(WithSpec):
    """Counts letters where others count words."""

    def __init__(self, name: str, *, max_tokens: int) -> None:
        super().__init__(FakeModel(name), tokenizer="letters", max_tokens=max_tokens)

    @property
    def tokenizer(self) -> Any:
        return LetterTokenizer()


ALPHA = FakeModel("acme/alpha", dimensions=32)
BETA = FakeModel("acme/beta", dimensions=16)


def alpha() -> CountingModel:
    return CountingModel(ALPHA)


def beta() -> CountingModel:
    return CountingModel(BETA)


def run(
    store: VectorStore,
    documents: Sequence[Document | FailedDocument],
    models: Sequence[EmbeddingModel] | None = None,
    **options: Any,
) -> IngestSummary:
    given = [alpha(), beta()] if models is None else models
    return ingest(documents, store, "c", models=given, **{"chunks": CHUNKS, **options})


def store_in_memory() -> VectorStore:
    from qdrant_client import QdrantClient

    from retriever.store.server import ServerStore

    return ServerStore(QdrantClient(":memory:"), location=":memory:")


@pytest.fixture
def store() -> VectorStore:
    """Return an empty store, where the engine makes no difference: this one is quicker."""
    return store_in_memory()


@pytest.fixture
def undisturbed(contents: Contents) -> Callable[..., Any]:
    """Return what a store holds after one run without any trouble."""

    def contents_after(documents: Sequence[Document], **options: Any) -> Any:
        other = store_in_memory()
        run(other, documents, **options)
        return contents(other, "c")

    return contents_after


def counts_of(summary: IngestSummary) -> tuple[int, int, int, int]:
    return (summary.new, summary.changed, summary.unchanged, len(summary.failed))


def texts_of(payloads: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, int, str]]:
    from retriever.payload import to_chunk

    chunks = [to_chunk(payload) for payload in payloads.values()]
    return sorted((chunk.doc_id, chunk.index, chunk.text) for chunk in chunks)


def expected_texts(documents: Sequence[Document]) -> list[tuple[str, int, str]]:
    return sorted(
        (document.doc_id, index, text)
        for document in documents
        for index, text in enumerate(document.text.split("\n\n"))
    )


# ── the state of the source ──────────────────────────────────────────────────────────────────────────────


def test_a_first_run_stores_every_chunk_with_the_vectors_of_every_model(
    any_store: VectorStore, contents: Contents
) -> None:
    models = [alpha(), beta()]
    summary = run(any_store, LIBRARY, models, combine=[("beta", "alpha")])
    assert counts_of(summary) == (3, 0, 0, 0)
    assert (summary.chunks, summary.written_chunks, summary.written_tokens) == (6, 6, 6 * 12)
    assert {key: timing.texts for key, timing in summary.models.items()} == {"alpha": 6, "beta": 6}
    assert all(timing.per_second > 0 for timing in summary.models.values())

    found = contents(any_store, "c")
    assert texts_of(found.payloads) == expected_texts(LIBRARY)
    assert found.record["manifest"]["combinations"] == [["alpha", "beta"]]
    assert set(found.record["manifest"]["spreads"]) == {"alpha", "beta"}
    from retriever.payload import to_chunk

    for chunk_id, payload in found.payloads.items():
        rows = [model.model.embed_chunks([to_chunk(payload).text]) for model in models]
        stored = found.vectors[chunk_id]
        np.testing.assert_allclose(stored["alpha"], rows[0][0], atol=1e-6)
        np.testing.assert_allclose(stored["beta"], rows[1][0], atol=1e-6)
        np.testing.assert_allclose(stored["alpha+beta"], concatenate(rows)[0], atol=1e-6)
        assert payload["shelf"] in {1, 2}


def test_a_second_run_embeds_nothing_and_changes_nothing(any_store: VectorStore, contents: Contents) -> None:
    run(any_store, LIBRARY, combine=[("alpha", "beta")])
    before = contents(any_store, "c")
    again = [alpha(), beta()]
    summary = run(any_store, LIBRARY, again)
    assert [model.embedded for model in again] == [[], []]
    assert counts_of(summary) == (0, 0, 3, 0)
    assert (summary.chunks, summary.written_chunks, summary.elsewhere) == (6, 0, 0)
    assert {timing.texts for timing in summary.models.values()} == {0}
    assert contents(any_store, "c").differences(before) == []


def test_of_a_changed_document_only_the_changed_chunks_are_embedded_and_none_is_left_over(
    any_store: VectorStore, contents: Contents, undisturbed: Callable[..., Any]
) -> None:
    run(any_store, LIBRARY, combine=[("alpha", "beta")])
    changed = [document("a", "apple", "apricot", "almond", shelf=1), *LIBRARY[1:]]
    models = [alpha(), beta()]
    summary = run(any_store, changed, models)
    assert [model.embedded for model in models] == [[paragraph("apricot")]] * 2
    assert counts_of(summary) == (0, 1, 2, 0)
    after = contents(any_store, "c")
    assert after.differences(undisturbed(changed, combine=[("alpha", "beta")])) == []


def test_changed_metadata_reach_the_chunks_and_nothing_is_embedded(
    any_store: VectorStore, contents: Contents, undisturbed: Callable[..., Any]
) -> None:
    run(any_store, LIBRARY)
    moved = [document("a", "apple", "avocado", "almond", shelf=9), *LIBRARY[1:]]
    models = [alpha(), beta()]
    summary = run(any_store, moved, models)
    assert [model.embedded for model in models] == [[], []]
    assert counts_of(summary) == (0, 1, 2, 0)
    found = contents(any_store, "c")
    assert Counter(payload["shelf"] for payload in found.payloads.values()) == {9: 3, 2: 2, 1: 1}
    assert found.differences(undisturbed(moved)) == []


@pytest.mark.parametrize("names", [("apple",), ("avocado",), ("almond", "apple")])
def test_a_document_that_became_shorter_leaves_no_tail(
    any_store: VectorStore, contents: Contents, undisturbed: Callable[..., Any], names: tuple[str, ...]
) -> None:
    run(any_store, LIBRARY)
    shorter = [document("a", *names, shelf=1), *LIBRARY[1:]]
    run(any_store, shorter)
    assert contents(any_store, "c").differences(undisturbed(shorter)) == []


def test_documents_that_the_source_does_not_have_stay_and_are_counted(
    any_store: VectorStore, contents: Contents
) -> None:
    run(any_store, LIBRARY)
    new = document("d", "date")
    summary = run(any_store, [new, FailedDocument(doc_id="b", where="b.txt", reason="not UTF-8")])
    assert counts_of(summary) == (1, 0, 0, 1)
    assert summary.elsewhere == 2  # a and c; b is in the source, but cannot be read
    assert texts_of(contents(any_store, "c").payloads) == expected_texts([*LIBRARY, new])


def test_what_the_source_could_not_read_is_passed_on(store: VectorStore) -> None:
    broken = FailedDocument(doc_id=None, where="corpus.jsonl:2", reason="broken JSON")
    summary = run(store, [broken, *LIBRARY])
    assert summary.failed == (broken,)
    assert summary.new == 3


def test_equal_texts_are_embedded_once_and_stored_for_each_document(
    store: VectorStore, contents: Contents
) -> None:
    model = alpha()
    twins = [document("a", "twin"), document("b", "twin")]
    run(store, twins, [model])
    assert model.embedded == [paragraph("twin")]
    assert texts_of(contents(store, "c").payloads) == expected_texts(twins)


def test_progress_is_told_with_growing_counts(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def note(counts: Counts) -> None:
        seen.append((counts.documents, counts.written_chunks))

    documents = [document(f"d{i}", f"word{i}") for i in range(3000)]
    run(EmbeddedStore(tmp_path), documents, on_progress=note)
    assert seen == sorted(seen)
    assert len({written for _, written in seen if 0 < written < 3000}) >= 2  # not all at the end
    assert seen[-1] == (3000, 3000)


def test_a_source_is_read_no_further_than_needed(tmp_path: Path) -> None:
    read: list[str] = []
    read_at_first_embedding: list[int] = []

    class Observing(CountingModel):
        def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
            read_at_first_embedding.append(len(read))
            return super().embed_chunks(texts)

    def source() -> Iterator[Document]:
        for i in range(9000):
            read.append(str(i))
            yield document(str(i), f"word{i}")

    ingest(source(), EmbeddedStore(tmp_path), "c", models=[Observing(FakeModel())])
    assert read_at_first_embedding[0] <= 2 * 1024 + 4 * 64  # a window, as much ahead, and groups under way
    assert len(read) == 9000


# ── models and combinations ──────────────────────────────────────────────────────────────────────────────


def test_a_model_added_later_runs_over_the_stored_text_alone_and_combinations_are_filled(
    any_store: VectorStore, contents: Contents, undisturbed: Callable[..., Any]
) -> None:
    run(any_store, LIBRARY, [alpha()])
    first, second = alpha(), beta()
    summary = run(any_store, LIBRARY, [first, second], combine=[("alpha", "beta")])
    assert first.embedded == []
    assert sorted(second.embedded) == sorted(text for _, _, text in expected_texts(LIBRARY))
    assert counts_of(summary) == (0, 0, 3, 0)
    assert summary.models["beta"].texts == 6
    after = contents(any_store, "c")
    assert after.differences(undisturbed(LIBRARY, combine=[("alpha", "beta")])) == []


def test_a_model_added_together_with_a_change_embeds_no_text_twice(
    any_store: VectorStore, contents: Contents, undisturbed: Callable[..., Any]
) -> None:
    run(any_store, LIBRARY, [alpha()])
    changed = [document("a", "apple", "apricot", "almond", shelf=1), *LIBRARY[1:]]
    first, second = alpha(), beta()
    run(any_store, changed, [first, second])
    assert first.embedded == [paragraph("apricot")]
    assert max(Counter(second.embedded).values()) == 1
    assert contents(any_store, "c").differences(undisturbed(changed)) == []


def test_a_combination_asked_for_later_needs_no_embedding(
    any_store: VectorStore, contents: Contents, undisturbed: Callable[..., Any]
) -> None:
    run(any_store, LIBRARY)
    models = [alpha(), beta()]
    run(any_store, LIBRARY, models, combine=[("acme/beta", "fake:acme/alpha")])  # by name and by source
    assert [model.embedded for model in models] == [[], []]
    after = contents(any_store, "c")
    assert after.differences(undisturbed(LIBRARY, combine=[("alpha", "beta")])) == []


def test_stored_combinations_are_kept_in_step_without_being_asked_for_again(
    any_store: VectorStore, contents: Contents, undisturbed: Callable[..., Any]
) -> None:
    run(any_store, LIBRARY, combine=[("alpha", "beta")])
    more = [document("a", "aubergine", shelf=1), *LIBRARY[1:], document("d", "date")]
    run(any_store, more)
    after = contents(any_store, "c")
    assert after.differences(undisturbed(more, combine=[("alpha", "beta")])) == []


def test_a_run_changes_no_deployment(any_store: VectorStore, contents: Contents) -> None:
    run(any_store, LIBRARY)
    with Corpus.open(any_store, "c") as corpus:
        deploy(corpus, ["alpha", "beta"])
    served = contents(any_store, "c").record["deployments"]
    run(any_store, [*LIBRARY, document("d", "date")])
    assert len(served) == 1
    assert contents(any_store, "c").record["deployments"] == served


def test_models_that_are_left_out_are_loaded_as_they_were_or_missed_by_name(
    any_store: VectorStore, contents: Contents
) -> None:
    run(any_store, LIBRARY)
    before = contents(any_store, "c")
    with pytest.raises(ModelNotFoundError, match="fake:acme/beta"):
        run(any_store, [document("d", "date")], [alpha()])
    assert contents(any_store, "c").differences(before) == []


REFUSED_MODELS = {
    "another publisher": {"name": "other/alpha"},
    "another revision": {"revision": "sha256:other"},
    "another document prompt": {"document_prompt": "text: "},
    "another query prompt": {"query_prompt": "question: "},
    "another pooling": {"pooling": "cls"},
    "another precision": {"dtype": "int8"},
}


@pytest.mark.parametrize("change", REFUSED_MODELS.values(), ids=REFUSED_MODELS)
def test_another_model_of_the_same_key_and_dimensions_is_refused_and_nothing_changes(
    store: VectorStore, contents: Contents, change: dict[str, str]
) -> None:
    run(store, LIBRARY)
    before = contents(store, "c")
    other = WithSpec(alpha(), **change)
    (value,) = change.values()
    with pytest.raises(ModelMismatchError, match=value) as caught:
        run(store, [*LIBRARY, document("d", "date")], [other, beta(), LetterModel("x/y", max_tokens=512)])
    assert getattr(alpha().spec, next(iter(change))) in str(caught.value)
    assert contents(store, "c").differences(before) == []


def test_two_models_of_one_key_are_refused_for_a_new_corpus_and_for_an_old_one(
    store: VectorStore, contents: Contents
) -> None:
    twins = [alpha(), WithSpec(alpha(), name="other/alpha")]
    with pytest.raises(ModelMismatchError, match="other/alpha"):
        run(store, LIBRARY, twins)
    assert store.names() == []
    run(store, LIBRARY, [alpha()])
    before = contents(store, "c")
    for pair in (twins, twins[::-1], [beta(), WithSpec(beta(), name="other/beta")]):
        with pytest.raises(ModelMismatchError, match="would both be stored"):
            run(store, LIBRARY, pair)
    assert contents(store, "c").differences(before) == []


def test_the_same_model_given_twice_counts_once(store: VectorStore) -> None:
    model = alpha()
    summary = run(store, LIBRARY, [model, model])
    assert list(summary.models) == ["alpha"]
    assert len(model.embedded) == 6


@pytest.mark.parametrize(
    "chunks", [ChunkSettings(max_tokens=20), ChunkSettings(max_tokens=CHUNK_TOKENS, overlap_tokens=3)]
)
def test_a_corpus_cannot_be_cut_in_two_ways(
    any_store: VectorStore, contents: Contents, chunks: ChunkSettings
) -> None:
    run(any_store, LIBRARY)
    before = contents(any_store, "c")
    with pytest.raises(ModelMismatchError, match=r"--chunk-(tokens: expected 14|overlap: expected 0)"):
        ingest(LIBRARY, any_store, "c", models=[alpha(), beta()], chunks=chunks)
    assert contents(any_store, "c").differences(before) == []
    summary = ingest(LIBRARY, any_store, "c", models=[alpha(), beta()])  # left out: as it is
    assert counts_of(summary) == (0, 0, 3, 0)


def test_overlap_is_part_of_the_corpus(store: VectorStore) -> None:
    text = paragraph("w", 40)
    summary = ingest(
        [Document(doc_id="a", text=text)],
        store,
        "c",
        models=[alpha()],
        chunks=ChunkSettings(max_tokens=12, overlap_tokens=4),
    )
    assert summary.chunks == 6  # 10 words, then 6 new ones each
    with Corpus.open(store, "c") as corpus:
        assert corpus.manifest.chunker.overlap_tokens == 4


def test_a_model_that_is_too_short_is_refused_before_anything_is_created(store: VectorStore) -> None:
    short = FakeModel("acme/short", max_tokens=CHUNK_TOKENS)  # its prompt takes one token more
    with pytest.raises(ModelTooShortError, match=f"room for {CHUNK_TOKENS + 1} tokens.*got {CHUNK_TOKENS}"):
        run(store, LIBRARY, [alpha(), short])
    assert store.names() == []
    run(store, LIBRARY, [alpha(), FakeModel("acme/short", max_tokens=CHUNK_TOKENS + 1)])


SHORT_MODELS = {
    "the tokenizer that cut": FakeModel("acme/short", max_tokens=10),
    "another tokenizer": LetterModel("acme/short", max_tokens=40),
}


@pytest.mark.parametrize("short", SHORT_MODELS.values(), ids=SHORT_MODELS)
def test_a_model_that_would_truncate_stored_chunks_is_not_added(
    store: VectorStore, contents: Contents, short: EmbeddingModel
) -> None:
    run(store, LIBRARY, [alpha()])
    before = contents(store, "c")
    with pytest.raises(ModelTooShortError, match=r"acme/short: expected chunks of at most [14]0 tokens"):
        run(store, LIBRARY, [alpha(), short])
    assert contents(store, "c").differences(before) == []


@pytest.mark.parametrize("short", SHORT_MODELS.values(), ids=SHORT_MODELS)
def test_a_model_for_which_a_later_document_is_too_long_fails_that_document_alone(
    store: VectorStore, contents: Contents, short: EmbeddingModel
) -> None:
    brief = Document(doc_id="brief", text="one two three")
    run(store, [brief], [alpha()])
    run(store, [brief], [alpha(), short])
    before = contents(store, "c")
    for models in ([alpha(), short], [short, alpha()]):
        summary = run(store, [document("long", "pomegranate"), brief], models)
        assert counts_of(summary) == (0, 0, 1, 1)
        assert summary.failed[0].doc_id == "long"
        assert "acme/short" in summary.failed[0].reason
        assert contents(store, "c").differences(before) == []


def test_a_model_without_a_tokenizer_must_have_room_for_the_longest_chunk(store: VectorStore) -> None:
    class Remote(WithSpec):
        @property
        def tokenizer(self) -> None:
            return None

    run(store, LIBRARY, [alpha()])
    with pytest.raises(ModelTooShortError, match="room for chunks of 14 tokens, got 13"):
        run(store, LIBRARY, [alpha(), Remote(beta(), tokenizer=None, max_tokens=13)])
    roomy = Remote(beta(), tokenizer=None, max_tokens=14)
    endless = Remote(FakeModel("acme/endless"), tokenizer=None, max_tokens=None)
    summary = run(store, LIBRARY, [alpha(), roomy, endless])
    assert {key: timing.texts for key, timing in summary.models.items()} == {
        "alpha": 0,
        "beta": 6,
        "endless": 6,
    }


@pytest.mark.parametrize(
    ("combination", "message"),
    [
        (("alpha", "gamma"), "got 'gamma'"),
        (("alpha", "alpha"), "expected different models"),
        (("alpha",), "expected two models or more"),
    ],
)
def test_a_combination_that_cannot_be_made_is_refused_before_anything_is_written(
    store: VectorStore, contents: Contents, combination: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(store, LIBRARY, combine=[("alpha", "beta"), combination])
    assert store.names() == []
    run(store, LIBRARY, [alpha()])
    before = contents(store, "c")
    with pytest.raises(InputError, match=message):
        run(store, LIBRARY, combine=[("alpha", "beta"), combination])
    assert contents(store, "c").differences(before) == []


def test_a_new_corpus_needs_a_model(any_store: VectorStore) -> None:
    with pytest.raises(InputError, match="at least one model"):
        run(any_store, LIBRARY, [])
    assert any_store.names() == []


# ── documents that cannot be stored ──────────────────────────────────────────────────────────────────────


def refuse(_: FloatArray) -> FloatArray:
    raise EmbeddingError("model 'acme/alpha': the service refused a text")


def crash(_: FloatArray) -> FloatArray:
    raise RuntimeError("CUDA error: device-side assert triggered")


FAULTS: dict[str, tuple[Callable[[FloatArray], FloatArray], str]] = {
    "refuses": (refuse, "refused a text"),
    "crashes": (crash, r"RuntimeError: CUDA error"),
    "returns NaN": (lambda rows: rows * np.float32(np.nan), "NaN"),
    "returns zeros": (lambda rows: rows * np.float32(0), "zero vector"),
    "returns long vectors": (lambda rows: rows * np.float32(3), "unit vector"),
    "returns other sizes": (lambda rows: rows[:, 1:], "shape"),
    "returns too few": (lambda rows: rows[1:], "shape"),
    "returns float64": (lambda rows: rows.astype(np.float64), "float64"),  # type: ignore[return-value]
    "returns no array": (lambda rows: rows.tolist(), "list"),
}


@pytest.mark.parametrize(("bad", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_model_that_fails_on_one_text_fails_its_document_alone(
    store: VectorStore,
    contents: Contents,
    undisturbed: Callable[..., Any],
    bad: Callable[[FloatArray], FloatArray],
    reason: str,
) -> None:
    documents = [LIBRARY[0], document("bad", "fine", BAD), *LIBRARY[1:]]
    summary = run(store, documents, [BadOn(alpha(), bad), beta()], combine=[("alpha", "beta")])
    assert counts_of(summary) == (3, 0, 0, 1)
    (failed,) = summary.failed
    assert (failed.doc_id, failed.where) == ("bad", "bad")
    assert "acme/alpha" in failed.reason
    assert reason in failed.reason
    assert texts_of(contents(store, "c").payloads) == expected_texts(LIBRARY)

    mended = run(store, documents)
    assert counts_of(mended) == (1, 0, 3, 0)
    after = contents(store, "c")
    assert after.differences(undisturbed(documents, combine=[("alpha", "beta")])) == []


@pytest.mark.parametrize("bad", [refuse, crash])
def test_a_new_version_that_fails_leaves_the_old_one_exactly_as_it_was(
    any_store: VectorStore, contents: Contents, bad: Callable[[FloatArray], FloatArray]
) -> None:
    names = [f"n{i}x" for i in range(300)]  # more chunks than are written at a time
    old = document("long", *names, edition=1)
    run(any_store, [old, *LIBRARY])
    before = contents(any_store, "c")
    new = document("long", "longerword", *names[1:290], BAD, *names[290:], edition=2)
    summary = run(any_store, [new, *LIBRARY], [alpha(), BadOn(beta(), bad)])
    assert counts_of(summary) == (0, 0, 3, 1)
    assert contents(any_store, "c").differences(before) == []


def test_a_model_added_later_that_fails_on_a_text_fills_all_the_others(
    any_store: VectorStore, contents: Contents, undisturbed: Callable[..., Any]
) -> None:
    documents = [*LIBRARY, document("bad", "fine", BAD, f"{BAD}ous")]
    run(any_store, documents, [alpha()])
    summary = run(any_store, documents, [alpha(), BadOn(beta(), crash)], combine=[("alpha", "beta")])
    assert [failed.doc_id for failed in summary.failed] == ["bad"]
    assert "without its vectors of beta" in summary.failed[0].reason
    found = contents(any_store, "c")
    assert texts_of(found.payloads) == expected_texts(documents)
    lacking = [found.payloads[chunk_id] for chunk_id, names in found.vectors.items() if "beta" not in names]
    assert [text for _, _, text in texts_of({str(i): lacking[i] for i in range(len(lacking))})] == [
        paragraph(BAD),
        paragraph(f"{BAD}ous"),
    ]
    assert counts_of(run(any_store, documents)) == (0, 0, 4, 0)
    after = contents(any_store, "c")
    assert after.differences(undisturbed(documents, combine=[("alpha", "beta")])) == []


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"doc_id": "x"}, "doc_id"),
        ({"tandem": {}, "_node_content": "x"}, "_node_content, tandem"),
        ({"day": date(2026, 1, 1)}, "date"),
        ({"ratio": float("nan")}, "JSON"),
        ({1: "x"}, "strings"),
        ({"pages": [{1: "a", "x": "b"}]}, "metadata 'pages': expected names that are strings"),
        ({"size": {"bytes": [2**70]}}, "metadata 'size': expected a whole number of at most 64 bits"),
    ],
)
def test_metadata_that_cannot_be_stored_fail_their_document_alone(
    store: VectorStore, contents: Contents, metadata: dict[Any, Any], reason: str
) -> None:
    bad = Document(doc_id="bad", text="some text", metadata=metadata)
    summary = run(store, [LIBRARY[0], bad, *LIBRARY[1:]])
    assert counts_of(summary) == (3, 0, 0, 1)
    assert summary.failed[0].doc_id == "bad"
    assert reason in summary.failed[0].reason
    assert texts_of(contents(store, "c").payloads) == expected_texts(LIBRARY)


def nested(depth: int) -> Any:
    value: Any = 1
    for i in range(depth):
        value = {"k": value} if i % 2 else [value]
    return value


@pytest.mark.parametrize("depth", [30, 40, 100, 124, 126, 200, 5000])
def test_metadata_deeper_than_a_store_can_read_back_fail_their_document_alone(
    any_store: VectorStore, contents: Contents, depth: int
) -> None:
    run(any_store, LIBRARY[:1])
    deep = Document(doc_id="deep", text="some text", metadata={"a": nested(depth)})
    summary = run(any_store, [*LIBRARY, deep])
    assert [failed.doc_id for failed in summary.failed] == (["deep"] if depth > 32 else [])
    assert all("metadata 'a': expected lists and" in failed.reason for failed in summary.failed)
    stored = contents(any_store, "c").payloads.values()  # the corpus is opened anew
    assert {payload["doc_id"] for payload in stored} == {"a", "b", "c", *(["deep"] if depth <= 32 else [])}
    for payload in stored:
        assert payload.get("a") == (nested(depth) if payload["doc_id"] == "deep" else None)


def test_a_list_of_documents_is_held_to_what_a_source_promises(
    store: VectorStore, contents: Contents
) -> None:
    documents = [*LIBRARY, document("a", "another"), Document(doc_id="empty", text=" \n")]
    for expected in ((3, 0, 0, 2), (0, 0, 3, 2)):
        summary = run(store, documents)
        assert counts_of(summary) == expected
        assert [failed.doc_id for failed in summary.failed] == ["a", "empty"]
        assert texts_of(contents(store, "c").payloads) == expected_texts(LIBRARY)


def test_a_duplicate_does_not_hide_why_the_document_itself_failed(store: VectorStore) -> None:
    unreadable = FailedDocument(doc_id="b", where="b.txt", reason="not UTF-8")
    documents = [document("a", BAD), document("a", "another"), unreadable, document("c", "cherry")]
    summary = run(store, documents, [BadOn(ALPHA, refuse)])
    assert counts_of(summary) == (1, 0, 0, 3)
    expected = (("a", "duplicate id 'a'"), ("b", "not UTF-8"), ("a", "the service refused a text"))
    for failed, (doc_id, reason) in zip(summary.failed, expected, strict=True):
        assert failed.doc_id == doc_id
        assert reason in failed.reason


def test_a_text_that_cannot_be_cut_fails_its_document_alone(store: VectorStore) -> None:
    class EightTokens(LetterTokenizer):
        def spans(self, text: str) -> Spans:
            return np.array([(i, i + 1) for i in range(len(text)) for _ in range(8)], dtype=np.int64)

        def count(self, texts: Sequence[str]) -> list[int]:
            return [2 + sum(8 if ord(letter) > 127 else 1 for letter in text) for text in texts]

    class EightModel(LetterModel):
        @property
        def tokenizer(self) -> Any:
            return EightTokens()

    models = [EightModel("acme/eight", max_tokens=512)]
    documents = [Document(doc_id="good", text="abc"), Document(doc_id="bad", text="🤖🤖🤖")]
    summary = ingest(documents, store, "c", models=models, chunks=ChunkSettings(max_tokens=8))
    assert counts_of(summary) == (1, 0, 0, 1)
    assert summary.failed[0].doc_id == "bad"


@pytest.mark.parametrize("items", [[], ()])
def test_a_source_without_documents_is_refused_and_creates_nothing(
    any_store: VectorStore, items: Sequence[Document]
) -> None:
    with pytest.raises(SourceError, match="the source has none"):
        run(any_store, items)
    assert any_store.names() == []


# ── interruptions ────────────────────────────────────────────────────────────────────────────────────────


class Stop(BaseException):
    """Like `KeyboardInterrupt`, or a power failure."""


class Fuse:
    """Blows after so many writes, just before the next one."""

    def __init__(self, writes: int) -> None:
        self._left = writes

    def guard(self, write: Callable[[], None]) -> None:
        if self._left == 0:
            raise Stop
        self._left -= 1
        write()


class FusedStore:
    """A store that stops the run at one of its writes."""

    def __init__(self, store: VectorStore, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse
        self.location = store.location
        self.names = store.names
        self.drop = store.drop

    def create(self, name: str, *, vectors: Mapping[str, int], record: Mapping[str, Any]) -> Collection:
        return FusedCollection(self._store.create(name, vectors=vectors, record=record), self._fuse)

    def open(self, name: str) -> Collection:
        return FusedCollection(self._store.open(name), self._fuse)


class FusedCollection:
    def __init__(self, collection: Collection, fuse: Fuse) -> None:
        self._collection = collection
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:  # reading is left as it is
        return getattr(self._collection, name)

    def upsert(self, points: Sequence[Point]) -> None:
        self._fuse.guard(lambda: self._collection.upsert(points))

    def update_vectors(self, points: Sequence[Point]) -> None:
        self._fuse.guard(lambda: self._collection.update_vectors(points))

    def update_payloads(self, points: Sequence[Point]) -> None:
        self._fuse.guard(lambda: self._collection.update_payloads(points))

    def delete(self, where: Any) -> None:
        self._fuse.guard(lambda: self._collection.delete(where))

    def add_vector(self, name: str, size: int, *, storage: str = "float32") -> None:
        self._fuse.guard(lambda: self._collection.add_vector(name, size, storage=storage))

    def write_record(self, record: Mapping[str, Any]) -> None:
        self._fuse.guard(lambda: self._collection.write_record(record))


def until_done(store: VectorStore, documents: Sequence[Document], *, writes: int, **options: Any) -> bool:
    """Run with a fuse and then without one; return whether the fuse blew."""
    try:
        run(FusedStore(store, Fuse(writes)), documents, **options)
    except Stop:
        run(store, documents, **options)
        return True
    return False


def test_a_first_run_stopped_between_any_two_writes_is_completed_by_the_next(
    any_store: VectorStore, contents: Contents, undisturbed: Callable[..., Any]
) -> None:
    expected = undisturbed(LIBRARY, combine=[("alpha", "beta")])
    writes, blew = -1, True
    while blew:
        writes += 1
        blew = until_done(any_store, LIBRARY, writes=writes, combine=[("alpha", "beta")])
        assert contents(any_store, "c").differences(expected) == [], f"after {writes} writes"
        any_store.drop("c")
    assert writes >= 4  # layout and record of the combination, chunks, spreads


def test_a_later_run_stopped_between_any_two_writes_is_completed_by_the_next(
    contents: Contents, undisturbed: Callable[..., Any]
) -> None:
    pair = [("alpha", "beta")]
    old = [document("a", *(f"n{i}x" for i in range(300))), *LIBRARY[1:]]
    new = [
        document("a", *(f"n{i}x" for i in range(280)), "end"),
        document("b", "basil"),
        document("d", "date"),
    ]
    expected = undisturbed([*new, LIBRARY[2]], combine=pair)
    writes, blew = -1, True
    while blew:
        writes += 1
        store = store_in_memory()
        run(store, old, [alpha()])
        blew = until_done(store, new, writes=writes, combine=pair)
        assert contents(store, "c").differences(expected) == [], f"after {writes} writes"
    assert writes >= 10


def test_a_document_that_was_cut_short_and_then_fails_leaves_no_chunk(
    any_store: VectorStore, contents: Contents
) -> None:
    long = document("long", *(f"n{i}x" for i in range(290)), BAD)
    bad = [BadOn(alpha(), crash), beta()]
    with pytest.raises(Stop):
        run(FusedStore(any_store, Fuse(1)), [document("z", "zest"), long], bad)
    with Corpus.open(any_store, "c") as corpus:
        assert corpus.count_chunks() > 1  # the stop came in the middle of the long one
    summary = run(any_store, [document("z", "zest"), long], bad)
    assert [failed.doc_id for failed in summary.failed] == ["long"]
    assert texts_of(contents(any_store, "c").payloads) == expected_texts([document("z", "zest")])


def test_a_source_that_breaks_off_loses_nothing_that_was_stored(
    store: VectorStore, contents: Contents, undisturbed: Callable[..., Any]
) -> None:
    documents = [document(f"d{i}", f"word{i}x") for i in range(100)]

    def broken() -> Iterator[Document]:
        yield from documents[:80]
        raise SourceError("corpus.jsonl: the disk was pulled out")

    with pytest.raises(SourceError, match="pulled out"):
        ingest(broken(), store, "c", models=[alpha(), beta()], chunks=CHUNKS)
    again = alpha()
    summary = run(store, documents, [again, beta()])
    assert summary.unchanged == 80
    assert len(again.embedded) == 20
    assert contents(store, "c").differences(undisturbed(documents)) == []


@pytest.mark.parametrize("seed", range(4))
def test_neither_order_nor_portions_nor_interruptions_show_in_the_result(
    any_store: VectorStore, contents: Contents, undisturbed: Callable[..., Any], seed: int
) -> None:
    rng = np.random.default_rng(seed)

    def random_document(i: int) -> Document:
        names = [f"w{rng.integers(40)}x" for _ in range(rng.integers(1, 8))]
        return document(f"d{i}", *names, shelf=int(rng.integers(3)))

    def shuffled(documents: Sequence[Document]) -> list[Document]:
        return [documents[i] for i in rng.permutation(len(documents))]

    final = [random_document(i) for i in range(30)]
    drafts = [random_document(i) for i in range(30)]
    run(any_store, shuffled(drafts)[: rng.integers(1, 31)], [alpha()])
    for _ in range(3):
        portion = shuffled(final)[: rng.integers(1, 31)]
        fuse = Fuse(int(rng.integers(8)))
        options = {"combine": [("alpha", "beta")]} if rng.integers(2) else {}
        try:
            run(FusedStore(any_store, fuse), portion, **options)
        except Stop:
            continue
    run(any_store, shuffled(final), combine=[("alpha", "beta")])
    expected = undisturbed(final, combine=[("alpha", "beta")])
    assert contents(any_store, "c").differences(expected) == []

"""A text is embedded once: whatever document it is in, wherever it moves, whenever it comes again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from ingest import reading
from ingest import run as run_module
from ingest.chunks import ChunkSettings
from ingest.collection import documents as documents_module
from ingest.run import IngestSummary, ingest
from ingest.vectors import batches
from retriever.models.protocol import FloatArray
from retriever.payload import to_chunk
from retriever.records import Document
from retriever.store.protocol import VectorStore
from retriever.store.server import ServerStore
from retriever.testing import FakeModel

CHUNKS = ChunkSettings(max_tokens=14)
TITLED = ChunkSettings(max_tokens=20, title_prefix=True)

Contents = Callable[[VectorStore, str], Any]


class Counting(FakeModel):
    """Remembers which chunks it embedded."""

    def __init__(self, name: str, *, dimensions: int = 16) -> None:
        super().__init__(name, dimensions=dimensions)
        self.embedded: list[str] = []

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        self.embedded += texts
        return super().embed_chunks(texts)


def alpha() -> Counting:
    return Counting("acme/alpha", dimensions=32)


def beta() -> Counting:
    return Counting("acme/beta")


def paragraph(name: str) -> str:
    return " ".join(f"{name}{i}" for i in range(10))


def document(doc_id: str, *names: str, title: str = "") -> Document:
    """One chunk per name."""
    metadata = {"title": title} if title else {}
    return Document(doc_id=doc_id, text="\n\n".join(map(paragraph, names)), metadata=metadata)


def run(
    store: VectorStore, documents: Sequence[Document], *models: Counting, chunks: ChunkSettings = CHUNKS
) -> IngestSummary:
    return ingest(documents, store, "c", models=models, chunks=chunks)


def in_memory() -> VectorStore:
    return ServerStore(QdrantClient(":memory:"), location=":memory:")


def in_one_run(
    contents: Contents, documents: Sequence[Document], *models: Counting, chunks: ChunkSettings = CHUNKS
) -> Any:
    store = in_memory()
    run(store, documents, *models, chunks=chunks)
    return contents(store, "c")


def test_a_document_of_another_name_embeds_nothing(any_store: VectorStore, contents: Contents) -> None:
    run(any_store, [document("old", "apple", "pear")], alpha(), beta())
    first, second = alpha(), beta()
    summary = run(any_store, [document("new", "apple", "pear")], first, second)
    assert (first.embedded, second.embedded) == ([], [])
    assert (summary.new, summary.written_chunks, summary.reused_chunks, summary.elsewhere) == (1, 2, 2, 1)
    both = [document("old", "apple", "pear"), document("new", "apple", "pear")]
    assert contents(any_store, "c").differences(in_one_run(contents, both, alpha(), beta())) == []


def test_a_paragraph_at_the_beginning_moves_all_others_and_is_embedded_alone(
    any_store: VectorStore, contents: Contents
) -> None:
    names = [f"n{i}x" for i in range(20)]
    run(any_store, [document("a", *names)], alpha())
    model = alpha()
    longer = [document("a", "start", *names)]
    summary = run(any_store, longer, model)
    assert model.embedded == [paragraph("start")]
    assert (summary.changed, summary.chunks) == (1, 21)
    assert summary.written_chunks == summary.reused_chunks + 1
    assert contents(any_store, "c").differences(in_one_run(contents, longer, alpha())) == []


def test_a_paragraph_that_moves_to_another_document_is_not_embedded(
    any_store: VectorStore, contents: Contents
) -> None:
    run(any_store, [document("a", "apple", "pear"), document("b", "banana")], alpha())
    model = alpha()
    moved = [document("a", "apple"), document("b", "banana", "pear")]  # the first only loses something
    summary = run(any_store, moved, model)
    assert model.embedded == []
    assert (summary.changed, summary.reused_chunks) == (2, 1)
    assert contents(any_store, "c").differences(in_one_run(contents, moved, alpha())) == []


def test_equal_texts_are_embedded_once_however_far_apart_they_come(
    any_store: VectorStore, contents: Contents
) -> None:
    between = [document(f"d{i}", f"word{i}x") for i in range(2200)]  # two windows of 1,024 chunks
    documents = [document("first", "same"), *between, document("last", "same", "same")]
    model = alpha()
    summary = run(any_store, documents, model)
    assert Counter(model.embedded).most_common(1) == [(model.embedded[0], 1)]
    assert len(model.embedded) == 2201
    assert (summary.written_chunks, summary.reused_chunks) == (2203, 2)
    found = contents(any_store, "c")
    same = [
        found.vectors[chunk_id]["alpha"]
        for chunk_id, payload in found.payloads.items()
        if to_chunk(payload).text == paragraph("same")
    ]
    assert len(same) == 3
    np.testing.assert_array_equal(same[0], same[1])
    np.testing.assert_array_equal(same[0], same[2])


def test_how_many_chunks_were_reused_does_not_depend_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [document(f"d{i}", f"word{i % 5}x", f"word{i % 7}x") for i in range(40)]
    for size in (1, 3, 1024):
        monkeypatch.setattr(documents_module, "CHUNKS_PER_WINDOW", size)
        summary = run(in_memory(), documents, alpha())
        assert (summary.written_chunks, summary.reused_chunks) == (80, 73)


def test_a_text_under_another_title_is_another_text(any_store: VectorStore, contents: Contents) -> None:
    documents = [
        document("a", "same", title="Apples"),
        document("b", "same", title="Bees"),
        document("c", "same", title="Apples"),
        document("d", "same"),
    ]
    model = alpha()
    summary = run(any_store, documents, model, chunks=TITLED)
    text = paragraph("same")
    assert sorted(model.embedded) == sorted([f"Apples\n\n{text}", f"Bees\n\n{text}", text])
    assert summary.reused_chunks == 1
    again = alpha()
    more = [document("e", "same", title="Bees"), document("f", "same", title="Cats")]
    run(any_store, more, again, chunks=TITLED)
    assert again.embedded == [f"Cats\n\n{text}"]
    vectors = contents(any_store, "c").vectors
    assert len({row["alpha"].tobytes() for row in vectors.values()}) == 4


def test_vectors_are_reused_only_where_those_of_all_models_are_there(
    any_store: VectorStore, contents: Contents
) -> None:
    class Failing(Counting):
        def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
            raise RuntimeError("no memory")

    stored = document("a", "apple")
    run(any_store, [stored], alpha())
    partly = run(any_store, [stored], alpha(), Failing("acme/beta"))  # beta has no vector of it
    assert len(partly.failed) == 1
    first, second = alpha(), beta()
    documents = [stored, document("b", "apple")]
    summary = run(any_store, documents, first, second)
    assert (first.embedded, second.embedded) == ([paragraph("apple")], [paragraph("apple")])
    assert (summary.new, summary.filled) == (1, {"beta": 1})  # the older one is given a copy
    assert contents(any_store, "c").differences(in_one_run(contents, documents, alpha(), beta())) == []


def test_a_model_added_later_runs_once_over_each_stored_text_with_its_title(
    any_store: VectorStore, contents: Contents
) -> None:
    documents = [
        document("a", "apple", "pear", title="Fruit"),
        document("b", "apple", title="Fruit"),
        document("c", "apple", title="Firms"),
    ]
    run(any_store, documents, alpha(), chunks=TITLED)
    first, second = alpha(), beta()
    summary = run(any_store, documents, first, second, chunks=TITLED)
    texts = [
        f"Fruit\n\n{paragraph('apple')}",
        f"Fruit\n\n{paragraph('pear')}",
        f"Firms\n\n{paragraph('apple')}",
    ]
    assert first.embedded == []
    assert sorted(second.embedded) == sorted(texts)
    assert (summary.unchanged, summary.filled) == (3, {"beta": 4})
    expected = in_one_run(contents, documents, alpha(), beta(), chunks=TITLED)
    assert contents(any_store, "c").differences(expected) == []


def test_a_model_added_later_copies_what_a_new_document_has_embedded(
    any_store: VectorStore, contents: Contents
) -> None:
    run(any_store, [document("a", "apple", "pear")], alpha())
    second = beta()
    documents = [document("a", "apple", "pear"), document("b", "apple")]
    summary = run(any_store, documents, alpha(), second)
    assert sorted(second.embedded) == [paragraph("apple"), paragraph("pear")]
    assert summary.filled == {"beta": 2}
    assert contents(any_store, "c").differences(in_one_run(contents, documents, alpha(), beta())) == []


@pytest.mark.parametrize("seed", range(6))
def test_neither_windows_nor_batches_nor_groups_show_in_the_result(
    monkeypatch: pytest.MonkeyPatch, contents: Contents, seed: int
) -> None:
    rng = np.random.default_rng(seed)

    def edition() -> list[Document]:
        return [
            document(f"d{i}", *(f"w{rng.integers(25)}x" for _ in range(rng.integers(1, 6))))
            for i in rng.permutation(25)[: rng.integers(5, 26)]
        ]

    editions = [edition() for _ in range(3)]

    def after_all() -> Any:
        store = in_memory()
        for i, documents in enumerate(editions):
            run(store, documents, *([alpha()] if i == 0 else [alpha(), beta()]))
        return contents(store, "c")

    expected = after_all()
    for _ in range(3):
        for module, name, most in (
            (documents_module, "CHUNKS_PER_WINDOW", 30),
            (batches, "TOKENS_PER_BATCH", 100),
            (reading, "_DOCUMENTS_AT_A_TIME", 6),
            (reading, "_CHARACTERS_AT_A_TIME", 600),
            (run_module, "_CHUNKS_AHEAD", 10),
        ):
            monkeypatch.setattr(module, name, int(rng.integers(1, most)))
        assert after_all().differences(expected) == []

"""Pruning deletes what the source no longer has, and nothing of which that is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from ingest.chunks import ChunkSettings
from ingest.collection import vanished
from ingest.documents import FailedDocument, SourceOptions, open_source
from ingest.preview import dry_run
from ingest.run import IngestSummary, ingest
from retriever.errors import SourceError
from retriever.records import Document
from retriever.store.filters import Condition
from retriever.store.protocol import Collection, VectorStore
from retriever.store.server import ServerStore
from retriever.testing import FakeModel

ALPHA = FakeModel("acme/alpha", dimensions=32)
CHUNKS = ChunkSettings(max_tokens=14)

Contents = Callable[[VectorStore, str], Any]
Item = Document | FailedDocument


def document(doc_id: str, *names: str) -> Document:
    """One chunk per name."""
    paragraphs = (" ".join(f"{name}{i}" for i in range(10)) for name in names)
    return Document(doc_id=doc_id, text="\n\n".join(paragraphs))


LIBRARY = (
    document("a", "apple", "avocado", "almond"),
    document("b", "banana", "basil"),
    document("c", "cherry"),
)


def run(store: VectorStore, items: Iterable[Item], **options: Any) -> IngestSummary:
    return ingest(items, store, "c", models=[ALPHA], chunks=CHUNKS, **{"prune": True, **options})


def in_memory() -> VectorStore:
    return ServerStore(QdrantClient(":memory:"), location=":memory:")


@pytest.fixture
def undisturbed(contents: Contents) -> Callable[[Sequence[Item]], Any]:
    """Return what a store holds that never had anything else."""

    def after(items: Sequence[Item]) -> Any:
        store = in_memory()
        run(store, items, prune=False)
        return contents(store, "c")

    return after


def test_what_the_source_no_longer_has_vanishes_with_all_its_chunks_and_nothing_else(
    any_store: VectorStore, contents: Contents, undisturbed: Callable[..., Any]
) -> None:
    run(any_store, LIBRARY)
    left = [LIBRARY[1], document("d", "date")]
    summary = run(any_store, left)
    assert (summary.removed, summary.elsewhere, summary.prune_refused) == (2, 0, None)
    assert (summary.new, summary.unchanged, summary.chunks) == (1, 1, 3)
    assert contents(any_store, "c").differences(undisturbed(left)) == []


def test_nothing_is_deleted_unless_that_is_asked_for(any_store: VectorStore, contents: Contents) -> None:
    run(any_store, LIBRARY)
    before = contents(any_store, "c")
    summary = run(any_store, LIBRARY[:1], prune=False)
    assert (summary.removed, summary.elsewhere, summary.prune_refused) == (0, 2, None)
    assert contents(any_store, "c").differences(before) == []


def test_more_documents_than_are_deleted_at_a_time_all_vanish(
    any_store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vanished, "AT_A_TIME", 7)
    many = [document(f"d{i}", f"word{i}x", f"other{i}x") for i in range(300)]  # three pages of a scroll
    run(any_store, many)
    summary = run(any_store, many[:1])
    assert (summary.removed, summary.chunks) == (299, 2)


# An id is all it takes to know that a document is still there, whatever is wrong with it.
FAILING: dict[str, Item] = {
    "unreadable": FailedDocument(doc_id="b", where="b.txt", reason="not UTF-8"),
    "without text": Document(doc_id="b", text=" \n"),
    "with reserved metadata": Document(doc_id="b", text="some text", metadata={"doc_id": "x"}),
    "with dates": Document(doc_id="b", text="some text", metadata={"day": b"x"}),
}


@pytest.mark.parametrize("failing", FAILING.values(), ids=FAILING)
def test_a_document_that_fails_is_not_gone(
    any_store: VectorStore, contents: Contents, undisturbed: Callable[..., Any], failing: Item
) -> None:
    run(any_store, LIBRARY)
    summary = run(any_store, [failing, LIBRARY[2]])
    assert (summary.removed, summary.elsewhere, summary.prune_refused) == (1, 0, None)
    assert [failed.doc_id for failed in summary.failed] == ["b"]
    assert contents(any_store, "c").differences(undisturbed(LIBRARY[1:])) == []


def test_a_document_on_which_a_model_fails_is_not_gone(any_store: VectorStore) -> None:
    class Failing(FakeModel):
        def embed_chunks(self, texts: Sequence[str]) -> Any:
            raise RuntimeError("no memory")

    run(any_store, LIBRARY)
    models = [Failing("acme/alpha", dimensions=32)]
    changed = [document("b", "blueberry"), LIBRARY[2]]
    summary = ingest(changed, any_store, "c", models=models, chunks=CHUNKS, prune=True)
    assert (summary.removed, len(summary.failed), summary.chunks) == (1, 1, 3)


def test_where_something_failed_that_has_no_id_nothing_is_deleted_and_the_reason_is_told(
    any_store: VectorStore, contents: Contents
) -> None:
    run(any_store, LIBRARY)
    before = contents(any_store, "c")
    lost = [FailedDocument(doc_id=None, where=f"c.jsonl:{i}", reason="broken JSON") for i in (2, 5, 9)]
    for items, others in ((lost[:1], ""), (lost, " (and 2 more such places)")):
        summary = run(any_store, [LIBRARY[0], *items])
        assert (summary.removed, summary.elsewhere) == (0, 2)
        assert summary.prune_refused is not None
        assert summary.prune_refused.startswith("c.jsonl:2 could not be read")
        assert f"which documents it holds{others}: expected" in summary.prune_refused
        assert contents(any_store, "c").differences(before) == []
    mended = run(any_store, [LIBRARY[0]])
    assert (mended.removed, mended.prune_refused) == (2, None)


def test_a_row_of_a_table_with_a_comma_too_many_has_nothing_deleted(
    any_store: VectorStore, contents: Contents, tmp_path: Path
) -> None:
    table = tmp_path / "c.csv"
    table.write_text("text,id\nfirst text here,a\nHello brave world,b\n", encoding="utf-8")
    source = open_source(table)
    run(any_store, source)
    before = contents(any_store, "c")
    for broken in ("Hello, brave world,b", "Hello brave world", "H\u00e9llo, brave world,b"):
        table.write_bytes(f"text,id\nfirst text here,a\n{broken}\n".encode("latin-1"))
        summary = run(any_store, open_source(table, SourceOptions(encoding="utf-8")))
        assert (summary.removed, [failed.doc_id for failed in summary.failed]) == (0, [None])
        assert "c.csv:3 could not be read" in (summary.prune_refused or "")
        assert contents(any_store, "c").differences(before) == []


def test_what_lies_behind_a_link_to_a_share_that_is_away_is_not_gone(
    any_store: VectorStore, contents: Contents, tmp_path: Path
) -> None:
    root, share = tmp_path / "docs", tmp_path / "share"
    for folder in (root, share):
        folder.mkdir()
        (folder / "a.txt").write_text("some text", encoding="utf-8")
    (root / "manuals").symlink_to(share)
    run(any_store, open_source(root))
    before = contents(any_store, "c")
    assert {payload["doc_id"] for payload in before.payloads.values()} == {"a.txt", "manuals/a.txt"}
    share.rename(tmp_path / "away")
    summary = run(any_store, open_source(root))
    assert (summary.removed, summary.elsewhere) == (0, 1)
    assert (summary.prune_refused or "").startswith(f"{root / 'manuals'} could not be read")
    assert contents(any_store, "c").differences(before) == []
    (root / "manuals").unlink()
    assert run(any_store, open_source(root)).removed == 1


def test_a_new_corpus_says_the_same_dry_or_not() -> None:
    items: list[Item] = [LIBRARY[0], FailedDocument(doc_id=None, where="c.jsonl:2", reason="broken JSON")]
    store = in_memory()
    said = dry_run(items, store, "c", models=[ALPHA], chunks=CHUNKS, prune=True).prune_refused
    assert said is not None
    assert run(store, items).prune_refused == said


def test_a_source_that_breaks_off_has_nothing_deleted(any_store: VectorStore, contents: Contents) -> None:
    def broken() -> Iterator[Document]:
        yield LIBRARY[0]
        raise SourceError("the disk was pulled out")

    run(any_store, LIBRARY)
    before = contents(any_store, "c")
    with pytest.raises(SourceError, match="pulled out"):
        run(any_store, broken())
    with pytest.raises(SourceError, match="the source has none"):
        run(any_store, [])
    assert contents(any_store, "c").differences(before) == []


class Stop(BaseException):
    """Like `KeyboardInterrupt`."""


class Stopping:
    """A collection that stops the run before one of its deletions; all else is left as it is."""

    def __init__(self, collection: Collection, after: int) -> None:
        self._collection = collection
        self._left = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    def delete(self, where: Condition) -> None:
        if self._left == 0:
            raise Stop
        self._left -= 1
        self._collection.delete(where)


class StoppingStore:
    def __init__(self, store: VectorStore, after: int) -> None:
        self._store = store
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def open(self, name: str) -> Any:
        return Stopping(self._store.open(name), self._after)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_run_that_is_killed_while_it_prunes_is_completed_by_the_next(
    any_store: VectorStore,
    contents: Contents,
    undisturbed: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    monkeypatch.setattr(vanished, "AT_A_TIME", 3)
    documents = [document(f"d{i}", f"word{i}x") for i in range(12)]
    run(any_store, documents)
    stopping: Any = StoppingStore(any_store, after)
    with pytest.raises(Stop):
        run(stopping, documents[:1])
    found = contents(any_store, "c")
    assert len(found.payloads) == 12 - 3 * after
    assert run(any_store, documents[:1]).removed == 11 - 3 * after
    assert contents(any_store, "c").differences(undisturbed(documents[:1])) == []

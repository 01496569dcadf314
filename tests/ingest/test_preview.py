"""A dry run says exactly what the run then does, and writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from ingest.chunks import ChunkSettings
from ingest.documents import FailedDocument
from ingest.preview import DryRun, dry_run
from ingest.run import IngestSummary, ingest
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.errors import InputError, ModelMismatchError, SourceError, StoreLockedError
from retriever.models.protocol import FloatArray
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import VectorStore
from retriever.store.server import ServerStore
from retriever.testing import FakeModel

Contents = Callable[[VectorStore, str], Any]
Item = Document | FailedDocument


class Counting(FakeModel):
    """Remembers which chunks it embedded."""

    def __init__(self, name: str) -> None:
        super().__init__(name, dimensions=16)
        self.embedded: list[str] = []

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        self.embedded += texts
        return super().embed_chunks(texts)


def models(*names: str) -> list[Counting]:
    return [Counting(f"acme/{name}") for name in names]


def document(doc_id: str, *names: str, **metadata: Any) -> Document:
    """One chunk per name."""
    text = "\n\n".join(" ".join(f"{name}{i}" for i in range(10)) for name in names)
    return Document(doc_id=doc_id, text=text, metadata=metadata)


CHUNKS = ChunkSettings(max_tokens=14)


class Editions:
    """Random sources: documents that come, go, change and share texts; some fail."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def next(self) -> list[Item]:
        rng = self._rng
        items: list[Item] = [self._document(i) for i in rng.permutation(14)[: rng.integers(3, 15)]]
        if rng.random() < 0.5:
            items.append(items[0])  # an id that comes twice
            items.append(Document(doc_id=f"d{rng.integers(14)}e", text=" "))
        if rng.random() < 0.2:
            items.append(FailedDocument(doc_id=None, where="corpus.jsonl:7", reason="broken JSON"))
        return [items[i] for i in rng.permutation(len(items))]

    def _document(self, i: int) -> Document:
        rng = self._rng
        names = [f"w{rng.integers(18)}x" for _ in range(rng.integers(1, 5))]
        metadata: dict[str, Any] = {"shelf": int(rng.integers(2))}
        if rng.random() < 0.3:
            metadata["title"] = f"Title {rng.integers(2)}"
        if rng.random() < 0.05:
            metadata["ref_doc_id"] = "a reserved name"
        return document(f"d{i}", *names, **metadata)


def check_prediction(
    plan: DryRun, done: IngestSummary, given: Sequence[Counting], before: set[str], after: set[str]
) -> None:
    """Compare a plan with what came of it: the summary, what the models saw, and the ids of chunks."""
    kept = set() if plan.recreated else before
    assert (len(plan.new), len(plan.changed), plan.unchanged) == (done.new, done.changed, done.unchanged)
    assert (len(plan.removed), plan.elsewhere) == (done.removed, done.elsewhere)
    assert plan.prune_refused == done.prune_refused
    assert sorted(map(repr, plan.failed)) == sorted(map(repr, done.failed))
    embedded = {model.spec.key: len(model.embedded) for model in given if model.embedded}
    assert {key: work.texts for key, work in plan.embed.items()} == embedded
    assert (plan.new_chunks, plan.reused_chunks) == (done.written_chunks, done.reused_chunks)
    assert (plan.new_chunks, plan.removed_chunks) == (len(after - kept), len(kept - after))


@pytest.mark.parametrize("seed", range(8))
def test_what_it_says_is_what_the_run_then_does(
    any_store: VectorStore, contents: Contents, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    editions = Editions(rng)
    chunks = ChunkSettings(max_tokens=20, title_prefix=bool(seed % 2))
    names = ["alpha"]
    for number in range(6):
        if number == 2:
            names = ["alpha", "beta"]
        source = editions.next()
        options: dict[str, Any] = {
            "chunks": chunks,
            "prune": bool(rng.random() < 0.5),
            "recreate": bool(rng.random() < 0.15),
        }
        before = contents(any_store, "c") if number else None
        plan = dry_run(source, any_store, "c", models=models(*names), **options)
        if before is None:
            assert any_store.names() == []
        else:
            assert contents(any_store, "c").differences(before) == []
        assert (plan.exists, plan.recreated) == (number > 0, number > 0 and options["recreate"])
        given = models(*names)
        done = ingest(source, any_store, "c", models=given, **options)
        ids = set() if before is None else set(before.payloads)
        check_prediction(plan, done, given, ids, set(contents(any_store, "c").payloads))


def test_a_model_on_top_of_one_that_was_added_in_part_embeds_what_is_missing(any_store: VectorStore) -> None:
    class Failing(Counting):
        def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
            if any("pear" in text for text in texts):
                raise RuntimeError("no memory")
            return super().embed_chunks(texts)

    source = [document("a", "apple", "pear"), document("b", "pear", "plum")]
    ingest(source, any_store, "c", models=models("alpha"), chunks=CHUNKS)
    ingest(source, any_store, "c", models=[*models("alpha"), Failing("acme/beta")], chunks=CHUNKS)
    source = [*source, document("c", "plum", "cherry")]
    plan = dry_run(source, any_store, "c", models=models("alpha", "beta"))
    given = models("alpha", "beta")
    ingest(source, any_store, "c", models=given)
    assert {key: work.texts for key, work in plan.embed.items()} == {"alpha": 1, "beta": 2}
    assert [len(model.embedded) for model in given] == [1, 2]  # cherry; and pear, which was missing


def test_a_model_that_was_added_by_a_run_that_was_stopped_copies_what_that_run_has_embedded(
    any_store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(BaseException):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Stop

    source = [document("a", "apple", "pear")]
    ingest(source, any_store, "c", models=models("alpha"), chunks=CHUNKS)
    source = [*source, document("b", "pear")]
    with monkeypatch.context() as patched, pytest.raises(Stop):  # noqa: PT012  # patched for it alone
        patched.setattr("ingest.collection.vanished.Vanished.handle", stop)  # after the documents
        ingest(source, any_store, "c", models=models("alpha", "beta"))
    plan = dry_run(source, any_store, "c", models=models("alpha", "beta"))
    given = models("alpha", "beta")
    ingest(source, any_store, "c", models=given)
    assert {key: work.texts for key, work in plan.embed.items()} == {"beta": 1}
    assert [len(model.embedded) for model in given] == [0, 1]  # apple


def test_it_names_the_documents(any_store: VectorStore) -> None:
    library = [document("a", "apple"), document("b", "banana"), document("c", "cherry")]
    ingest(library, any_store, "c", models=models("alpha"), chunks=CHUNKS)
    source = [document("b", "blueberry", "banana"), document("c", "cherry"), document("d", "date")]
    plan = dry_run(source, any_store, "c", models=models("alpha"), prune=True)
    assert (plan.new, plan.changed, plan.removed, plan.unchanged) == (["d"], ["b"], ["a"], 1)
    assert (plan.new_chunks, plan.removed_chunks, plan.elsewhere) == (3, 2, 0)
    plan = dry_run(source, any_store, "c", models=models("alpha"))
    assert (plan.removed, plan.removed_chunks, plan.elsewhere) == ([], 1, 1)
    assert json.loads(json.dumps(plan.to_json()))["embed"]["alpha"]["texts"] == 2


def test_nothing_is_made_for_a_new_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    plan = dry_run([document("a", "apple")], EmbeddedStore(folder), "c", models=models("alpha"))
    assert (plan.exists, plan.recreated, plan.new) == (False, False, ["a"])
    assert not folder.exists()


def test_time_is_estimated_from_a_few_texts_of_each_model() -> None:
    class Slow(Counting):
        def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
            import time

            time.sleep(0.002 * len(texts))
            return super().embed_chunks(texts)

    store = ServerStore(QdrantClient(":memory:"), location=":memory:")
    source = [document(f"d{i}", f"word{i}x") for i in range(500)]
    quick, slow = Counting("acme/quick"), Slow("acme/slow")
    plan = dry_run(source, store, "c", models=[quick, slow], chunks=CHUNKS)
    assert plan.sampled == 64
    assert len(slow.embedded) == 65  # and one before, which is no measure
    assert plan.embed["slow"].texts == 500
    assert plan.embed["slow"].tokens == 500 * 12  # ten words and two special tokens
    assert plan.embed["slow"].seconds is not None
    assert 1.0 <= plan.embed["slow"].seconds < 3.0
    assert plan.seconds == sum(work.seconds or 0 for work in plan.embed.values())


def test_where_a_model_fails_on_all_of_the_sample_the_time_is_unknown() -> None:
    class Broken(Counting):
        def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
            raise RuntimeError("no memory")

    store = ServerStore(QdrantClient(":memory:"), location=":memory:")
    plan = dry_run([document("a", "apple")], store, "c", models=[Broken("acme/broken")], chunks=CHUNKS)
    assert plan.embed["broken"].seconds is None
    assert (plan.seconds, plan.sampled) == (None, 0)


def test_it_refuses_what_the_run_would(any_store: VectorStore) -> None:
    source = [document("a", "apple")]
    with pytest.raises(InputError, match="at least one model"):
        dry_run(source, any_store, "c", models=[])
    ingest(source, any_store, "c", models=models("alpha"), chunks=CHUNKS)
    with pytest.raises(SourceError, match="the source has none"):
        dry_run([], any_store, "c", models=models("alpha"))
    with pytest.raises(ModelMismatchError, match="--chunk-tokens: expected 14"):
        dry_run(source, any_store, "c", models=models("alpha"), chunks=ChunkSettings(max_tokens=20))
    with pytest.raises(InputError, match="got 'gamma'"):
        dry_run(source, any_store, "c", models=models("alpha"), combine=[("alpha", "gamma")])


# ── made anew ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_corpus_made_anew_is_like_a_new_one_and_others_are_untouched(
    any_store: VectorStore, contents: Contents
) -> None:
    for name in ("c", "other"):
        source = [document("a", "apple", "almond", "avocado")]
        ingest(source, any_store, name, models=models("alpha", "beta"), chunks=CHUNKS)
    with Corpus.open(any_store, "c") as corpus:
        deploy(corpus, ["alpha", "beta"])
    other = contents(any_store, "other")
    source = [document("b", "banana", "basil")]
    options: dict[str, Any] = {"models": models("gamma"), "chunks": ChunkSettings(max_tokens=16)}
    summary = ingest(source, any_store, "c", recreate=True, **options)
    assert (summary.new, summary.elsewhere, summary.chunks) == (1, 0, 2)
    ingest(source, any_store, "fresh", **options)
    found, fresh = contents(any_store, "c"), contents(any_store, "fresh")
    assert found.record["deployments"] == []
    assert found.record["manifest"]["chunker"]["max_tokens"] == 16
    assert sorted(next(iter(found.vectors.values()))) == ["gamma"]
    assert len(found.payloads) == len(fresh.payloads)
    assert contents(any_store, "other").differences(other) == []


def test_a_corpus_is_not_dropped_before_all_is_checked(any_store: VectorStore, contents: Contents) -> None:
    source = [document("a", "apple")]
    ingest(source, any_store, "c", models=models("alpha"), chunks=CHUNKS)
    before = contents(any_store, "c")
    for documents, given, combine, error in (
        (source, [], [], InputError),
        ([], models("beta"), [], SourceError),
        (source, models("beta"), [("beta", "gamma")], InputError),
        (source, models("beta"), [("beta",)], InputError),
    ):
        with pytest.raises(error):
            ingest(documents, any_store, "c", models=given, combine=combine, chunks=CHUNKS, recreate=True)
        assert contents(any_store, "c").differences(before) == []


def test_a_corpus_that_another_run_writes_is_not_dropped(any_store: VectorStore, contents: Contents) -> None:
    source = [document("a", "apple")]
    ingest(source, any_store, "c", models=models("alpha"), chunks=CHUNKS)
    before = contents(any_store, "c")
    with Corpus.open(any_store, "c") as corpus, corpus.lock(), pytest.raises(StoreLockedError):
        ingest(source, any_store, "c", models=models("beta"), recreate=True)
    assert contents(any_store, "c").differences(before) == []


def test_making_anew_what_is_not_there_makes_it(any_store: VectorStore) -> None:
    summary = ingest([document("a", "apple")], any_store, "c", models=models("alpha"), recreate=True)
    assert (summary.new, any_store.names()) == (1, ["c"])

"""An ingest that is killed or interrupted at any moment is completed by running it again.

The file is also the program that is killed: it forks one ingest after the other, so that the libraries
are loaded once, and prints what became of each. It computes in one thread, because threads do not survive
a fork.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from ingest import ChunkSettings, ingest
from ingest.reports import read_failures
from retriever import console
from retriever.models.protocol import EmbeddingModel, FloatArray
from retriever.records import Document, ModelSpec
from retriever.status import corpus_status
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import VectorStore
from retriever.testing import FakeModel

CORPUS = "c"
FIRST, SECOND = "acme/first", "acme/second"
DOCUMENTS, PER_DOCUMENT = 30, 12
CHUNKS = ChunkSettings(max_tokens=14)
KILLS = 4
PATIENCE = 2.0
"""Seconds from an interruption to the end of the program, at most."""

REAL_KILLS = 20
REAL_CHUNKS = ChunkSettings(max_tokens=96)
FAULTY_CHUNKS = 256
IN_FLIGHT = 2
"""Batches that a kill can lose, of each model: the one that is embedded and the one that is written."""


class SlowModel(FakeModel):
    """Takes its time, so that there are moments to be killed at."""

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        time.sleep(0.03)
        return super().embed_chunks(texts)


def edition(number: int) -> list[Document]:
    """Documents of a dozen chunks; in the second edition some are changed, shorter, new."""
    rng = np.random.default_rng(1)
    documents = []
    for i in range(DOCUMENTS):
        words = [f"w{word}x" for word in rng.integers(500, size=PER_DOCUMENT * 10)]
        if number == 2 and i % 3 == 0:
            words = words[: 10 * int(rng.integers(1, PER_DOCUMENT))]
        if number == 2 and i % 4 == 0:
            words[5] = "changed"
        paragraphs = [" ".join(words[start : start + 10]) for start in range(0, len(words), 10)]
        metadata = {"edition": number} if i % 5 == 0 else {}
        documents.append(Document(doc_id=f"d{i}", text="\n\n".join(paragraphs), metadata=metadata))
    return documents if number == 2 else documents[: DOCUMENTS * 2 // 3]


class Counted:
    """A real model that takes its time, and writes down how many texts it is given before it begins."""

    def __init__(self, model: EmbeddingModel, file: Path) -> None:
        self._model = model
        self._file = file

    @property
    def spec(self) -> ModelSpec:
        return self._model.spec

    @property
    def tokenizer(self) -> Any:
        return self._model.tokenizer

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        return self._model.embed_queries(texts)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(f"{self.spec.key} {len(texts)}\n")
        time.sleep(0.05)
        return self._model.embed_chunks(texts)


def real_text() -> list[Document]:
    from tandem.reference import documents

    return list(documents())[::3]


def real_models() -> list[EmbeddingModel]:
    from retriever.models import load_model

    return [load_model("wordllama"), FakeModel(SECOND, dimensions=24)]


def run_real(models: Sequence[EmbeddingModel], store: VectorStore, counts: Path) -> None:
    counted = [Counted(model, counts) for model in models]
    ingest(real_text(), store, CORPUS, models=counted, chunks=REAL_CHUNKS, combine=[[SECOND, "wordllama"]])


def run_first(store: VectorStore) -> None:
    ingest(edition(1), store, CORPUS, models=[FakeModel(FIRST, dimensions=32)], chunks=CHUNKS)


def run_second(store: VectorStore, kind: type[FakeModel] = SlowModel) -> None:
    models = [kind(FIRST, dimensions=32), kind(SECOND, dimensions=24)]
    ingest(edition(2), store, CORPUS, models=models, chunks=CHUNKS, combine=[("first", "second")])


# ── the program ──────────────────────────────────────────────────────────────────────────────────────────


def forked(work: Callable[[], None], send: int | None = None, after: float = 0.0) -> tuple[int, float]:
    """Do this in a child, send it a signal after some seconds; return its status and how long it lived on."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except SystemExit as exit_:
            os._exit(int(exit_.code or 0))
        except BaseException:  # noqa: BLE001  # nothing may get out of the child
            os._exit(99)
        os._exit(0)
    if send is not None:
        time.sleep(after)
        os.kill(child, send)
    start = time.monotonic()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - start


def through_the_console(work: Callable[[], None]) -> None:
    app = typer.Typer(cls=console.ErrorBoundary, callback=console.main_callback)
    app.command("run")(lambda: work())  # noqa: PLW0108  # a function of its own, which has no parameters
    console.run(app, ["run"])


def moments(folder: Path) -> Iterator[float]:
    """Yield random moments within the time that an undisturbed run takes."""
    durations = []
    for i in range(2):  # the quicker one counts: a signal must not come when all is done
        store = shutil.copytree(folder / "first", folder / f"measured-{i}")
        start = time.monotonic()
        status, _ = forked(partial(run_second, EmbeddedStore(store)))
        assert status == 0
        durations.append(time.monotonic() - start)
    duration = min(durations)
    rng = np.random.default_rng(7)
    for slot in range(KILLS):  # one in each part of the run
        yield duration * (slot + float(rng.random())) / KILLS


def kill_on_real_text(folder: Path) -> list[int]:
    """Kill runs from the beginning, each followed by another one; return how those that were killed ended.

    The moments are random, and spread over the run by what it has come to, so that there are as many on a
    busy machine.
    """
    models, rng = real_models(), np.random.default_rng(7)

    def counts(name: str) -> Path:
        return folder / f"{name}.counts"

    def work(name: str) -> Callable[[], None]:
        return partial(run_real, models, EmbeddedStore(folder / name), counts(name))

    assert forked(work("whole"))[0] == 0
    calls = len(lines_of(counts("whole")))
    statuses = []
    for i in range(REAL_KILLS):
        name = f"real-{i}"
        begun = i * (calls + 1) // REAL_KILLS
        status = killed_after(work(name), counts(name), begun, 0.2 * float(rng.random()))
        statuses.append(status)
        assert forked(work(name))[0] == 0
    return statuses


def killed_after(work: Callable[[], None], counts: Path, begun: int, after: float) -> int:
    """Kill a child some seconds after it has begun so many calls of a model; return its status."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    while len(lines_of(counts)) < begun:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def lines_of(counts: Path) -> list[str]:
    return counts.read_text(encoding="utf-8").splitlines() if counts.exists() else []


# What an interruption may find the threads of a run at.


class Hindered:
    """A store in which a write of points takes very long."""

    def __init__(self, store: VectorStore, mark: Callable[[], None]) -> None:
        self._store = store
        self._mark = mark

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def create(self, *arguments: Any, **options: Any) -> Any:
        return HinderedCollection(self._store.create(*arguments, **options), self._mark)


class HinderedCollection:
    def __init__(self, collection: Any, mark: Callable[[], None]) -> None:
        self._collection = collection
        self._mark = mark

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    def upsert(self, points: Any) -> None:
        self._mark()
        time.sleep(30)
        self._collection.upsert(points)


class Busy(FakeModel):
    """Is computing in one call that no signal gets into, as a library may for a whole batch."""

    def __init__(self, mark: Callable[[], None]) -> None:
        super().__init__(FIRST, dimensions=32)
        self._mark = mark

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        self._mark()
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 20_000_000)
        return super().embed_chunks(texts)


class Sleepy(Busy):
    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        self._mark()
        time.sleep(30)
        return FakeModel.embed_chunks(self, texts)


def stalled(documents: Iterable[Document], mark: Callable[[], None]) -> Iterator[Document]:
    """Yield documents, and then wait for more that do not come."""
    yield from documents
    yield Document(doc_id="before", text="the last one that comes")
    mark()
    time.sleep(30)


def endless(mark: Callable[[], None]) -> Iterator[Document]:
    """Yield a document that takes very long to be cut."""
    yield Document(doc_id="short", text="some words")
    text = "some words to read, and some more of them. " * 1_000_000
    mark()
    yield Document(doc_id="long", text=text)


def hindered(kind: str, store: VectorStore, mark: Callable[[], None]) -> None:
    documents, model = edition(1), FakeModel(FIRST, dimensions=32)
    run = partial(ingest, name=CORPUS, chunks=CHUNKS)
    if kind == "model":
        run(documents, store, models=[Sleepy(mark)])
    elif kind == "library":
        run(documents, store, models=[Busy(mark)])
    elif kind == "writer":
        run(edition(1), Hindered(store, mark), models=[model])
    elif kind == "source":
        run(stalled(documents, mark), store, models=[model])
    else:
        run(endless(mark), store, models=[real_models()[0]])


HINDRANCES = ("model", "library", "writer", "source", "cutting")


def interrupt(kind: str, folder: Path) -> tuple[int, float]:
    """Interrupt a command a moment after it has come to where it is hindered."""
    reading, writing = os.pipe()

    def mark() -> None:
        os.write(writing, b"!")

    child = os.fork()
    if child == 0:
        try:
            through_the_console(lambda: hindered(kind, EmbeddedStore(folder), mark))
        except SystemExit as exit_:
            os._exit(int(exit_.code or 0))
        os._exit(99)
    os.close(writing)
    os.read(reading, 1)  # returns too if the child has ended
    time.sleep(0.5)
    start = time.monotonic()
    os.kill(child, signal.SIGINT)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - start


def main(folder: Path) -> None:
    """Kill and interrupt ingests of the second edition; each store is `folder` / its name."""
    import llama_index.core.vector_stores.utils  # noqa: F401  # so that the children need not

    outcome: dict[str, Any] = {"killed": [], "interrupted": [], "again and again": []}
    forked(lambda: run_first(EmbeddedStore(folder / "first")))
    delays = list(moments(folder))
    for i, delay in enumerate(delays):
        store = shutil.copytree(folder / "first", folder / f"killed-{i}")
        work = partial(run_second, EmbeddedStore(store))
        outcome["killed"].append(forked(work, signal.SIGKILL, delay))
    for i, delay in enumerate(delays[: KILLS // 2]):
        store = shutil.copytree(folder / "first", folder / f"interrupted-{i}")
        work = partial(through_the_console, partial(run_second, EmbeddedStore(store)))
        outcome["interrupted"].append(forked(work, signal.SIGINT, delay))
    for delay in delays:
        work = partial(run_second, EmbeddedStore(folder / "new"))
        outcome["again and again"].append(forked(work, signal.SIGKILL, delay / 2))
    outcome["hindered"] = {kind: interrupt(kind, folder / f"hindered-{kind}") for kind in HINDRANCES}
    outcome["real"] = kill_on_real_text(folder)
    sys.stdout.write(json.dumps(outcome))


# ── the tests ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("stores")
    ran = subprocess.run(
        [sys.executable, __file__, folder],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "TANDEM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    assert "Traceback" not in ran.stderr
    outcome: dict[str, Any] = json.loads(ran.stdout)
    outcome["said"] = ran.stderr
    return folder, outcome


@pytest.fixture(scope="module")
def expected(contents: Callable[[VectorStore, str], Any]) -> Any:
    """What an undisturbed run of the second edition over the first leaves, from the other engine."""
    from qdrant_client import QdrantClient

    from retriever.store.server import ServerStore

    store = ServerStore(QdrantClient(":memory:"), location=":memory:")
    run_first(store)
    run_second(store, FakeModel)
    return contents(store, CORPUS)


def test_an_ingest_killed_at_any_moment_is_completed_by_the_next(
    stores: tuple[Path, dict[str, Any]], expected: Any, contents: Callable[[VectorStore, str], Any]
) -> None:
    folder, outcome = stores
    statuses = [status for status, _ in outcome["killed"]]
    assert statuses.count(-signal.SIGKILL) >= KILLS - 1, statuses  # the last may have come too late
    unfinished = 0
    for i in range(KILLS):
        store = EmbeddedStore(folder / f"killed-{i}")
        unfinished += contents(store, CORPUS).differences(expected) != []
        run_second(store, FakeModel)
        assert contents(store, CORPUS).differences(expected) == []
    assert unfinished >= KILLS // 2


def test_a_new_corpus_killed_again_and_again_is_completed_in_the_end(
    stores: tuple[Path, dict[str, Any]], contents: Callable[[VectorStore, str], Any]
) -> None:
    folder, outcome = stores
    assert -signal.SIGKILL in [status for status, _ in outcome["again and again"]]
    run_second(EmbeddedStore(folder / "new"), FakeModel)
    run_second(EmbeddedStore(folder / "undisturbed"), FakeModel)
    found = contents(EmbeddedStore(folder / "new"), CORPUS)
    assert found.differences(contents(EmbeddedStore(folder / "undisturbed"), CORPUS)) == []


def test_an_interrupted_ingest_ends_soon_with_status_130_and_can_be_completed(
    stores: tuple[Path, dict[str, Any]], expected: Any, contents: Callable[[VectorStore, str], Any]
) -> None:
    folder, outcome = stores
    assert [status for status, _ in outcome["interrupted"]] == [console.INTERRUPTED] * (KILLS // 2)
    assert max(seconds for _, seconds in outcome["interrupted"]) < PATIENCE
    assert outcome["said"].splitlines() == ["interrupted"] * (KILLS // 2 + len(HINDRANCES))
    for i in range(KILLS // 2):
        store = EmbeddedStore(folder / f"interrupted-{i}")
        run_second(store, FakeModel)
        assert contents(store, CORPUS).differences(expected) == []


@pytest.mark.parametrize("kind", HINDRANCES)
def test_an_interruption_is_heard_wherever_the_run_is_held_up(
    stores: tuple[Path, dict[str, Any]], contents: Callable[[VectorStore, str], Any], kind: str
) -> None:
    folder, outcome = stores
    status, seconds = outcome["hindered"][kind]
    assert status == console.INTERRUPTED
    assert seconds < PATIENCE
    store = EmbeddedStore(folder / f"hindered-{kind}")
    models = [real_models()[0] if kind == "cutting" else FakeModel(FIRST, dimensions=32)]
    ingest(edition(1), store, CORPUS, models=models, chunks=CHUNKS, prune=True)  # it can be resumed
    expected = EmbeddedStore(folder / f"expected-{kind}")
    ingest(edition(1), expected, CORPUS, models=models, chunks=CHUNKS)
    assert contents(store, CORPUS).differences(contents(expected, CORPUS)) == []


# ── on real text, with a real model ──────────────────────────────────────────────────────────────────────


def embedded_texts(counts: Path) -> tuple[Counter[str], Counter[str]]:
    """Return by model how many texts it was given, and how many at most at once."""
    total, most = Counter[str](), Counter[str]()
    for line in lines_of(counts):
        key, number = line.split()
        total[key] += int(number)
        most[key] = max(most[key], int(number))
    return total, most


def test_a_kill_on_real_text_costs_two_batches_at_most_and_shows_in_nothing(
    stores: tuple[Path, dict[str, Any]], contents: Callable[[VectorStore, str], Any]
) -> None:
    folder, outcome = stores
    assert outcome["real"].count(-signal.SIGKILL) >= REAL_KILLS - 2, outcome["real"]
    expected = contents(EmbeddedStore(folder / "whole"), CORPUS)
    whole, most = embedded_texts(folder / "whole.counts")
    assert len(whole) == 2
    assert min(whole.values()) > IN_FLIGHT * max(most.values())  # so that losing all would be noticed
    again = 0
    for i in range(REAL_KILLS):
        assert contents(EmbeddedStore(folder / f"real-{i}"), CORPUS).differences(expected) == []
        found, _ = embedded_texts(folder / f"real-{i}.counts")
        for key, number in whole.items():
            assert number <= found[key] <= number + IN_FLIGHT * most[key], (i, key)
        again += found != whole
    assert again >= REAL_KILLS // 4


class Faulty(Counted):
    """Does something bad to whole batches that have one certain text in them."""

    def __init__(self, model: EmbeddingModel, bad: Callable[[FloatArray], FloatArray], word: str) -> None:
        super().__init__(model, Path(os.devnull))
        self._bad = bad
        self._word = word

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        vectors = self._model.embed_chunks(texts)
        return self._bad(vectors) if any(self._word in text for text in texts) else vectors


def raise_error(_: FloatArray) -> FloatArray:
    raise RuntimeError("the tokenizer has no such token")


FAULTS: dict[str, tuple[Callable[[FloatArray], FloatArray], str]] = {
    "raises": (raise_error, "RuntimeError: the tokenizer has no such token"),
    "returns NaN": (lambda rows: rows * np.float32(np.nan), "NaN"),
}


@pytest.mark.parametrize(("bad", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_model_that_fails_on_one_real_text_costs_one_document_until_it_is_mended(
    tmp_path: Path,
    contents: Callable[[VectorStore, str], Any],
    bad: Callable[[FloatArray], FloatArray],
    reason: str,
) -> None:
    (model, _), documents = real_models(), real_text()
    store, other = EmbeddedStore(tmp_path / "faulty"), EmbeddedStore(tmp_path / "whole")
    broken = documents[7]
    word = "a word that no other document has"
    documents[7] = Document(doc_id=broken.doc_id, text=f"{broken.text}\n\n{word}", metadata=broken.metadata)
    chunks = ChunkSettings(max_tokens=FAULTY_CHUNKS)
    summary = ingest(documents, store, CORPUS, models=[Faulty(model, bad, word)], chunks=chunks)
    (failed,) = summary.failed
    assert failed.doc_id == broken.doc_id
    assert reason in failed.reason
    assert summary.new == len(documents) - 1
    others = [document for document in documents if document.doc_id != broken.doc_id]
    ingest(others, other, CORPUS, models=[model], chunks=chunks)
    assert contents(store, CORPUS).differences(contents(other, CORPUS)) == []
    for one in (store, other):
        assert ingest(documents, one, CORPUS, models=[model]).new == 1
    assert contents(store, CORPUS).differences(contents(other, CORPUS)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_real_command_interrupted_with_a_real_model_leaves_a_store_that_opens(
    tmp_path: Path, number: int
) -> None:
    lines = [json.dumps({"_id": f"d{i}", "text": f"{i} " + "some words to read " * 150}) for i in range(4000)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(["no JSON", *lines]), encoding="utf-8")
    arguments = ["run", "corpus.jsonl", "--corpus", CORPUS, "--models", "wordllama", "--store", "store"]
    program = "import ingest.cli; ingest.cli.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments, "--summary", "s.json"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(tmp_path / "store" / CORPUS / "tandem.json", process)
        time.sleep(1)
        start = time.monotonic()
        for _ in range(2 if number == signal.SIGTERM else 1):  # so does `timeout`
            process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    status = {signal.SIGINT: console.INTERRUPTED, signal.SIGTERM: console.TERMINATED}[number]
    assert process.returncode == status, said
    assert time.monotonic() - start < PATIENCE
    assert said.strip().endswith("interrupted")
    assert "Traceback" not in said
    assert corpus_status(EmbeddedStore(tmp_path / "store"), CORPUS).documents < len(lines)
    summary = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert (summary["outcome"], summary["exit_status"]) == ("interrupted", status)
    (failed,) = read_failures(tmp_path / f"{CORPUS}.failed.jsonl")
    assert failed.where == "corpus.jsonl:1"


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""An ingest that is killed or interrupted at any moment is completed by running it again.

The file is also the program that is killed: it forks one ingest after the other, so that the libraries
are loaded once, and prints what became of each.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from ingest import ChunkSettings, ingest
from retriever import console
from retriever.models.protocol import FloatArray
from retriever.records import Document
from retriever.status import corpus_status
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import VectorStore
from retriever.testing import FakeModel

CORPUS = "c"
FIRST, SECOND = "acme/first", "acme/second"
DOCUMENTS, PER_DOCUMENT = 30, 12
CHUNKS = ChunkSettings(max_tokens=14)
KILLS = 4
PATIENCE = 5.0
"""Seconds from an interruption to the end of the program, at most."""


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


def through_the_console(folder: Path) -> None:
    app = typer.Typer(cls=console.ErrorBoundary, callback=console.main_callback)
    app.command("run")(lambda: run_second(EmbeddedStore(folder)))
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
        outcome["interrupted"].append(forked(partial(through_the_console, store), signal.SIGINT, delay))
    for delay in delays:
        work = partial(run_second, EmbeddedStore(folder / "new"))
        outcome["again and again"].append(forked(work, signal.SIGKILL, delay / 2))
    sys.stdout.write(json.dumps(outcome))


# ── the tests ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("stores")
    ran = subprocess.run(
        [sys.executable, __file__, folder], capture_output=True, text=True, check=True, timeout=120
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
    assert outcome["said"].splitlines() == ["interrupted"] * (KILLS // 2)
    for i in range(KILLS // 2):
        store = EmbeddedStore(folder / f"interrupted-{i}")
        run_second(store, FakeModel)
        assert contents(store, CORPUS).differences(expected) == []


def test_the_real_command_interrupted_with_a_real_model_leaves_a_store_that_opens(tmp_path: Path) -> None:
    lines = [json.dumps({"_id": f"d{i}", "text": f"{i} " + "some words to read " * 150}) for i in range(4000)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines), encoding="utf-8")
    arguments = ["run", "corpus.jsonl", "--corpus", CORPUS, "--models", "wordllama", "--store", "store"]
    program = "import ingest.cli; ingest.cli.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(tmp_path / "store" / CORPUS / "tandem.json", process)
        time.sleep(1)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == console.INTERRUPTED, said
    assert time.monotonic() - start < PATIENCE
    assert said.strip().endswith("interrupted")
    assert "Traceback" not in said
    assert corpus_status(EmbeddedStore(tmp_path / "store"), CORPUS).documents < len(lines)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

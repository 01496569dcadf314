"""Fifty threads ask one retriever for a while: every answer is right, and nothing is left behind.

``TANDEM_TEST_SOAK_SECONDS`` says for how long (default: 5). The file is also the program that is looked at,
in a process of its own: it prints what it had of threads, file descriptors and memory, second by second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.llama.retriever import TandemRetriever
from retriever.records import Chunk, ChunkerSpec
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

SECONDS = float(os.environ.get("TANDEM_TEST_SOAK_SECONDS", "5"))
THREADS = 50
CHUNKS = 400
QUESTIONS = [f"w{i} w{i + 7} w{3 * i}" for i in range(40)]
WARM_UP = 2.0
MEBIBYTE = 2**20
STEADY = 16
"""Mebibytes by which memory may differ between two moments: allocators keep and give back some."""

OF_PROCESS = Path("/proc/self")


def models() -> list[FakeModel]:
    return [FakeModel("acme/alpha", dimensions=96), FakeModel("acme/beta", dimensions=64)]


def make_corpus(folder: str) -> None:
    chunks = [
        Chunk(
            chunk_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"chunk {i}")),
            doc_id=f"d{i // 4}",
            index=i % 4,
            text=" ".join(f"w{(i * step) % 97}" for step in range(1, 12)),
            start_char=0,
            end_char=30,
            token_count=13,
            metadata={"page": i},
        )
        for i in range(CHUNKS)
    ]
    texts = [chunk.text for chunk in chunks]
    specs = [model.spec for model in models()]
    with Corpus.create(EmbeddedStore(folder), "guide", chunker=ChunkerSpec(), models=specs) as corpus:
        corpus.write(
            chunks,
            {model.spec.key: model.embed_chunks(texts) for model in models()},
            document_hash={chunk.doc_id: "hash" for chunk in chunks},
            chunk_count={chunk.doc_id: 4 for chunk in chunks},
        )
        deploy(corpus, ["alpha", "beta"], weighting="equal")


# ── the program ──────────────────────────────────────────────────────────────────────────────────────────


def held() -> dict[str, int]:
    """Return threads, file descriptors and resident bytes of this process."""
    pages = int((OF_PROCESS / "statm").read_text().split()[1])
    return {
        "threads": len(list((OF_PROCESS / "task").iterdir())),
        "files": len(list((OF_PROCESS / "fd").iterdir())),
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
    }


def held_at_rest(threads: int) -> dict[str, int]:
    """Return what is held when at most so many threads are left, or after ten seconds.

    A thread that was joined has run its last line of Python; the system lists it for a moment longer.
    """
    given_up = time.monotonic() + 10.0
    while (now := held())["threads"] > threads and time.monotonic() < given_up:
        time.sleep(0.01)
    return now


def is_same(found: dict[str, float], expected: dict[str, float]) -> bool:
    """Return whether two answers have the same nodes in the same order, with the same scores."""
    return list(found) == list(expected) and list(found.values()) == pytest.approx(
        list(expected.values()), abs=1e-5
    )


def soak(ask: Callable[[str], Any], seconds: float) -> dict[str, Any]:
    """Let all threads ask for so long; return how often, what they said, and what was held meanwhile."""
    expected = {question: ask(question) for question in QUESTIONS}
    before = held()
    ended = threading.Event()

    def ask_on(first: int) -> tuple[int, int]:
        asked = wrong = 0
        while not ended.is_set():
            question = QUESTIONS[(first + asked) % len(QUESTIONS)]
            wrong += not is_same(ask(question), expected[question])
            asked += 1
        return asked, wrong

    moments = []
    with ThreadPoolExecutor(THREADS) as pool:
        counts = [pool.submit(ask_on, i) for i in range(THREADS)]
        time.sleep(WARM_UP)
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            moments.append(held())
            time.sleep(min(1.0, seconds / 5))
        moments.append(held())
        ended.set()
        results = [count.result() for count in counts]
    return {
        "asked": [asked for asked, _ in results],
        "wrong": sum(wrong for _, wrong in results),
        "before": before,
        "moments": moments,
        "after": held_at_rest(before["threads"]),
    }


def main(folder: str, seconds: str) -> None:
    """Ask the corpus in `folder`."""
    given = {model.spec.key: model for model in models()}
    retriever = TandemRetriever.from_deployment("guide", store=folder, models=given, similarity_top_k=5)
    outcome = soak(
        lambda question: {node.node_id: node.score for node in retriever.retrieve(question)}, float(seconds)
    )
    retriever.close()
    sys.stdout.write(json.dumps({**outcome, "closed": held()}))


# ── the tests ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not OF_PROCESS.exists():
        pytest.skip("what a process holds is read from /proc")
    folder = tmp_path_factory.mktemp("soak")
    make_corpus(str(folder))
    ran = subprocess.run(
        [sys.executable, __file__, folder, str(SECONDS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS + 300,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_every_thread_is_answered_and_every_answer_is_right(outcome: dict[str, Any]) -> None:
    assert outcome["wrong"] == 0
    assert len(outcome["asked"]) == THREADS
    assert min(outcome["asked"]) > 1


def test_threads_and_file_descriptors_stay_as_many_as_they_were(outcome: dict[str, Any]) -> None:
    first, *others = outcome["moments"]
    one_more = 1  # the one that answers what waits: it ends when nothing has waited for a while
    for moment in others:
        assert moment["threads"] <= first["threads"] + one_more
        assert moment["files"] == first["files"]
    assert outcome["after"]["threads"] <= outcome["before"]["threads"] + one_more
    assert outcome["after"]["files"] == outcome["before"]["files"]
    assert outcome["closed"]["files"] < outcome["before"]["files"]


def test_memory_does_not_grow(outcome: dict[str, Any]) -> None:
    memory = [moment["memory"] for moment in outcome["moments"]]
    quarter = max(1, len(memory) // 4)
    grown = min(memory[-quarter:]) - max(memory[:quarter])
    assert grown < STEADY * MEBIBYTE, memory


if __name__ == "__main__":
    main(*sys.argv[1:])

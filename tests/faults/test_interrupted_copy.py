"""A copy that is killed at any moment is refused until copying again has completed it.

The file is also the program that is killed: it forks one copy after the other, so that the libraries are
loaded once, and prints what became of each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from retriever.copying import CopyReport, copy
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.errors import CorpusNotFoundError, CorpusUnfinishedError, StoreLockedError
from retriever.records import ChunkerSpec
from retriever.store.embedded import EmbeddedStore
from retriever.store.place import open_store
from retriever.store.protocol import Point, VectorStore
from retriever.store.server import ServerStore
from retriever.testing import FakeModel

CORPUS = "guide"
CHUNKS = 1500
STEPS = CHUNKS // 256 + 2
"""How often a copy tells of its progress: before the first batch, and after each."""


def place(where: str) -> VectorStore:
    store = open_store(url=where) if "://" in where else open_store(where)
    if isinstance(store, ServerStore):
        store._leases.seconds = 1.0  # a writer that was killed is in the way no longer than that
    return store


def make_source(store: VectorStore) -> None:
    models = [FakeModel("acme/alpha", dimensions=24), FakeModel("acme/beta", dimensions=16)]
    rng = np.random.default_rng(3)
    rows = {model.spec.key: rng.normal(size=(CHUNKS, model.spec.dimensions)) for model in models}
    units = {
        key: (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
        for key, values in rows.items()
    }
    with Corpus.create(
        store, CORPUS, chunker=ChunkerSpec(), models=[model.spec for model in models]
    ) as corpus:
        corpus._collection.upsert(
            [
                Point(
                    point_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"chunk {i}")),
                    payload={"doc_id": f"d{i % 40}", "n": i, "text": "some words " * (i % 30)},
                    vectors={key: values[i] for key, values in units.items()},
                )
                for i in range(CHUNKS)
            ]
        )
        deploy(corpus, ["alpha", "beta"], weighting="equal")


def copy_to(
    target: VectorStore, source: VectorStore, name: str, step: Callable[[], object] = lambda: None
) -> CopyReport:
    return copy(source, target, CORPUS, name=name, on_progress=lambda *_: step())


# ── the program ──────────────────────────────────────────────────────────────────────────────────────────


def killed_after(steps: int, folder: str, where: str, name: str) -> int:
    """Fork a copy and kill it a moment after so many steps; return its status."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            copy_to(place(where), EmbeddedStore(folder), name, lambda: os.write(writing, b"!"))
        except BaseException:  # noqa: BLE001  # nothing may get out of the child
            os._exit(99)
        os._exit(0)
    os.close(writing)
    for _ in range(steps):
        os.read(reading, 1)  # returns too if the child has ended
    time.sleep(0.005 * steps / STEPS)  # somewhere in the middle of what follows
    os.kill(child, signal.SIGKILL)
    os.close(reading)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: str, where: str) -> None:
    """Kill a copy after each of its steps."""
    copy_to(
        place(where), EmbeddedStore(folder), "undisturbed"
    )  # so that the children need not load libraries
    statuses = [killed_after(i, folder, where, f"killed-{i}") for i in range(STEPS + 1)]
    sys.stdout.write(json.dumps(statuses))


# ── the tests ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedStore:
    store = EmbeddedStore(tmp_path_factory.mktemp("source"))
    make_source(store)
    return store


@pytest.fixture(scope="module", params=["folder", "server"])
def killed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, source: EmbeddedStore
) -> tuple[VectorStore, list[int]]:
    """Return where the copies were killed, and their exit statuses."""
    if request.param == "folder":
        where = str(tmp_path_factory.mktemp("target"))
    else:
        where = request.getfixturevalue("qdrant_server")
    ran = subprocess.run(
        [sys.executable, __file__, source.location, where],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    return place(where), json.loads(ran.stdout)


def points_of(store: VectorStore, name: str) -> dict[str, tuple[Any, dict[str, list[float]]]]:
    collection = store.open(name)
    names = ("alpha", "beta", "alpha+beta")
    found = {
        point.point_id: (point.payload, {key: np.asarray(row).tolist() for key, row in point.vectors.items()})
        for points in collection.scroll(with_vectors=names)
        for point in points
    }
    collection.close()
    return found


def state_of(store: VectorStore, name: str) -> str:
    try:
        Corpus.open(store, name).close()
    except CorpusNotFoundError:
        return "not there"
    except CorpusUnfinishedError:
        return "refused"
    return "whole"


def completed(store: VectorStore, source: VectorStore, name: str) -> CopyReport:
    """Copy again; on a server, once the lease of the one that was killed has ended."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return copy_to(store, source, name)
        except StoreLockedError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_copy_killed_at_any_moment_is_refused_and_completed_by_the_next(
    killed: tuple[VectorStore, list[int]], source: EmbeddedStore
) -> None:
    target, statuses = killed
    assert set(statuses) <= {0, -signal.SIGKILL}
    assert statuses.count(-signal.SIGKILL) >= STEPS - 2, statuses  # the last ones may have come too late
    expected = points_of(source, CORPUS)
    states, sent = [], []
    for i in range(len(statuses)):
        name = f"killed-{i}"
        states.append(state_of(target, name))
        if states[-1] == "whole":
            assert points_of(target, name) == expected
        sent.append(completed(target, source, name).sent)
        assert state_of(target, name) == "whole"
        assert points_of(target, name) == expected
        with Corpus.open(target, name) as corpus:
            assert corpus.served is not None
            assert corpus.served.corpus == name
    assert "refused" in states
    assert any(0 < number < CHUNKS for number in sent), sent  # what was there was not sent again


if __name__ == "__main__":
    main(*sys.argv[1:])

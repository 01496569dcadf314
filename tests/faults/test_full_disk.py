"""A disk that fills up while a corpus is written: a small file system of its own, filled for real.

Each part runs in a process of its own: the embedded engine would be ended by a bus error if it wrote
to a page that the disk cannot back, and no test could go on after that.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retriever.store.embedded import EmbeddedStore

CORPUS = "notes"
SMALL, LARGE = "size=152M", "size=900M"

INGEST = """
import sys
import typer
from ingest import ChunkSettings, ingest
from retriever import console
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

def documents():
    for i in range(180):
        text = "\\n\\n".join(" ".join(f"w{(i + j * k) % 500}" for k in range(12)) for j in range(8))
        yield Document(doc_id=f"d{i}", text=text)

def run():
    models = [FakeModel("acme/large", dimensions=2048)]
    store, chunks = EmbeddedStore(sys.argv[1]), ChunkSettings(max_tokens=14)
    ingest(documents(), store, "notes", models=models, chunks=chunks)

app = typer.Typer(cls=console.ErrorBoundary, callback=console.main_callback)
app.command("run")(run)
console.run(app, ["run"])
"""

READ = """
import sys
from retriever.corpus import Corpus
from retriever.store.embedded import EmbeddedStore
with Corpus.open(EmbeddedStore(sys.argv[1]), "notes") as corpus:
    found = sum(len(chunks) for chunks in corpus.chunks())
    assert found == corpus.count_chunks() == len(corpus.read_vectors(["large"]).chunk_ids)
    print(found)
"""

UNGUARDED = """
import sys, uuid
import numpy as np
from retriever.store import space
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import Point
collection = EmbeddedStore(sys.argv[1]).create("c", vectors={"a": 2048}, record={})
space.check_room = lambda folder, needed: None
for i in range(10**6):
    ids = [str(uuid.UUID(int=100 * i + j)) for j in range(100)]
    collection.upsert([Point(point_id=one, vectors={"a": np.ones(2048, np.float32)}) for one in ids])
    print(100 * (i + 1), flush=True)
"""

Run = subprocess.CompletedProcess[str]


def python(code: str, folder: Path) -> Run:
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or not sys.platform.startswith("linux"):
        pytest.skip("no mount command for a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", SMALL, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def make_room(disk: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,{LARGE}", str(disk)], check=True)


def test_a_disk_that_fills_up_ends_the_ingest_by_name_and_the_next_one_completes_it(
    disk: Path, tmp_path: Path, contents: Callable[..., Any]
) -> None:
    failed = python(INGEST, disk)
    assert failed.returncode == 3, failed.stderr
    said = " ".join(failed.stderr.split())
    assert re.search(r"store .*notes: expected \d+ MiB of room.*found \d+ MiB: the disk is full", said)
    assert "Make room and run the same command again" in said

    acknowledged = python(READ, disk)  # on a disk that is as full as before
    assert acknowledged.returncode == 0, acknowledged.stderr
    assert int(acknowledged.stdout) > 100
    again = python(INGEST, disk)
    assert again.returncode == 3, again.stderr

    make_room(disk)
    assert int(python(READ, disk).stdout) >= int(acknowledged.stdout)
    completed = python(INGEST, disk)
    assert completed.returncode == 0, completed.stderr
    assert python(INGEST, tmp_path / "undisturbed").returncode == 0
    stored, undisturbed = (
        contents(EmbeddedStore(place), CORPUS) for place in (disk, tmp_path / "undisturbed")
    )
    assert len(stored.payloads) > int(acknowledged.stdout)
    assert stored.differences(undisturbed) == []


def test_what_was_acknowledged_survives_a_disk_that_another_program_fills(disk: Path) -> None:
    # Nothing can be asked in time then: the engine is ended by the operating system.
    killed = python(UNGUARDED, disk)
    assert killed.returncode < 0, killed.stderr
    acknowledged = int(killed.stdout.split()[-1])
    assert shutil.disk_usage(disk).free < 2**20
    make_room(disk)
    collection = EmbeddedStore(disk).open("c")
    stored = {point.point_id for points in collection.scroll(fields=()) for point in points}
    assert len(stored) >= acknowledged
    assert sum(len(points) for points in collection.scroll(with_vectors=("a",))) == len(stored)
    collection.close()


def test_a_corpus_is_dropped_from_a_full_disk(disk: Path) -> None:
    store = EmbeddedStore(disk)
    store.create("c", vectors={"a": 2}, record={}).close()
    with (disk / "filler").open("wb") as file:
        file.write(b"\0" * (shutil.disk_usage(disk).free - 2**20))
    os.sync()
    store.drop("c")
    assert store.names() == []

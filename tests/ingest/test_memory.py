"""What a run holds in memory does not grow with the corpus."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import gc, json, sys, tracemalloc
import retriever.corpus
from ingest import ingest
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

# Measuring how vectors spread takes as much each time, more than all else: it would hide what grows.
retriever.corpus.writer._SPREAD_SAMPLE = 20

def documents(number):
    for i in range(number):
        text = " ".join(f"n{digit}" for digit in str(i))  # the model remembers each word it has seen
        yield Document(doc_id=f"document-{i}", text=text, metadata={"note": f"{i} " * 100})

def peak(number, folder):
    model = FakeModel(dimensions=16)
    gc.collect()
    tracemalloc.start()
    summary = ingest(documents(number), EmbeddedStore(folder), "c", models=[model])
    _, found = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert summary.new == number
    return found

folder, small, large = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
peak(500, folder + "/warm")  # what is loaded once is no part of a run
print(json.dumps([peak(small, folder + "/small"), peak(large, folder + "/large")]))
"""

SMALL, LARGE = 3_000, 10_000  # the small one is more than a window and what is read ahead of it
MARGIN = 3 << 19
"""Bytes by which the peaks may differ: what is under way at the peak is not the same each time. A list of
all documents takes twice as much and more."""


def test_three_times_the_documents_take_no_more_memory(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path), str(SMALL), str(LARGE)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    small, large = json.loads(ran.stdout)
    assert large - small < MARGIN, (small, large)

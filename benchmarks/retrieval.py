"""How fast and how exact search is, what it keeps in memory, and what many callers do to each other.

- ``exactness``: recall@10 against a product of all vectors in float64, ties aside; how many queries the scan
  of 8-bit numbers proves, for the pair of models and for each alone, and how many candidates are left.
- ``scan``: search alone, the query's vector given: the embedded engine as it is, the engine with the scan,
  `faiss.IndexFlatIP`, and one float32 product in numpy with a partition; ten queries each in turn, medians
  of a turn compared.
- ``memory``: what a process takes that has a corpus open, against the bytes of its vectors.
- ``concurrency``: queries a second of 16 threads and of 100 asynchronous callers against one thread, and the
  longest stall of the event loop, with the scan and without, and of a loop that has nothing else to do.
- ``whole``: from the text of a query to nodes, against LlamaIndex's own retrievers, see
  `benchmarks.retrieval_whole`.

The vectors are those of two real models for texts of SciFact, concatenated, and more of their kind: to each
further row the difference of two others is added, in both models alike, which keeps mean and spectrum. The
queries are those of SciFact, at calibrated weights.

Run it as ``python -m benchmarks.retrieval``. Collection and models lie in the folder ``TANDEM_SHARED`` names
(default: ``shared`` beside the checkout); their vectors are kept in ``--store``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import faiss
import numpy as np

from benchmarks.quality import SHARED, unpacked
from benchmarks.retrieval_whole import whole
from ingest import open_source
from retriever.combine import calibrated_weights, concatenate, spread, weigh
from retriever.models import load_model
from retriever.models.protocol import FloatArray
from retriever.records import Document
from retriever.store.embedded import EmbeddedCollection, EmbeddedStore
from retriever.store.protocol import Point
from retriever.store.scan import ExactScan

MODELS = ("all-MiniLM-L6-v2", "e5-small-v2")
"""One with a wide spread of cosines and one with a narrow one, which makes proofs hard; 384 numbers each."""

COLLECTION = "scifact"
VECTOR = "pair"
K = 10
QUERIES = 100
THREADS = 16
CALLERS = 100
NOISE = 0.5
"""How much of the difference of two rows is added to a third."""

TIE = 1e-6
"""Scores this close are ties: float32 does not tell them apart."""

_BATCH = 1000
_TURN = 10
_PAUSE = 0.05
_CHARACTERS = 600
_TEXT = "The ferry to the island leaves the harbour at noon, and basil wants six hours of sun a day. " * 9

Figures = dict[str, Any]


def main() -> None:
    """Run the benchmark."""
    arguments = _arguments()
    if not SHARED.is_dir():
        sys.exit(f"skipped: no folder {SHARED} with models and collections; name one with TANDEM_SHARED.")
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        vectors = Vectors(arguments.store, texts=arguments.texts)
        corpora = Corpora(Path(folder), vectors)
        print(f"{arguments.texts} texts of {COLLECTION} under {' and '.join(MODELS)}, extended; {K} hits")
        for part in arguments.parts:
            figures |= PARTS[part](corpora, arguments)
    for name, figure in figures.items():
        print(f"  {name}: {figure['value']:.4g}{_verdict(figure)}")
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    inputs = {name: getattr(arguments, name) for name in ("sizes", "texts", "repeats", "seconds", "parts")}
    print(json.dumps({"figures": figures, "machine": machine, "inputs": inputs | {"models": MODELS}}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 50_000, 100_000], help="chunks")
    parser.add_argument("--texts", type=int, default=1_000, help="that are embedded")
    parser.add_argument("--repeats", type=int, default=5, help="turns over all queries")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each kind of callers")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--store", type=Path, default=Path("benchmark-store"))
    parser.add_argument("--quick", action="store_true", help="few chunks, few texts, one repeat")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sizes, arguments.texts, arguments.repeats, arguments.seconds = [5_000], 150, 2, 1.0
    return arguments


def _verdict(figure: Mapping[str, Any]) -> str:
    if figure["goal"] is None:
        return ""
    return f" (goal {figure['goal']}: {'met' if figure['met'] else 'MISSED'})"


# ── vectors and corpora ──────────────────────────────────────────────────────────────────────────────────


class Vectors:
    """Vectors of real texts and queries by model, kept in a folder, and more of their kind."""

    def __init__(self, folder: Path, *, texts: int) -> None:
        self._file = folder / f"retrieval-{COLLECTION}-{texts}.npz"
        self._folder = folder
        self._texts = texts

    @cached_property
    def embedded(self) -> dict[str, FloatArray]:
        """Rows of the texts under the name of each model, and of the queries."""
        if not self._file.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            np.savez(self._file, **self._embed())
        with np.load(self._file) as kept:
            return dict(kept)

    @property
    def weights(self) -> list[float]:
        """One over each model's spread, as a deployment has them by default."""
        spreads = {model: spread(self.embedded[model][:300]) for model in MODELS}
        return list(calibrated_weights(MODELS, spreads).values())

    def queries(self) -> FloatArray:
        """Return queries of the pair."""
        return weigh([self.embedded[f"{model} queries"] for model in MODELS], self.weights)

    def rows(self, count: int) -> FloatArray:
        """Return rows of the pair."""
        return concatenate([self.rows_of(model, count) for model in MODELS])

    def rows_of(self, model: str, count: int) -> FloatArray:
        """Return rows of one model."""
        real = self.embedded[model]
        rng = np.random.default_rng(0)
        base, plus, minus = rng.integers(len(real), size=(3, count))
        rows = real[base] + np.float32(NOISE) * (real[plus] - real[minus])
        rows[: len(real)] = real[: len(rows)]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def _embed(self) -> dict[str, FloatArray]:
        data = unpacked(COLLECTION, self._folder)
        documents = (item for item in open_source(data) if isinstance(item, Document))
        texts = [document.text[:_CHARACTERS] for document in islice(documents, self._texts)]
        lines = (data / "queries.jsonl").read_text(encoding="utf-8").splitlines()
        questions = [json.loads(line)["text"] for line in lines[:QUERIES]]
        embedded = {}
        for name in MODELS:
            print(f"embedding {len(texts)} texts with {name}", file=sys.stderr)
            model = load_model(str(SHARED / "models" / name))
            embedded[name] = model.embed_chunks(texts)
            embedded[f"{name} queries"] = model.embed_queries(questions)
        return embedded


class Corpora:
    """A store with a collection for each size, filled when it is first asked for."""

    def __init__(self, folder: Path, vectors: Vectors) -> None:
        self.folder = folder
        self.vectors = vectors

    @contextmanager
    def opened(self, size: int) -> Iterator[EmbeddedCollection]:
        """Give the collection of a size, not prepared."""
        store, name = EmbeddedStore(self.folder), f"chunks-{size}"
        if name not in store.names():
            print(f"filling a corpus of {size:,} chunks", file=sys.stderr)
            self._fill(store, name, self.vectors.rows(size))
        collection = store.open(name)
        try:
            yield collection
        finally:
            collection.close()

    @staticmethod
    def _fill(store: EmbeddedStore, name: str, rows: FloatArray) -> None:
        collection = store.create(name, vectors={VECTOR: rows.shape[1]}, record={})
        for start in range(0, len(rows), _BATCH):
            block = rows[start : start + _BATCH]
            collection.upsert([_point(start + i, row) for i, row in enumerate(block)])
        collection.flush()
        collection.close()


def _point(number: int, row: FloatArray) -> Point:
    payload = {"doc_id": f"d{number // 4}", "text": f"{number} {_TEXT}"}
    return Point(point_id=_name(number), payload=payload, vectors={VECTOR: row})


def _name(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


@contextmanager
def _engine_alone(collection: EmbeddedCollection) -> Iterator[None]:
    """Let searches find no scan."""
    with patch.object(collection._shard.scans, "find", lambda *_: None):  # noqa: SLF001
        yield


def _search(collection: EmbeddedCollection, query: FloatArray) -> list[str]:
    (found,) = collection.search(query[None], vector=VECTOR, k=K)
    return [hit.point.point_id for hit in found]


# ── exactness ────────────────────────────────────────────────────────────────────────────────────────────


def exactness(corpora: Corpora, arguments: argparse.Namespace) -> Figures:
    """Compare with brute force, and count what the scan proves."""
    figures: Figures = {}
    queries = corpora.vectors.queries()
    for size in arguments.sizes:
        rows = corpora.vectors.rows(size)
        scores = np.concatenate(
            [part.astype(np.float64) @ queries.astype(np.float64).T for part in np.array_split(rows, 50)]
        )
        with corpora.opened(size) as collection:
            start = time.perf_counter()
            collection.prepare(VECTOR)
            seconds = time.perf_counter() - start
            scanned = [_search(collection, query) for query in queries]
            with _engine_alone(collection):
                alone = [_search(collection, query) for query in queries]
        print(f"{size:,} chunks: the scan was made in {seconds:.1f} s")
        figures[f"{size:,} chunks: recall@{K} with the scan"] = _at_least(_recall(scanned, scores), 1.0)
        figures[f"{size:,} chunks: recall@{K} without"] = _at_least(_recall(alone, scores), 1.0)
        figures |= _proofs(corpora.vectors, rows, queries, size)
    return figures


def _recall(found: Sequence[Sequence[str]], scores: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return the share of hits that are not below the k-th best score by more than a tie."""
    numbers = {_name(i): i for i in range(len(scores))}
    kth = np.partition(scores, len(scores) - K, axis=0)[len(scores) - K]
    right = [scores[numbers[name], i] >= kth[i] - TIE for i, names in enumerate(found) for name in set(names)]
    return sum(right) / (K * len(found))


def _proofs(vectors: Vectors, rows: FloatArray, queries: FloatArray, size: int) -> Figures:
    asked = {"the pair": (rows, queries)}
    asked |= {model: (vectors.rows_of(model, size), vectors.embedded[f"{model} queries"]) for model in MODELS}
    figures: Figures = {}
    for name, (stored, given) in asked.items():
        names = [str(uuid.UUID(int=i)) for i in range(size)]
        blocks = ((names[i : i + 256], stored[i : i + 256]) for i in range(0, size, 256))
        scan = ExactScan(blocks, rows=size, size=stored.shape[1])
        found = scan.candidates(given, k=K)
        counts = [len(names) for names in found if names is not None] or [0]
        print(
            f"  {name}: {np.median(counts):.0f} candidates for {K} hits, at most {max(counts)}; "
            f"{scan.nbytes / stored.nbytes:.3f} of the vectors' bytes"
        )
        share = 1 - scan.unproven / scan.searches
        figures[f"{size:,} chunks: share of proven queries, {name}"] = _measured(share)
    return figures


# ── scan ─────────────────────────────────────────────────────────────────────────────────────────────────


def scan_alone(corpora: Corpora, arguments: argparse.Namespace) -> Figures:
    """Time search alone."""
    figures: Figures = {}
    queries = corpora.vectors.queries()
    for size in arguments.sizes:
        rows = corpora.vectors.rows(size)
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        with corpora.opened(size) as collection:
            collection.prepare(VECTOR)

            def engine(query: FloatArray, collection: EmbeddedCollection = collection) -> object:
                with _engine_alone(collection):
                    return _search(collection, query)

            variants: dict[str, Callable[[FloatArray], object]] = {
                "engine": engine,
                "scan": lambda query, collection=collection: _search(collection, query),  # type: ignore[misc]
                "faiss": lambda query, index=index: index.search(query[None], K),  # type: ignore[misc]
                "numpy": lambda query, rows=rows: _product(rows, query),  # type: ignore[misc]
            }
            seconds = _interleaved(variants, queries, repeats=arguments.repeats)
        _print_times(f"{size:,} chunks of {rows.shape[1]} numbers, search alone", seconds)
        medians = {name: np.median(taken, axis=1) for name, taken in seconds.items()}
        floor = np.minimum(medians["faiss"], medians["numpy"])
        for name in ("engine", "scan"):
            ratio = float(np.median(medians[name] / floor))
            goal = 0.5 if size >= 100_000 and name == "scan" else 1.15
            figure = _at_most(ratio, goal) if name == "scan" and size >= 50_000 else _measured(ratio)
            figures[f"{size:,} chunks: {name} of the faster of faiss and numpy"] = figure
    return figures


def _product(rows: FloatArray, query: FloatArray) -> object:
    scores = rows @ query
    best = np.argpartition(scores, len(scores) - K)[-K:]
    return best[np.argsort(-scores[best])]


def _interleaved(
    variants: Mapping[str, Callable[[FloatArray], object]], queries: FloatArray, *, repeats: int
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Return the seconds of each query, shape (turns, queries of a turn).

    A turn is some queries by each variant. Before each there is a pause, in which threads that wait actively
    for more work of the variant before give up their cores.
    """
    seconds: dict[str, list[list[float]]] = {name: [] for name in variants}
    order = list(variants.items())
    turns = [queries[start : start + _TURN] for start in range(0, len(queries), _TURN)] * repeats
    for turn, asked in enumerate(turns):
        for name, search in order[turn % len(order) :] + order[: turn % len(order)]:
            time.sleep(_PAUSE)
            search(asked[0])
            taken = []
            for query in asked:
                start = time.perf_counter()
                search(query)
                taken.append(time.perf_counter() - start)
            seconds[name].append(taken)
    return {name: np.array(taken) for name, taken in seconds.items()}


def _print_times(title: str, seconds: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]) -> None:
    print(f"{title}; ms: median (lowest, 9 of 10 within)")
    for name, taken in seconds.items():
        low, middle, high = 1000 * np.quantile(taken, [0, 0.5, 0.9])
        print(f"  {name}: {middle:.2f} ({low:.2f}, {high:.2f})")


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────


def memory(corpora: Corpora, arguments: argparse.Namespace) -> Figures:
    """Measure a process that opens the largest corpus, prepares it and searches."""
    size = max(arguments.sizes)
    with corpora.opened(size):
        pass
    queries = corpora.folder / "queries.npy"
    np.save(queries, corpora.vectors.queries())
    code = "import sys; from benchmarks import retrieval; retrieval._probe(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(corpora.folder), f"chunks-{size}", str(queries)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    mib: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    vectors = size * corpora.vectors.queries().shape[1] * 4 / 2**20
    print(
        f"{size:,} chunks, {vectors:.0f} MiB of vectors; anonymous memory of a process, MiB: "
        f"{mib['before']:.0f} before, {mib['open']:.0f} with the corpus open and searched, "
        f"{mib['prepared']:.0f} with the scan as well; {mib['peak'] - mib['open']:.0f} more at most while it "
        "was made"
    )
    return {
        f"{size:,} chunks: memory of the scan, of the vectors' bytes": _at_most(
            (mib["prepared"] - mib["open"]) / vectors, 0.5
        ),
        f"{size:,} chunks: memory for the corpus, of the vectors' bytes": _measured(
            (mib["prepared"] - mib["before"]) / vectors
        ),
    }


def _probe(folder: str, name: str, queries_file: str) -> None:
    """Print the anonymous memory of this process before, with and after a corpus is prepared."""
    queries = np.load(queries_file)
    before = _status_mib("RssAnon")
    collection = EmbeddedStore(folder).open(name)
    with _engine_alone(collection):
        for query in queries[:20]:
            _search(collection, query)
    opened = _status_mib("RssAnon")
    made: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        preparing = pool.submit(collection.prepare, VECTOR)
        while not preparing.done():
            made.append(_status_mib("RssAnon"))
            time.sleep(0.01)
    for query in queries:
        _search(collection, query)
    prepared = _status_mib("RssAnon")
    collection.close()
    print(json.dumps({"before": before, "open": opened, "prepared": prepared, "peak": max(made, default=0)}))


def _status_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"expected {field} in /proc/self/status: this figure needs Linux")


# ── concurrency ──────────────────────────────────────────────────────────────────────────────────────────


def concurrency(corpora: Corpora, arguments: argparse.Namespace) -> Figures:
    """Let many search at once."""
    sizes = [size for size in arguments.sizes if size <= 50_000]
    size = max(sizes or arguments.sizes)
    queries = corpora.vectors.queries()
    figures: Figures = {}
    with corpora.opened(size) as collection:
        collection.prepare(VECTOR)
        _, idle = asyncio.run(_asynchronous(collection, queries, arguments.seconds, count=0))
        with _engine_alone(collection):
            engine = _callers(collection, queries, arguments.seconds)
        scan = _callers(collection, queries, arguments.seconds)
    print(f"{size:,} chunks, queries a second: one thread, {THREADS} threads, {CALLERS} asynchronous callers")
    print(f"  longest stall of an event loop that has nothing to do: {1000 * idle:.0f} ms")
    for name, found in (("engine", engine), ("scan", scan)):
        print(
            f"  {name}: {found['one']:.0f}, {found['threads']:.0f}, {found['callers']:.0f}; "
            f"longest stall of the event loop {found['stall']:.0f} ms"
        )
        title = f"{size:,} chunks, {name}"
        figures[f"{title}: rate of {THREADS} threads, of one"] = _measured(found["threads"] / found["one"])
        figures[f"{title}: rate of {CALLERS} callers, of one thread"] = _measured(
            found["callers"] / found["one"]
        )
        figures[f"{title}: longest stall of the event loop, ms"] = _measured(found["stall"])
    for who in ("one", "threads", "callers"):
        figures[f"{size:,} chunks: rate with the scan of that without, {who}"] = _measured(
            scan[who] / engine[who]
        )
    return figures


def _callers(collection: EmbeddedCollection, queries: FloatArray, seconds: float) -> dict[str, float]:
    """Return queries a second of one thread, many and asynchronous callers, and the longest stall in ms."""
    callers, stall = asyncio.run(_asynchronous(collection, queries, seconds, count=CALLERS))
    return {
        "one": _threads(collection, queries, seconds, count=1),
        "threads": _threads(collection, queries, seconds, count=THREADS),
        "callers": callers,
        "stall": 1000 * stall,
    }


def _threads(collection: EmbeddedCollection, queries: FloatArray, seconds: float, *, count: int) -> float:
    end = time.perf_counter() + seconds

    def search(first: int) -> int:
        done = 0
        while time.perf_counter() < end:
            _search(collection, queries[(first + done) % len(queries)])
            done += 1
        return done

    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(search, range(count))) / seconds


async def _asynchronous(
    collection: EmbeddedCollection, queries: FloatArray, seconds: float, *, count: int
) -> tuple[float, float]:
    """Return queries a second of many callers, and by how many seconds a tick was late at most."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    with ThreadPoolExecutor(THREADS) as pool:

        async def call(first: int) -> int:
            done = 0
            while loop.time() < end:
                query = queries[(first + done) % len(queries)]
                await loop.run_in_executor(pool, _search, collection, query)
                done += 1
            return done

        async def tick() -> float:
            longest = 0.0
            while loop.time() < end:
                before = loop.time()
                await asyncio.sleep(0.001)
                longest = max(longest, loop.time() - before - 0.001)
            return longest

        stall, *done = await asyncio.gather(tick(), *(call(i) for i in range(count)))
    return sum(done) / seconds, stall


def _at_least(value: float, goal: float) -> dict[str, Any]:
    return {"value": value, "goal": goal, "met": bool(value >= goal)}


def _at_most(value: float, goal: float) -> dict[str, Any]:
    return {"value": value, "goal": goal, "met": bool(value <= goal)}


def _measured(value: float) -> dict[str, Any]:
    return {"value": value, "goal": None, "met": None}


def whole_queries(_: Corpora, arguments: argparse.Namespace) -> Figures:
    """Ask whole queries."""
    return whole(arguments.store / "whole", arguments.sizes, repeats=arguments.repeats)


PARTS: dict[str, Callable[[Corpora, argparse.Namespace], Figures]] = {
    "exactness": exactness,
    "scan": scan_alone,
    "memory": memory,
    "concurrency": concurrency,
    "whole": whole_queries,
}

if __name__ == "__main__":
    main()

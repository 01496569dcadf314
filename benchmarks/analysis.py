"""What evaluating all pairs of models costs, against searching pair by pair and against bare products.

- ``search``: the first documents of every model and pair, see `analysis.evaluation.search`, and their
  measures, against two things that run in turn with it: the bare matrix products of all models, queries by
  chunks in the same blocks; and, for a pair of each combination of sizes, concatenating the vectors and
  searching them in numpy (`retriever.combine`, product, best chunk per document, first ten), which is scaled
  to all pairs. With equal weights alone, and with equal and calibrated ones as `tandem evaluate` does it.
- ``ndcg``: NDCG@10 of all pairs, the look-up of judgements included, against pytrec_eval, whose evaluator is
  made once and which gets a run of finished dictionaries per pair: of 100 hits per query, a usual depth, and
  of 10.
- ``memory``: the most that a process has in memory that does all of `analysis.evaluate`, vectors in files
  that are mapped into memory and count as far as they are resident.
- ``cka``: see `benchmarks.analysis_cka`.

Vectors are made: independent random directions, which is hardest for the search, as rankings that have
nothing in common have to be read deepest; documents have one to three chunks. Run it as
``python -m benchmarks.analysis``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pytrec_eval

from analysis.arrays import AnyFloatArray, IntArray
from analysis.evaluation import CUTOFF, Evaluation, ModelVectors, Pair, evaluate
from analysis.evaluation import search as searching
from analysis.evaluation.plans import Plan, plan_pairs, plan_singles
from analysis.evaluation.run import measure
from analysis.evaluation.search import Documents, Rankings, search
from analysis.judgements import Judgements
from analysis.measures import JudgedDocuments
from benchmarks import analysis_cka
from retriever.combine import concatenate, weigh

DIMENSIONS = (384, 768, 1024)
MODELS_PER_SIZE = 5
JUDGED = 3
"""Judgements per query; FIQA has 2.6."""

K = 10
DEPTHS = (100, 10)
"""Hits per query of the runs that pytrec_eval gets; the first is compared with the goal."""

GIB = 2**30
_WARM_BYTES = 2 * GIB

Figures = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """How much is measured."""

    chunks: int = 60_000
    queries: int = 700
    models_per_size: int = MODELS_PER_SIZE
    repeats: int = 3


QUICK = Inputs(chunks=10_000, queries=150, models_per_size=2, repeats=2)


def main() -> None:
    """Run the benchmark."""
    arguments = _arguments()
    inputs = QUICK if arguments.quick else Inputs(repeats=arguments.repeats)
    if arguments.evaluate:
        _whole(Path(arguments.evaluate), inputs)
        return
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        _make_vectors(Path(folder), inputs)
        collection = Collection(Path(folder), inputs)
        print(
            f"{len(collection.models)} models of {', '.join(map(str, DIMENSIONS))} dimensions, "
            f"{len(collection.pairs)} pairs, {inputs.chunks:,} chunks, {inputs.queries} queries"
        )
        for part in arguments.parts:
            figures |= PARTS[part](collection, quick=arguments.quick)
    for name, figure in figures.items():
        print(f"  {name}: {figure['value']:.4g}{_verdict(figure)}")
    machine = {
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "machine": platform.machine(),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    sizes = {"chunks": inputs.chunks, "queries": inputs.queries, "repeats": inputs.repeats}
    sizes |= {"models_per_size": inputs.models_per_size}
    described = {**sizes, "dimensions": DIMENSIONS, "parts": arguments.parts}
    print(json.dumps({"figures": figures, "machine": machine, "inputs": described}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=Inputs().repeats)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="fewer models, chunks and queries")
    parser.add_argument("--evaluate", default="", help=argparse.SUPPRESS)  # what `memory` starts
    return parser.parse_args()


def _verdict(figure: Mapping[str, Any]) -> str:
    if figure["goal"] is None:
        return ""
    return f" (goal {figure['goal']}: {'met' if figure['met'] else 'MISSED'})"


def _at_most(value: float, goal: float) -> Figures:
    return {"value": value, "goal": goal, "met": value <= goal}


def _at_least(value: float, goal: float) -> Figures:
    return {"value": value, "goal": goal, "met": value >= goal}


def _plain(value: float) -> Figures:
    return {"value": value, "goal": None, "met": None}


# ── what is evaluated ────────────────────────────────────────────────────────────────────────────────────


class Collection:
    """Vectors in a folder, with documents, judgements and spreads to go with them."""

    def __init__(self, folder: Path, inputs: Inputs) -> None:
        rng = np.random.default_rng(1)
        self.folder = folder
        self.inputs = inputs
        self.models = [
            ModelVectors(
                key=key,
                queries=np.load(folder / f"{key}-queries.npy"),
                chunks=np.load(folder / f"{key}-chunks.npy", mmap_mode="r"),
            )
            for key in _keys(inputs)
        ]
        self.pairs: list[Pair] = list(combinations(_keys(inputs), 2))
        self.spreads = {model.key: 1 / float(np.sqrt(model.chunks.shape[1])) for model in self.models}
        sizes = rng.integers(1, 4, size=inputs.chunks)
        of_chunk = np.repeat(np.arange(inputs.chunks), sizes)[: inputs.chunks]
        self.chunk_documents = [f"d{document}" for document in rng.permutation(of_chunk)]
        names = sorted(set(self.chunk_documents))
        query_ids = [f"q{query}" for query in range(inputs.queries)]
        self.judgements = Judgements(
            queries=dict.fromkeys(query_ids, "text"),
            qrels={
                query: {
                    names[place]: int(rng.integers(1, 3)) for place in rng.integers(len(names), size=JUDGED)
                }
                for query in query_ids
            },
        )

    def model(self, key: str) -> ModelVectors:
        """Return the model of this key."""
        return next(model for model in self.models if model.key == key)

    def plans(self, *, calibrated: bool) -> list[Plan]:
        """Return the plans of all models, and of all pairs with equal weights and perhaps calibrated ones."""
        pairs = plan_pairs(self.pairs, spreads=self.spreads, grid=())
        kept = [plan for plan in pairs if calibrated or plan.weighting == "equal"]
        return [*plan_singles([model.key for model in self.models]), *kept]


def _keys(inputs: Inputs) -> list[str]:
    return [f"m{size}-{number}" for size in DIMENSIONS for number in range(inputs.models_per_size)]


def _make_vectors(folder: Path, inputs: Inputs) -> None:
    rng = np.random.default_rng(0)
    for key in _keys(inputs):
        dimensions = int(key.split("-")[0].removeprefix("m"))
        for name, count in (("queries", inputs.queries), ("chunks", inputs.chunks)):
            rows = rng.standard_normal((count, dimensions), dtype=np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            np.save(folder / f"{key}-{name}.npy", rows)


# ── all pairs at once against pair by pair, and against nothing but products ─────────────────────────────


def search_figures(collection: Collection, *, quick: bool) -> Figures:
    """Time the search of all pairs, the bare products and the search of concatenations, in turn."""
    documents = Documents.of(collection.chunk_documents)
    variants: dict[str, Callable[[], float]] = {
        "bare products": lambda: _timed(partial(_bare_products, collection.models)),
        "all pairs, equal": lambda: _timed(partial(_measured, collection, documents, calibrated=False)),
        "all pairs, equal and calibrated": lambda: _timed(
            partial(_measured, collection, documents, calibrated=True)
        ),
        "pair by pair, equal": lambda: _pair_by_pair(collection, documents, calibrated=False),
        "pair by pair, equal and calibrated": lambda: _pair_by_pair(collection, documents, calibrated=True),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(collection.inputs.repeats):
        for name, variant in variants.items():
            _warm_memory()
            times[name].append(variant())
    for name, seconds in times.items():
        print(f"  {name}: {', '.join(f'{value:.1f} s' for value in seconds)}")
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    bare, equal = medians["bare products"], medians["all pairs, equal"]
    both = medians["all pairs, equal and calibrated"]
    rankings = _measured(collection, documents, calibrated=True)
    goal: Callable[[float, float], Figures] = lambda value, _: _plain(value)  # noqa: E731
    at_least, at_most = (goal, goal) if quick else (_at_least, _at_most)  # few pairs have little to share
    return {
        "all pairs, times as fast as pair by pair": at_least(medians["pair by pair, equal"] / equal, 20),
        "the same with equal and calibrated weights": at_least(
            medians["pair by pair, equal and calibrated"] / both, 20
        ),
        "all pairs, times the bare products": at_most(equal / bare, 1.5),
        "the same with equal and calibrated weights, times the bare products": at_most(both / bare, 1.5),
        "share of rankings proven from the first chunks": _plain(rankings.proven),
    }


def _warm_memory() -> None:
    """Touch and give back as much memory as a search needs, so that no variant waits for the system's.

    A virtual machine may have given unused memory back to its host; having it again takes seconds for each
    gibibyte, which would be counted for whichever variant comes first.
    """
    np.empty(_WARM_BYTES, dtype=np.uint8).fill(0)


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _bare_products(models: Sequence[ModelVectors]) -> None:
    for rows in searching._blocks(models):  # noqa: SLF001  # the same blocks
        for model in models:
            model.queries[rows] @ model.chunks.T


def _measured(collection: Collection, documents: Documents, *, calibrated: bool) -> Rankings:
    plans = collection.plans(calibrated=calibrated)
    rankings = search(collection.models, plans, documents, depth=K)
    measure(plans, rankings, documents, collection.judgements)
    return rankings


def _pair_by_pair(collection: Collection, documents: Documents, *, calibrated: bool) -> float:
    """Search a pair of each combination of sizes, and return the seconds that all pairs would take."""
    total = 0.0
    for sizes in combinations_with_replacement(DIMENSIONS, 2):
        alike = [pair for pair in collection.pairs if _sizes(collection, pair) == sizes]
        start = time.perf_counter()
        _search_pair(collection, alike[0], documents, calibrated=calibrated)
        total += len(alike) * (time.perf_counter() - start)
    return total


def _sizes(collection: Collection, pair: Pair) -> tuple[int, ...]:
    return tuple(collection.model(key).chunks.shape[1] for key in pair)


def _search_pair(collection: Collection, pair: Pair, documents: Documents, *, calibrated: bool) -> None:
    halves = [collection.model(key) for key in pair]
    stored = concatenate([half.chunks for half in halves])
    for plan in plan_pairs([pair], spreads=collection.spreads, grid=()):
        if calibrated or plan.weighting == "equal":
            queries = weigh([half.queries for half in halves], list(plan.weights.values()))
            _first(documents.chunks.best(queries @ stored.T))


def _first(scores: AnyFloatArray) -> IntArray:
    top = np.argpartition(scores, -CUTOFF, axis=1)[:, -CUTOFF:]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1)
    return np.take_along_axis(top, order, axis=1)


# ── NDCG ─────────────────────────────────────────────────────────────────────────────────────────────────


def ndcg_figures(collection: Collection, *, quick: bool) -> Figures:
    """Time NDCG@10 of the rankings of all pairs, ours and pytrec_eval's, in turn."""
    documents = Documents.of(collection.chunk_documents)
    rng = np.random.default_rng(2)
    shape = (len(collection.pairs), collection.inputs.queries, max(DEPTHS))
    steps = rng.integers(1, len(documents.ids) // max(DEPTHS), size=shape)
    rankings = np.cumsum(steps, axis=2) - 1  # ascending, so all different
    times: dict[int, tuple[list[float], list[float]]] = {depth: ([], []) for depth in DEPTHS}
    for depth, (ours, theirs) in times.items():
        for _ in range(collection.inputs.repeats):
            found, seconds = _our_ndcg(collection, documents, rankings[:, :, :CUTOFF])
            ours.append(seconds)
            expected, seconds = _pytrec_ndcg(collection, documents, rankings[:, :, :depth])
            theirs.append(seconds)
            assert abs(found - expected) < 1e-9
        print(f"  NDCG: {_milliseconds(ours)}; pytrec_eval, runs of {depth} hits: {_milliseconds(theirs)}")
    ratios = [statistics.median(theirs) / statistics.median(ours) for ours, theirs in times.values()]
    return {
        f"NDCG, times as fast as pytrec_eval with runs of {DEPTHS[0]} hits": _plain(ratios[0])
        if quick
        else _at_least(ratios[0], 50),
        f"the same with runs of {DEPTHS[1]} hits": _plain(ratios[1]),
    }


def _milliseconds(times: Sequence[float]) -> str:
    return ", ".join(f"{1e3 * value:.0f} ms" for value in times)


def _our_ndcg(collection: Collection, documents: Documents, rankings: IntArray) -> tuple[float, float]:
    start = time.perf_counter()
    judgements = collection.judgements
    judged = JudgedDocuments(
        judgements.qrels, query_ids=judgements.query_ids, document_ids=documents.ids, k=CUTOFF
    )
    means = [judged.grades(top).ndcg().mean() for top in rankings]
    return float(np.mean(means)), time.perf_counter() - start


def _pytrec_ndcg(collection: Collection, documents: Documents, rankings: IntArray) -> tuple[float, float]:
    evaluator = pytrec_eval.RelevanceEvaluator(collection.judgements.qrels, {f"ndcg_cut.{CUTOFF}"})
    means, seconds = [], 0.0
    for ranking in rankings:
        run = {
            query: {documents.ids[column]: -float(rank) for rank, column in enumerate(row)}
            for query, row in zip(collection.judgements.query_ids, ranking.tolist(), strict=True)
        }
        start = time.perf_counter()
        results = evaluator.evaluate(run)
        seconds += time.perf_counter() - start
        means.append(np.mean([result[f"ndcg_cut_{CUTOFF}"] for result in results.values()]))
    return float(np.mean(means)), seconds


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────


def memory_figures(collection: Collection, *, quick: bool) -> Figures:
    """Evaluate all in a process of its own, similarity of vectors included, and see what it took."""
    command = [sys.executable, "-m", "benchmarks.analysis", "--evaluate", str(collection.folder)]
    shown = subprocess.run(  # noqa: S603  # ourselves
        [*command, "--quick"] if quick else command, check=True, capture_output=True, text=True
    )
    measured = json.loads(shown.stdout.splitlines()[-1])
    vectors = sum(model.chunks.nbytes for model in collection.models)
    print(f"  everything took {measured['seconds']:.0f} s; the vectors alone are {vectors / GIB:.2f} GiB")
    return {"memory of everything, GiB": _at_most(measured["bytes"] / GIB, 8)}


def _whole(folder: Path, inputs: Inputs) -> None:
    collection = Collection(folder, inputs)
    start = time.perf_counter()
    evaluation: Evaluation = evaluate(
        collection.models,
        judgements=collection.judgements,
        chunk_documents=collection.chunk_documents,
        spreads=collection.spreads,
    )
    assert len(evaluation.pairs) == 2 * len(collection.pairs)
    print(json.dumps({"bytes": _peak_bytes(), "seconds": time.perf_counter() - start}))


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says counts what the parent process had when it started this one
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
        return 1024 * int(fields["VmHWM"].split()[0])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def cka_figures(collection: Collection, *, quick: bool) -> Figures:
    """Run the benchmark of the similarity of vectors."""
    del collection
    return analysis_cka.figures(quick=quick)


PARTS: dict[str, Callable[..., Figures]] = {
    "search": search_figures,
    "ndcg": ndcg_figures,
    "memory": memory_figures,
    "cka": cka_figures,
}


if __name__ == "__main__":
    main()

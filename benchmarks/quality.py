"""Is what Tandem measures right? Real models on judged collections, against published figures.

For every collection: ingest with every model, evaluate, and compare

- NDCG@10 of each model with the published one (`mteb_scores.csv`),
- NDCG@10 of each query with pytrec_eval on the same run,
- exact search with a product of all vectors in numpy.

Run it as ``python -m benchmarks.quality``; the collections and models lie in the folder
``TANDEM_SHARED`` names (default: ``shared`` beside the checkout). Vectors are kept in ``--store``, so
a second run embeds nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytrec_eval

from analysis import Evaluation, Judgements, document_scores, read_judgements
from analysis.stored import evaluate_corpus
from ingest.documents import open_source
from ingest.run import ingest
from retriever.corpus import Corpus, StoredVectors
from retriever.models import EmbeddingModel, load_model
from retriever.store.place import open_store

SHARED = Path(os.environ.get("TANDEM_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SEARCHED = 50
"""Queries whose exact search is compared with brute force."""


def main() -> None:
    """Run the benchmark."""
    arguments = _arguments()
    if not SHARED.is_dir():
        sys.exit(f"skipped: no folder {SHARED} with models and collections; name one with TANDEM_SHARED.")
    models = {name: load_model(str(SHARED / "models" / name)) for name in arguments.models}
    figures: dict[str, Any] = {}
    for collection in arguments.collections:
        figures |= _measure(collection, models, arguments.store)
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    inputs = {"models": arguments.models, "collections": arguments.collections}
    print(json.dumps({"figures": figures, "machine": machine, "inputs": inputs}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--collections", nargs="+", default=["nfcorpus", "scifact"])
    parser.add_argument("--models", nargs="+", default=["bge-small-en-v1.5", "e5-small-v2"])
    parser.add_argument("--store", type=Path, default=Path("benchmark-store"))
    parser.add_argument("--quick", action="store_true", help="one small collection, one quick model")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.collections, arguments.models = ["med"], ["wordllama-l2-supercat-256"]
    return arguments


def _measure(collection: str, models: dict[str, EmbeddingModel], folder: Path) -> dict[str, Any]:
    data = unpacked(collection, folder)
    store = open_store(folder / "store")
    keys = [model.spec.key for model in models.values()]
    summary = ingest(
        open_source(data),
        store,
        collection,
        models=list(models.values()),
        combine=[keys] if len(keys) > 1 else [],
        on_progress=lambda counts: print(
            f"\r{collection}: {counts.documents:,} documents", end="", file=sys.stderr
        ),
    )
    print(file=sys.stderr)
    print(f"\n{collection}: {summary.chunks:,} chunks, written now: {summary.written_chunks:,}")
    judgements = read_judgements(data / "queries.jsonl", data / "qrels" / "test.tsv")
    with Corpus.open(store, collection) as corpus:
        evaluation = evaluate_corpus(corpus, judgements, drop_own=collection == "arguana")
        stored = corpus.read_vectors(corpus.manifest.keys)
        queries = {key: model.embed_queries(judgements.texts) for key, model in _by_key(models).items()}
        figures = {
            **_published(collection, evaluation),
            f"{collection}: largest difference to pytrec_eval": _goal(
                _trec_difference(evaluation, judgements, stored, queries, own=collection == "arguana"), 1e-9
            ),
            f"{collection}: searches unlike brute force": _goal(_unlike(corpus, stored, queries), 0),
        }
    for name, figure in figures.items():
        print(
            f"  {name}: {figure['value']:.6g}"
            + ("" if figure["goal"] is None else f" (goal {figure['goal']})")
        )
    for candidate in evaluation.pairs:
        print(
            f"  {candidate.label}: NDCG@10 {candidate.mean:.4f}, "
            f"gain {evaluation.improvement(candidate):+.4f}"
        )
    return figures


def _by_key(models: dict[str, EmbeddingModel]) -> dict[str, EmbeddingModel]:
    return {model.spec.key: model for model in models.values()}


def unpacked(collection: str, folder: Path) -> Path:
    """Return the folder of a collection within `folder`, unpacked there the first time."""
    if not (folder / collection).is_dir():
        with tarfile.open(SHARED / "datasets" / f"{collection}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return folder / collection


def _goal(value: float, goal: float) -> dict[str, Any]:
    return {"value": value, "goal": goal, "met": value <= goal}


def _published(collection: str, evaluation: Evaluation) -> dict[str, Any]:
    with (SHARED / "datasets" / "mteb_scores.csv").open(encoding="utf-8", newline="") as file:
        published = {
            row["model"]: float(row["ndcg_at_10"])
            for row in csv.DictReader(file)
            if row["dataset"] == collection
        }
    figures: dict[str, Any] = {}
    for single in evaluation.singles:
        figures[f"{collection}: NDCG@10 of {single.name}"] = {"value": single.mean, "goal": None, "met": None}
        if single.name in published:
            difference = single.mean - published[single.name]
            figures[f"{collection}: NDCG@10 of {single.name} minus published"] = {
                "value": difference,
                "goal": None,
                "met": None,
            }
    return figures


def _trec_difference(
    evaluation: Evaluation,
    judgements: Judgements,
    stored: StoredVectors,
    queries: dict[str, Any],
    *,
    own: bool,
) -> float:
    documents = sorted(set(stored.doc_ids))
    column = {document: i for i, document in enumerate(documents)}
    chunk_document = np.array([column[document] for document in stored.doc_ids])
    qrels = {query: dict(grades) for query, grades in judgements.qrels.items()}
    measure = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"})
    worst = 0.0
    for single in evaluation.singles:
        scores = document_scores(queries[single.name] @ stored.by_model[single.name].T, chunk_document)
        run = {
            query: {d: float(s) for d, s in zip(documents, row, strict=True) if not (own and d == query)}
            for query, row in zip(judgements.query_ids, scores, strict=True)
        }
        theirs = measure.evaluate(run)
        expected = np.array([theirs[query]["ndcg_cut_10"] for query in judgements.query_ids])
        worst = max(worst, float(np.abs(expected - single.ndcg).max()))
    return worst


def _unlike(corpus: Corpus, stored: StoredVectors, queries: dict[str, Any]) -> int:
    """Count searches whose first ten scores differ from those of a product of all vectors in float64."""
    unlike = 0
    for key, vectors in queries.items():
        rows = vectors[:SEARCHED]
        start = time.perf_counter()
        rankings = corpus.search(rows, vector=key, k=10)
        print(f"  {key}: {(time.perf_counter() - start) / len(rows) * 1e3:.2f} ms a search", file=sys.stderr)
        exact = rows.astype(np.float64) @ stored.by_model[key].astype(np.float64).T
        unlike += sum(
            _differs(ranking, row, stored.chunk_ids) for ranking, row in zip(rankings, exact, strict=True)
        )
    return unlike


def _differs(ranking: Sequence[Any], scores: Any, chunk_ids: Sequence[str]) -> bool:
    best = np.sort(scores)[::-1][: len(ranking)]
    found = np.array([hit.score for hit in ranking])
    row = {chunk_id: i for i, chunk_id in enumerate(chunk_ids)}
    truly = np.array([scores[row[hit.point.point_id]] for hit in ranking])
    return not (np.allclose(found, best, atol=1e-6) and np.allclose(truly, best, atol=1e-6))


if __name__ == "__main__":
    main()

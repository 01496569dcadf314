"""What holds of the paper's claims: real models on judged collections, all pairs, all tables.

Every collection is ingested with every model and measured; the tables of `tandem reproduce` and the page of
`tandem report` are written to ``--out``. Models that read less than a chunk embed it in windows.

Run it as ``python -m benchmarks.paper``; models and collections lie in the folder ``TANDEM_SHARED`` names
(default: ``shared`` beside the checkout). Vectors are kept in ``--store``, so a second run embeds nothing;
the first takes hours on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from analysis import read_judgements, report_page
from analysis.collect import Collection, collect_results
from analysis.evaluation import Weighting
from analysis.framework.dissimilarity import pair_figures
from analysis.framework.pearson import pearson
from analysis.results.folder import write_results
from analysis.results.record import Results
from benchmarks.quality import SHARED, unpacked
from ingest.documents import open_source
from ingest.run import ingest
from retriever.models import load_model
from retriever.store.place import open_store
from retriever.store.protocol import VectorStore

COLLECTIONS = (
    "med",
    "hotpotqa-hipporag",
    "cisi",
    "covid-qa-passages",
    "limit-small",
    "nfcorpus",
    "scifact",
    "arguana",
)
MODELS = (
    "wordllama-l2-supercat-256",
    "universal-sentence-encoder-lite",
    "paraphrase-MiniLM-L3-v2",
    "all-MiniLM-L6-v2",
    "bge-small-en-v1.5",
    "e5-small-v2",
    "all-mpnet-base-v2",
)
DROP_OWN = {"arguana"}
"""Collections whose queries are documents, which must not find themselves."""

WEIGHTINGS: tuple[Weighting, ...] = ("equal", "calibrated")


def main() -> None:
    """Run the benchmark."""
    arguments = _arguments()
    if not SHARED.is_dir():
        sys.exit(f"skipped: no folder {SHARED} with models and collections; name one with TANDEM_SHARED.")
    store = open_store(arguments.store / "store")
    for collection in arguments.collections:
        _ingest(store, unpacked(collection, arguments.store), collection, arguments.models)
    judged = [_judged(name, arguments.store) for name in arguments.collections]
    results = collect_results(store, judged, cost=True)
    _write(results, arguments.out)
    figures = {name: {"value": value, "goal": None, "met": None} for name, value in _claims(results).items()}
    for name, figure in figures.items():
        print(f"  {name}: {figure['value']:.3f}")
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    inputs = {"models": arguments.models, "collections": arguments.collections}
    print(json.dumps({"figures": figures, "machine": machine, "inputs": inputs}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--collections", nargs="+", default=list(COLLECTIONS))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--store", type=Path, default=Path("benchmark-store"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "paper")
    parser.add_argument("--quick", action="store_true", help="the smallest collection, three quick models")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.collections, arguments.models = ["limit-small"], list(MODELS[:3])
        arguments.out = arguments.store / "quick-results"
    return arguments


def _ingest(store: VectorStore, data: Path, corpus: str, models: Sequence[str]) -> None:
    loaded = [load_model(str(SHARED / "models" / name), over_length="windows") for name in models]
    summary = ingest(open_source(data), store, corpus, models=loaded)
    print(f"{corpus}: {summary.chunks:,} chunks, written now: {summary.written_chunks:,}", file=sys.stderr)


def _judged(corpus: str, folder: Path) -> Collection:
    data = folder / corpus
    judgements = read_judgements(data / "queries.jsonl", data / "qrels" / "test.tsv")
    return Collection(corpus=corpus, judgements=judgements, drop_own=corpus in DROP_OWN)


def _write(results: Results, out: Path) -> None:
    """Write the manifest, the tables and the page; what each query scored is too much to keep in git."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        whole = Path(scratch) / "results"
        write_results(results, whole, figures=False)
        shutil.copyfile(whole / "manifest.json", out / "manifest.json")
        shutil.rmtree(out / "tables", ignore_errors=True)
        shutil.copytree(whole / "tables", out / "tables", ignore=shutil.ignore_patterns("*.tex"))
    (out / "report.html").write_text(report_page(_without_texts(results)), encoding="utf-8")


def _without_texts(results: Results) -> Results:
    """Leave ids alone of the queries: the collections have licences of their own."""
    collections = [
        replace(one, query_texts=dict.fromkeys(one.query_texts, "")) for one in results.collections
    ]
    return replace(results, collections=tuple(collections))


def _claims(results: Results) -> dict[str, float]:
    """Return, over all collections, how many pairs gain and how well the gains are foretold."""
    figures: dict[str, list[float]] = defaultdict(list)
    for collection in results.collections:
        evaluation = collection.evaluation
        for pair in evaluation.pairs:
            gain = evaluation.improvement(pair)
            figures[f"share of pairs that gain, {pair.weighting} weights"].append(float(gain > 0))
            figures[f"mean gain over the better half, {pair.weighting} weights"].append(gain)
        for weighting in WEIGHTINGS:
            for measure, alpha in (("baseline", 0.0), *results.settings.alphas.items()):
                known = "cka" if measure == "baseline" else measure  # at 0 no measure has a say
                found = pair_figures(evaluation, measure=known, weighting=weighting)
                rho = pearson(found.adjusted(alpha), found.gain)
                figures[f"mean ρ of gain and adjusted dissimilarity, {measure}, {weighting} weights"].append(
                    rho
                )
    return {name: mean(values) for name, values in figures.items()}


if __name__ == "__main__":
    main()

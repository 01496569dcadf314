"""How fast an ingest is, against what the libraries do, and how much memory it takes.

Side by side in one run, interleaved, on documents of NFCorpus with real models:

- `SentenceTransformer.encode`, sorted by its own code in batches of 32, on the very chunks that Tandem
  makes, which the others have to cut and store as well;
- LlamaIndex's `IngestionPipeline` with its splitter (256 tokens of the same tokenizer), its
  `HuggingFaceEmbedding` and its `QdrantVectorStore` in memory, as their documentation shows;
- Tandem with the same model on torch, with copies of it in float32 on ONNX Runtime and quantised on ONNX
  Runtime and OpenVINO, with a second model alone, and with both models at once.

Then a second run with nothing changed, one with a hundredth of the documents changed, and the memory of
runs over generated corpora of two sizes. With ``--parts quality`` the whole collection is embedded in
float32 and quantised, and NDCG@10 is compared; vectors are kept in ``--store``.

Run it as ``python -m benchmarks.ingest``. The collection lies in the folder ``TANDEM_SHARED`` names
(default: ``shared`` beside the checkout).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from analysis.stored import evaluate_corpus
from benchmarks.quality import SHARED, unpacked
from ingest import IngestSummary, ingest, open_source
from ingest.chunks import chunker_for
from retriever.corpus import Corpus
from retriever.models import PACKAGED, load_model, quantize
from retriever.models.protocol import EmbeddingModel
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore
from retriever.store.place import open_store

FIRST = "minilm"
SECOND = "wordllama"
CHANGED = 100
"""One document of so many is changed."""

WORDS_PER_DOCUMENT = 60
MEMORY_LIMIT_MIB = 600
"""Of anonymous memory that a run takes, libraries and model included, whatever the corpus: all but what the
embedded engine keeps of each chunk, which is measured by writing the same points without Tandem."""

COPIES = ("float32", "int8-dynamic", "int8-static")
"""Methods of `quantize` by which copies of the first model are made."""

PARTS = ("rates", "reruns", "memory", "quality")

Variant = Callable[[], float]


def main() -> None:
    """Run the benchmark."""
    arguments = _arguments()
    if not SHARED.is_dir():
        sys.exit(f"skipped: no folder {SHARED} with collections; name one with TANDEM_SHARED.")
    data = unpacked("nfcorpus", arguments.store)
    documents = [
        item for item in islice(open_source(data), arguments.documents) if isinstance(item, Document)
    ]
    figures: dict[str, Any] = {}
    copies = {method: _copy(method, arguments.store) for method in COPIES}
    if "rates" in arguments.parts:
        figures |= _rates(documents, copies, repeats=arguments.repeats)
    if "reruns" in arguments.parts:
        figures |= _reruns(documents)
    if "memory" in arguments.parts:
        figures |= _memory(arguments.generated)
    if "quality" in arguments.parts:
        figures |= _quality(data, arguments.store, copies)
    for name, figure in figures.items():
        goal = (
            ""
            if figure["goal"] is None
            else f" (goal {figure['goal']}: {'met' if figure['met'] else 'MISSED'})"
        )
        print(f"  {name}: {figure['value']:.4g}{goal}")
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    inputs = {
        "documents": len(documents),
        "repeats": arguments.repeats,
        "generated": arguments.generated,
        "models": [FIRST, SECOND],
    }
    print(json.dumps({"figures": figures, "machine": machine, "inputs": inputs}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=150, help="of the collection, for the rates")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--generated", type=int, nargs=2, default=[50_000, 200_000], help="documents")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:3])
    parser.add_argument("--store", type=Path, default=Path("benchmark-store"))
    parser.add_argument("--quick", action="store_true", help="few documents, one repeat")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.documents, arguments.repeats, arguments.generated = 20, 1, [1_000, 4_000]
    return arguments


# ── rates ────────────────────────────────────────────────────────────────────────────────────────────────


def _rates(documents: Sequence[Document], copies: Mapping[str, Path], *, repeats: int) -> dict[str, Any]:
    first, second = load_model(FIRST), load_model(SECOND)
    full, dynamic, static = (load_model(str(copies[method])) for method in COPIES)
    both = chunker_for([first, second])
    texts = [chunk.text for document in documents for chunk in both.chunks(document, "c")]
    variants: dict[str, Variant] = {
        "encode": lambda: _encode(first, texts),
        "tandem": lambda: _tandem(documents, [first]),
        "llama-index": lambda: _llama_index(first, documents),
        "tandem, ONNX float32": lambda: _tandem(documents, [full]),
        "tandem, int8-dynamic": lambda: _tandem(documents, [dynamic]),
        "tandem, int8-static": lambda: _tandem(documents, [static]),
        "tandem, second model": lambda: _tandem(documents, [second]),
        "tandem, both models": lambda: _tandem(documents, [first, second]),
    }
    seconds = _interleaved(variants, repeats)
    print(f"{len(documents)} documents, {len(texts)} chunks, {repeats} repeats; seconds (lowest to highest):")
    for name, taken in seconds.items():
        print(f"  {name}: {np.median(taken):.2f} ({min(taken):.2f} to {max(taken):.2f})")

    def ratio(above: Sequence[str], below: Sequence[str]) -> float:
        """Return the median over the repeats of the ratio within each."""
        return float(
            np.median(
                [
                    sum(seconds[name][i] for name in above) / sum(seconds[name][i] for name in below)
                    for i in range(repeats)
                ]
            )
        )

    return {
        "rate against encode": _at_least(ratio(["encode"], ["tandem"]), 0.95),
        "rate against IngestionPipeline, float32 on torch": _at_least(
            ratio(["llama-index"], ["tandem"]), 1.5
        ),
        "rate against IngestionPipeline, float32 on ONNX Runtime": _at_least(
            ratio(["llama-index"], ["tandem, ONNX float32"]), 1.5
        ),
        "rate against IngestionPipeline, int8-dynamic": _at_least(
            ratio(["llama-index"], ["tandem, int8-dynamic"]), 3.0
        ),
        "rate against IngestionPipeline, int8-static": _plain(
            ratio(["llama-index"], ["tandem, int8-static"])
        ),
        "time of two models against the sum of each": _at_most(
            ratio(["tandem, both models"], ["tandem", "tandem, second model"]), 1.02
        ),
    }


def _interleaved(variants: dict[str, Variant], repeats: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for name, variant in variants.items():
        print(f"\rwarming up: {name:30}", end="", file=sys.stderr)
        if not name.startswith("tandem, both"):
            variant()
    for i in range(repeats):
        for name, variant in variants.items():
            print(f"\rrepeat {i + 1}: {name:30}", end="", file=sys.stderr)
            seconds[name].append(variant())
    print(file=sys.stderr)
    return seconds


def _encode(model: EmbeddingModel, texts: Sequence[str]) -> float:
    library = _library_model(_folder_of(model))
    start = time.perf_counter()
    library.encode(list(texts), batch_size=32, show_progress_bar=False)
    return time.perf_counter() - start


def _llama_index(model: EmbeddingModel, documents: Sequence[Document]) -> float:
    from llama_index.core import Document as LlamaDocument
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient

    folder = _folder_of(model)
    tokenizer = _library_model(folder).tokenizer
    splitter = SentenceSplitter(
        chunk_size=256,
        chunk_overlap=0,
        tokenizer=lambda text: tokenizer.encode(text, truncation=False, verbose=False),
    )
    pipeline = IngestionPipeline(
        transformations=[splitter, _llama_embedding(folder)],
        vector_store=QdrantVectorStore("c", client=QdrantClient(":memory:")),
        disable_cache=True,
    )
    given = [LlamaDocument(text=document.text, doc_id=document.doc_id) for document in documents]
    start = time.perf_counter()
    pipeline.run(documents=given)
    return time.perf_counter() - start


@cache
def _library_model(folder: str) -> Any:
    """Return the model as the library loads it, apart from ours."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(folder)


@cache
def _llama_embedding(folder: str) -> Any:
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    return HuggingFaceEmbedding(model_name=folder, device="cpu")


def _folder_of(model: EmbeddingModel) -> str:
    """Return the folder of a packaged model."""
    package = PACKAGED[model.spec.source]
    found = find_spec(package.package)
    assert found is not None
    assert found.submodule_search_locations
    return str(Path(found.submodule_search_locations[0]) / package.files[0])


def _tandem(documents: Sequence[Document], models: Sequence[EmbeddingModel]) -> float:
    from retriever.models.tokenizer import forget_tokens

    forget_tokens()  # what an earlier variant tokenised is no merit of this one
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        ingest(documents, EmbeddedStore(folder), "c", models=models)
        return time.perf_counter() - start


# ── second runs ──────────────────────────────────────────────────────────────────────────────────────────


def _reruns(documents: Sequence[Document]) -> dict[str, Any]:
    model = load_model(FIRST)
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(folder)

        def run(given: Sequence[Document]) -> IngestSummary:
            return ingest(given, store, "c", models=[model])

        first, again = run(documents), run(documents)
        changed = [
            replace(document, text=f"{document.text}\n\nAnd one sentence more.")
            if i % CHANGED == 0
            else document
            for i, document in enumerate(documents)
        ]
        chunker = chunker_for([model])
        before = {chunk.text for document in documents for chunk in chunker.chunks(document, "c")}
        after = {chunk.text for document in changed for chunk in chunker.chunks(document, "c")}
        update = run(changed)
    key = model.spec.key
    print(
        f"first run {first.seconds:.1f} s, again {again.seconds:.2f} s; {update.changed} documents changed: "
        f"{update.models[key].texts} texts embedded"
    )
    return {
        "time of a run with nothing changed, of the first": _at_most(again.seconds / first.seconds, 0.03),
        "texts embedded with nothing changed": _at_most(again.models[key].texts, 0),
        "texts embedded beyond the new ones, a hundredth changed": _at_most(
            update.models[key].texts - len(after - before), 0
        ),
    }


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────


def _memory(sizes: Sequence[int]) -> dict[str, Any]:
    """Run over generated corpora, each in a process of its own; what the engine takes is measured apart."""
    figures = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            print(f"memory: {size:,} documents", file=sys.stderr)
            run, engine = (_probed(f"_probe_{what}", Path(folder), size) for what in ("run", "engine"))
        print(
            f"{size:,} chunks: peak of anonymous memory {run['peak']:.0f} MiB, {run['before']:.0f} "
            f"before the run; the engine alone takes {engine['growth']:.0f} for these points; "
            f"{run['rate']:,.0f} chunks a second"
        )
        name = f"peak of memory beyond the engine's, MiB, {size:,} chunks"
        figures[name] = _at_most(run["peak"] - engine["growth"], MEMORY_LIMIT_MIB)
    return figures


def _probed(probe: str, folder: Path, size: int) -> dict[str, float]:
    code = f"import sys; from benchmarks import ingest; ingest.{probe}(sys.argv[1], int(sys.argv[2]))"
    command = [sys.executable, "-c", code, str(folder), str(size)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    result: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return result


def _probe_run(folder: str, size: int) -> None:
    """Print the peak of anonymous memory of a run over `size` documents."""
    model = load_model(SECOND)
    model.embed_chunks(["warm up"])
    before = _anonymous_mib()
    with _Peak() as peak:
        summary = ingest(_generated(size), EmbeddedStore(folder), "c", models=[model])
    assert summary.chunks == size, summary
    print(json.dumps({"peak": peak.mib, "before": before, "rate": size / summary.seconds}))


def _probe_engine(folder: str, size: int) -> None:
    """Print by how much anonymous memory grows while the same points are written by the engine alone."""
    store = EmbeddedStore(folder)
    source = store.open("c")
    record = source.read_record()
    sizes = {model["name"].rsplit("/", 1)[-1]: model["dimensions"] for model in record["manifest"]["models"]}
    copy = store.create("copy", vectors=sizes, record=record)
    first = next(source.scroll(with_vectors=tuple(sizes), batch=64))
    copy.upsert(first)
    before = _anonymous_mib()
    with _Peak() as peak:
        for points in source.scroll(with_vectors=tuple(sizes), batch=64):
            copy.upsert(points)
        assert copy.count() == size
        copy.flush()
    print(json.dumps({"growth": peak.mib - before}))


def _generated(size: int) -> Iterator[Document]:
    """Yield documents of one chunk, no two alike."""
    rng = np.random.default_rng(0)
    words = np.array([f"{a}{b}" for a in "bdfgklmnprst" for b in ("al", "en", "ir", "ot", "um")])
    for i in range(size):
        text = " ".join(words[rng.integers(len(words), size=WORDS_PER_DOCUMENT)])
        yield Document(doc_id=f"document-{i}", text=f"{i} {text}")


class _Peak:
    """The highest anonymous memory of this process within ``with``."""

    def __init__(self) -> None:
        self.mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.mib = max(self.mib, _anonymous_mib())


def _anonymous_mib() -> float:
    """Return the memory of this process that no file stands behind: what cannot be given back."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("expected RssAnon in /proc/self/status: this figure needs Linux")


# ── quality ──────────────────────────────────────────────────────────────────────────────────────────────


def _quality(data: Path, folder: Path, copies: Mapping[str, Path]) -> dict[str, Any]:
    """Compare NDCG@10 of the model and of its quantised copies on the whole collection."""
    from analysis import read_judgements

    quantised = {method: load_model(str(copies[method])) for method in COPIES if method != "float32"}
    models = [load_model(FIRST), *quantised.values()]
    store = open_store(folder / "store")
    ingest(open_source(data), store, "nfcorpus-quantised", models=models)
    judgements = read_judgements(data / "queries.jsonl", data / "qrels" / "test.tsv")
    with Corpus.open(store, "nfcorpus-quantised") as corpus:
        evaluation = evaluate_corpus(corpus, judgements)
    means = {single.name: single.mean for single in evaluation.singles}
    print("NDCG@10 on NFCorpus: " + ", ".join(f"{name} {mean:.4f}" for name, mean in means.items()))
    full = means[models[0].spec.key]
    return {
        f"NDCG@10 lost by {method}, NFCorpus": _plain(full - means[model.spec.key])
        for method, model in quantised.items()
    }


def _copy(method: str, folder: Path) -> Path:
    """Return the folder of a copy of the first model, made the first time."""
    copy = folder / f"{FIRST}-{method}"
    if not copy.is_dir():
        measured = quantize(FIRST, copy, method=method).measured
        print(f"{copy.name}: mean cosine to the original {measured.agreement_mean:.4f}, {measured}")
    return copy


def _at_least(value: float, goal: float) -> dict[str, Any]:
    return {"value": value, "goal": goal, "met": value >= goal}


def _at_most(value: float, goal: float) -> dict[str, Any]:
    return {"value": value, "goal": goal, "met": value <= goal}


def _plain(value: float) -> dict[str, Any]:
    return {"value": value, "goal": None, "met": None}


if __name__ == "__main__":
    main()

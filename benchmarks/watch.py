"""How often a watch calls out, when it should not and when it should, and what it costs those who ask.

- ``alarms``: real questions of one collection, drawn at random for the time of deployment and for now, over
  and over: the share of draws that are called drifted, against what the confidence allows, with and without
  the minimum shift; and any of all looks at a stream of the questions that are left.
- ``drift``: the same, where a share of the live questions comes from another collection.
- ``cost``: median and 95th percentile of the time of an answer with a watch over that without, turn about:
  questions asked back to back, and ten a second; from the text, and with vectors of the question ready, which
  leaves search alone.

Run it as ``python -m benchmarks.watch``. Collections and models lie in the folder ``TANDEM_SHARED`` names
(default: ``shared`` beside the checkout); the corpus is kept in ``--store``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import SHARED, unpacked
from ingest import ingest, open_source
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.models import load_model
from retriever.models.protocol import EmbeddingModel, FloatArray
from retriever.records import ModelSpec
from retriever.search import Searcher, Wish, stored_models
from retriever.serving import Serving
from retriever.store.embedded import EmbeddedStore
from retriever.watch import Observation, Watch, WatchSettings
from retriever.watch.baselines import read_texts
from retriever.watch.drift import changes_between
from retriever.watch.measuring import measured_queries

MODELS = ("all-MiniLM-L6-v2", "bge-small-en-v1.5")
COLLECTION = "covid-qa-passages"
OTHERS = ("limit-small", "scifact", "nfcorpus", "hotpotqa-hipporag")
SHARES = (0.1, 0.2, 0.3, 0.5)
BASELINE = 200
LIVE = (50, 200, 1000)
LOOK_EVERY = 100
PER_SECOND = 10.0
K = 10

Figures = dict[str, Any]


def main() -> None:
    """Run the benchmark."""
    arguments = _arguments()
    if not SHARED.is_dir():
        sys.exit(f"skipped: no folder {SHARED} with models and collections; name one with TANDEM_SHARED.")
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        texts = {name: _questions(name, Path(folder)) for name in (COLLECTION, *OTHERS)}
        with _corpus(arguments.store, Path(folder)) as corpus:
            deployment = deploy(corpus, arguments.models)
            models = stored_models(corpus, deployment.combination.keys)
            searcher = Searcher(corpus, deployment, models=models)
            if "cost" in arguments.parts:
                figures |= cost(searcher, models, texts[COLLECTION], arguments)
            if {"alarms", "drift"} & set(arguments.parts):
                seen = {
                    name: measured_queries(searcher, found[: arguments.questions])
                    for name, found in texts.items()
                }
                for name, part in {"alarms": alarms, "drift": drift}.items():
                    if name in arguments.parts:
                        figures |= part(seen, arguments)
    for name, figure in figures.items():
        print(f"  {name}: {figure['value']:.4g}{_verdict(figure)}")
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    inputs = {
        name: getattr(arguments, name) for name in ("models", "draws", "questions", "turns", "asked", "parts")
    }
    print(json.dumps({"figures": figures, "machine": machine, "inputs": inputs}))


def alarms(seen: Mapping[str, Sequence[Observation]], arguments: argparse.Namespace) -> Figures:
    """Return how often nothing is called something."""
    every = seen[COLLECTION]
    figures: Figures = {}
    for confidence, shift in ((0.99, 0.1), (0.99, 0.0), (0.95, 0.0)):
        rng = np.random.default_rng(0)  # the same draws for all
        settings = WatchSettings(confidence=confidence, minimum_shift=shift)
        for live in LIVE:
            if BASELINE + live > len(every):
                continue
            rate = np.mean(
                [
                    _is_drifted(drawn[:BASELINE], drawn[BASELINE:], settings)
                    for drawn in _draws(every, BASELINE + live, arguments.draws, rng)
                ]
            )
            name = f"called drifted at {confidence} and shift {shift}, {BASELINE} against {live} of a kind"
            # three standard deviations of a share of so many draws
            slack = 3 * math.sqrt(confidence * (1 - confidence) / arguments.draws)
            figures[name] = _goal(float(rate), round(1 - confidence + slack, 4))
    streams = [
        any(
            _is_drifted(drawn[:BASELINE], drawn[BASELINE:end], WatchSettings())
            for end in range(BASELINE + LOOK_EVERY, len(drawn) + 1, LOOK_EVERY)
        )
        for drawn in _draws(every, len(every), arguments.draws // 10, np.random.default_rng(0))
    ]
    looks = (len(every) - BASELINE) // LOOK_EVERY
    figures[f"called drifted in any of {looks} looks at a stream of one kind"] = _plain(
        float(np.mean(streams))
    )
    return figures


def drift(seen: Mapping[str, Sequence[Observation]], arguments: argparse.Namespace) -> Figures:
    """Return how often another kind of questions is noticed, by its share of the live ones."""
    rng, every, settings = np.random.default_rng(1), seen[COLLECTION], WatchSettings()
    figures: Figures = {}
    for other in OTHERS:
        for share in SHARES:
            strange = min(int(share * BASELINE), len(seen[other]))
            usual = int(strange / share) - strange
            found = [
                _is_drifted(
                    drawn[:BASELINE],
                    [*drawn[BASELINE:], *next(_draws(seen[other], strange, 1, rng))],
                    settings,
                )
                for drawn in _draws(every, BASELINE + usual, arguments.draws // 10, rng)
            ]
            name = f"called drifted where {share:.0%} of {usual + strange} are of {other}"
            figures[name] = _plain(float(np.mean(found)))
    return figures


def cost(
    searcher: Searcher,
    models: Mapping[str, EmbeddingModel],
    texts: Sequence[str],
    arguments: argparse.Namespace,
) -> Figures:
    """Return what a watch does to the time of an answer."""
    asked = texts[: arguments.asked]
    ready: dict[str, EmbeddingModel] = {
        key: Ready(model.spec, dict(zip(asked, model.embed_queries(asked), strict=True)))
        for key, model in models.items()
    }
    figures: Figures = {}
    kinds: dict[str, tuple[Mapping[str, EmbeddingModel], float]] = {
        "from the text, back to back": (models, 0.0),
        "search alone, back to back": (ready, 0.0),
        f"from the text, {PER_SECOND:.0f} a second": (models, 1 / PER_SECOND),
    }
    for name, (serving_models, pause) in kinds.items():
        plain, watched, kept = _turns(searcher, serving_models, asked, pause, arguments.turns)
        for word, quantile in (("median", 0.5), ("95th percentile", 0.95)):
            ratios = [
                np.quantile(b, quantile) / np.quantile(a, quantile)
                for a, b in zip(plain, watched, strict=True)
            ]
            figures[f"{word} of an answer with a watch over that without, {name}"] = _plain(
                float(np.median(ratios))
            )
        figures[f"milliseconds of an answer without, {name}"] = _plain(1e3 * float(np.median(plain)))
        figures[f"share of the queries that were observed, {name}"] = _plain(kept)
    return figures


class Ready:
    """A model that knows the vectors of some queries."""

    def __init__(self, spec: ModelSpec, rows: Mapping[str, FloatArray]) -> None:
        self.spec = spec
        self._rows = rows

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return rows that were made before."""
        return np.array([self._rows[text] for text in texts])

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        """Refuse: no chunk is embedded here."""
        raise NotImplementedError


def _turns(
    searcher: Searcher, models: Mapping[str, EmbeddingModel], texts: Sequence[str], pause: float, turns: int
) -> tuple[list[list[float]], list[list[float]], float]:
    """Return seconds of each answer without and with a watch, a list per turn, and the share observed."""
    serving = Serving.of(Searcher(searcher.corpus, searcher.deployment, models=models))
    questions = cycle(texts)
    plain, watched, kept = [], [], 0
    _ask(serving, list(islice(questions, 20)), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(turns):
            plain.append(_ask(serving, texts, pause))
            watch = Watch(serving, log=folder)
            watched.append(_ask(serving, texts, pause))
            kept += sum(path.read_bytes().count(b"\n") for path in Path(folder).rglob("*.jsonl"))
            watch.close()  # measures what waits, which no longer counts
            for path in Path(folder).rglob("*.jsonl"):
                path.unlink()
    return plain, watched, kept / (turns * len(texts))


def _ask(serving: Serving, texts: Sequence[str], pause: float) -> list[float]:
    seconds = []
    for text in texts:
        started = time.perf_counter()
        serving.ask([text], Wish(k=K)).result()
        seconds.append(time.perf_counter() - started)
        time.sleep(max(0.0, pause - seconds[-1]))
    return seconds


def _is_drifted(before: Sequence[Observation], now: Sequence[Observation], settings: WatchSettings) -> bool:
    return any(change.is_drifted for change in changes_between(before, now, settings))


def _draws(
    every: Sequence[Observation], size: int, count: int, rng: np.random.Generator
) -> Iterator[list[Observation]]:
    for _ in range(count):
        yield [every[i] for i in rng.permutation(len(every))[:size]]


def _questions(collection: str, folder: Path) -> list[str]:
    return read_texts(unpacked(collection, folder) / "queries.jsonl")


def _corpus(store: Path, folder: Path) -> Corpus:
    place = EmbeddedStore(store)
    if COLLECTION not in place.names():
        models = [load_model(str(SHARED / "models" / name)) for name in MODELS]
        ingest(open_source(unpacked(COLLECTION, folder) / "corpus.jsonl"), place, COLLECTION, models=models)
    return Corpus.open(place, COLLECTION)


def _goal(value: float, goal: float) -> dict[str, Any]:
    return {"value": value, "goal": goal, "met": value <= goal}


def _plain(value: float) -> dict[str, Any]:
    return {"value": value, "goal": None, "met": None}


def _verdict(figure: Mapping[str, Any]) -> str:
    if figure["goal"] is None:
        return ""
    return f" (goal {figure['goal']}: {'met' if figure['met'] else 'MISSED'})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="that are served")
    parser.add_argument("--draws", type=int, default=1000, help="of questions, a tenth of it for drift")
    parser.add_argument("--questions", type=int, default=2000, help="of each collection at most")
    parser.add_argument("--turns", type=int, default=10, help="without and with a watch")
    parser.add_argument("--asked", type=int, default=60, help="questions in a turn")
    parser.add_argument(
        "--parts", nargs="+", choices=["alarms", "drift", "cost"], default=["alarms", "drift", "cost"]
    )
    parser.add_argument("--store", type=Path, default=Path("benchmark-store"))
    parser.add_argument("--quick", action="store_true", help="few questions, few draws, few turns")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.draws, arguments.questions, arguments.turns, arguments.asked = 200, 400, 2, 30
    return arguments


if __name__ == "__main__":
    main()

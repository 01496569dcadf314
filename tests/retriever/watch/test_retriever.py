"""One line attaches a watch to LlamaIndex's retriever; the command shows what comes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.llama.retriever import TandemRetriever
from retriever.models import load_model
from retriever.store.embedded import EmbeddedStore
from retriever.watch import WatchSettings

Command = Callable[..., Any]
PAIR = "all-MiniLM-L6-v2+word-llama-l2-supercat-256"
SETTINGS = WatchSettings(first_queries=60)

THINGS = [
    "quokkas",
    "joshua-trees",
    "oceanic-trenches",
    "slide-rules",
    "disco",
    "mosaics",
    "otters",
    "tapirs",
    "kites",
    "lighthouses",
    "figs",
    "saunas",
    "accordions",
    "yurts",
    "fjords",
    "geysers",
    "kimchi",
    "tango",
    "chess",
    "bonsai",
    "ferns",
    "falcons",
    "canoes",
    "origami",
    "waffles",
    "glaciers",
    "marbles",
    "opera",
    "tulips",
    "badgers",
]


@pytest.fixture(scope="module")
def python_reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the openings of the language reference by two real models, deployed."""
    from ingest import ingest
    from tandem.reference import CORPUS, documents

    folder = tmp_path_factory.mktemp("reference") / "tandem-store"
    models = [load_model("minilm"), load_model("wordllama")]
    openings = [replace(document, text=document.text[:1500]) for document in documents()]
    ingest(openings, EmbeddedStore(folder), CORPUS, models=models)
    with Corpus.open(EmbeddedStore(folder), CORPUS) as corpus:
        deploy(corpus, ["minilm", "wordllama"])
    return folder


@pytest.fixture(scope="module")
def questions() -> list[str]:
    """Return questions about Python, in an order that has nothing to do with their topics."""
    import numpy as np

    lines = (Path(__file__).parents[3] / "tandem/questions/queries.jsonl").read_text(encoding="utf-8")
    texts = [json.loads(line)["text"] for line in lines.splitlines()]
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]


@pytest.fixture
def retriever(python_reference: Path) -> Iterator[TandemRetriever]:
    retriever = TandemRetriever.from_deployment("python-reference", store=python_reference)
    yield retriever
    retriever.close()


def likes() -> list[str]:
    return [f"Who {verb} {thing.replace('-', ' ')}?" for thing in THINGS for verb in ("likes", "dislikes")]


def test_questions_of_another_domain_raise_the_alarm_and_others_do_not(
    retriever: TandemRetriever, questions: list[str], tmp_path: Path, command: Command
) -> None:
    watch = retriever.watch(tmp_path / "log", settings=SETTINGS)
    for question in questions:
        retriever.using(similarity_top_k=3).retrieve(question)
    steady = watch.report()
    assert (steady.status, steady.baseline_queries, steady.live_queries) == (
        "steady",
        60,
        len(questions) - 60,
    )

    async def ask() -> None:
        await asyncio.gather(*(retriever.aretrieve(question) for question in likes()))

    asyncio.run(ask())
    drifted = watch.report()
    assert drifted.is_drifted
    assert drifted.changes[0].is_drifted
    assert drifted.changes[0].live.median < drifted.changes[0].baseline.median

    on = ("watch", "--corpus", "python-reference", "--log", tmp_path / "log")
    shown = command(*on)  # the app has the store open meanwhile
    assert (shown.status, shown.err) == (0, "")
    # the command takes the first 200 queries for the time of deployment
    assert "Not enough queries" in shown.out


def test_the_command_measures_a_time_of_deployment_and_compares_with_it(
    python_reference: Path, questions: list[str], tmp_path: Path, command: Command
) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text("".join(json.dumps({"text": text}) + "\n" for text in questions))
    on = ("watch", "--corpus", "python-reference", "--store", python_reference, "--log", tmp_path / "log")
    made = command(*on, "--baseline", queries, "--json")
    assert made.status == 0, made.err
    assert (made.json["status"], made.json["source"]) == ("not enough queries", "queries")
    assert (made.json["baseline_queries"], made.json["more"]) == (len(questions), 50)
    kept = next((tmp_path / "log").rglob("baseline.json")).read_text()
    assert questions[0] not in kept

    retriever = TandemRetriever.from_deployment("python-reference", store=python_reference)
    retriever.watch(tmp_path / "log")
    for question in likes():
        retriever.retrieve(question)
    retriever.close()
    drifted = command(*on)
    assert (drifted.status, drifted.err) == (0, "")
    assert "score of the first hit" in drifted.out
    assert drifted.out.count("drifted") >= 1
    assert "Drifted: comparing 60 live queries" in drifted.out
    failed = command(*on, "--fail", "--json")
    assert failed.status == 6
    assert failed.json["status"] == "drifted"
    assert failed.err.startswith("error: corpus 'python-reference', deployment all-MiniLM-L6-v2+")
    none = command(*on, "--fail", "--since", "0m")
    assert (none.status, "Not enough queries: 50 more" in none.out) == (0, True)
    assert command(*on, "--since", "1d", "--json").json["live_queries"] == 60
    assert command(*on, "--since", "2099-01-01", "--json").json["live_queries"] == 0
    assert command(*on, "--serve", PAIR).status == 0

    texts = command(
        *on,
        "--baseline",
        queries,
        "--keep-queries",
        "--confidence",
        "0.9",
        "--minimum-shift",
        "0.3",
        "--json",
    )
    assert (texts.json["settings"]["confidence"], texts.json["settings"]["minimum_shift"]) == (0.9, 0.3)
    assert (
        questions[0]
        in json.loads(next((tmp_path / "log").rglob("baseline.json")).read_text())["observations"][0]["texts"]
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected watched deployments of corpus 'guide', found none"),
        (["--serve", "a+b"], "expected watched 'a+b' of corpus 'guide', found none"),
        (["--since", "yesterday"], "--since: expected 7d, 24h, 30m or a time such as"),
        (["--keep-queries"], "--keep-queries: expected --baseline"),
        (["--baseline", "none.jsonl"], "none.jsonl: expected a file of queries"),
        (["--confidence", "1"], "confidence: expected a number between 0 and 1"),
        (["--minimum-shift", "2"], "minimum_shift: expected a share"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_told_is_a_usage_error(command: Command, arguments: list[str], words: str) -> None:
    ran = command("watch", "-c", "guide", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert words in ran.err

"""`tandem demo`: the whole path on real text with real models, from documents to an answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from retriever import console
from retriever.console import QuietOption

if TYPE_CHECKING:
    from analysis.verdict import Verdict
    from retriever.corpus import Corpus
    from retriever.store.protocol import VectorStore

MODELS = ("minilm", "wordllama")
QUESTION = "Why does my default list argument keep growing between calls?"
SHOWN_CHARACTERS = 600


def demo(
    ask: Annotated[str, typer.Option(help="A question of your own about the Python language.")] = "",
    store: Annotated[Path, typer.Option(help="Folder for what the demo stores.")] = Path("demo-store"),
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many chunks to show.")] = 3,
    quiet: QuietOption = False,  # noqa: FBT002  # a flag is a boolean
) -> None:
    """Compare two small models on Python's own language reference, deploy the winner, ask it.

    A second run embeds nothing again; with --ask it goes straight to the answer.
    """
    from retriever.store.place import open_store

    out = Console(highlight=False)
    place = open_store(store)
    if not (ask and _is_deployed(place)):
        _prepare(out, place, quiet=quiet)
    _answer(out, ask or QUESTION, store=store, top_k=top_k)
    out.print('Ask your own: tandem demo --ask "..."', style="dim")


def _is_deployed(place: VectorStore) -> bool:
    from retriever.corpus import Corpus
    from tandem.reference import CORPUS

    if CORPUS not in place.names():
        return False
    with Corpus.open(place, CORPUS) as corpus:
        return bool(corpus.deployments)


def _prepare(out: Console, place: VectorStore, *, quiet: bool) -> None:
    from retriever.corpus import Corpus
    from tandem.reference import CORPUS

    out.rule("1. Ingest: Python's language reference, two models, one pass", align="left")
    _ingest(out, place, quiet=quiet)
    with Corpus.open(place, CORPUS) as corpus:
        out.rule("2. Evaluate: each model alone, and both together", align="left")
        verdict = _evaluate(out, corpus)
        out.rule("3. Deploy what the verdict says", align="left")
        _deploy(out, corpus, verdict)


def _ingest(out: Console, place: VectorStore, *, quiet: bool) -> None:
    from ingest.display import BarReporter, Reporter, show_summary
    from ingest.run import ingest
    from retriever.models import load_model
    from tandem.reference import CORPUS, documents

    models = [load_model(name) for name in MODELS]
    keys = [model.spec.key for model in models]
    topics = list(documents())
    reporter = Reporter() if quiet or not console.notes.is_terminal else BarReporter()
    with reporter.over(CORPUS, place.location, len(topics)) as shown:
        summary = ingest(topics, place, CORPUS, models=models, combine=[keys], on_progress=shown.progress)
    show_summary(out, summary, quiet=True)  # its notes are for those who know what to expect


def _evaluate(out: Console, corpus: Corpus) -> Verdict:
    from analysis.commands.evaluate import report
    from analysis.results.record import Settings
    from analysis.stored import evaluate_corpus
    from tandem.reference import questions

    judgements, left_out = questions(corpus.document_ids())
    if left_out:
        out.print(f"Questions left out, because this Python's reference lacks their topics: {left_out}.")
    evaluation = evaluate_corpus(corpus, judgements)
    return report(evaluation, settings=Settings(), as_json=False)


def _deploy(out: Console, corpus: Corpus, verdict: Verdict) -> None:
    from retriever import deploy
    from retriever.commands.words import described

    serve = verdict.serve
    weights = dict(zip(serve.models, serve.weights, strict=True))
    weighting = weights if serve.weighting == "explicit" else serve.weighting
    deployment = deploy(corpus, serve.models, weighting=weighting, evidence=verdict.to_json())
    out.print(f"Serving {described(deployment)}.", markup=False)


def _answer(out: Console, question: str, *, store: Path, top_k: int) -> None:
    from retriever.llama.retriever import TandemRetriever
    from tandem.reference import CORPUS

    out.rule("Ask, through the LlamaIndex retriever", align="left")
    out.print(f"Question: {question}", style="bold", markup=False)
    retriever = TandemRetriever.from_deployment(CORPUS, store=store, similarity_top_k=top_k)
    try:
        for rank, node in enumerate(retriever.retrieve(question), start=1):
            _show_node(out, rank, node)
    finally:
        retriever.close()


def _show_node(out: Console, rank: int, node: Any) -> None:
    shares = " + ".join(f"{share:.3f} {key}" for key, share in node.contributions.items())
    text = node.text if len(node.text) <= SHOWN_CHARACTERS else node.text[:SHOWN_CHARACTERS].rstrip() + " …"
    out.print(f"\n{rank}. {node.score:.3f} = {shares}", style="bold", markup=False)
    out.print(f"topic {node.node.ref_doc_id!r}", style="dim", markup=False)
    out.print(text, markup=False, soft_wrap=True)

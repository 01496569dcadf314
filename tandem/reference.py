"""The demo's corpus and its judged questions: the language reference that every Python ships."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib.resources import as_file, files

from analysis.judgements import Judgements, read_judgements
from retriever.records import Document

CORPUS = "python-reference"


def documents() -> Iterator[Document]:
    """Yield the topics of the language reference of the running Python, as `pydoc` shows them."""
    from pydoc_data.topics import topics

    for topic, text in sorted(topics.items()):
        title = text.split("\n", 1)[0].strip()
        yield Document(doc_id=topic, text=text, metadata={"title": title})


def questions(topics: Collection[str]) -> tuple[Judgements, int]:
    """Return the judged questions about these topics, and how many others were left out.

    A question is left out if one of the topics that answer it fully is missing: other versions of
    Python have other topics.
    """
    with as_file(files("tandem") / "questions") as folder:
        judgements = read_judgements(folder / "queries.jsonl", folder / "qrels" / "test.tsv")
    kept = {
        query_id: {topic: grade for topic, grade in grades.items() if topic in topics}
        for query_id, grades in judgements.qrels.items()
        if all(topic in topics for topic, grade in grades.items() if grade == max(grades.values()))
    }
    queries = {query_id: text for query_id, text in judgements.queries.items() if query_id in kept}
    return Judgements(queries=queries, qrels=kept), len(judgements.queries) - len(kept)

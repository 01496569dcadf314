"""Made-up corpora, a made-up crowd of models, and the small real models."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ingest import ChunkSettings, ingest
from retriever.corpus import Corpus
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

_REPOSITORY = Path(__file__).parents[4]
_WORDS = [f"word{i}" for i in range(400)]
MODELS = {name: FakeModel(f"acme/{name}", dimensions=size) for name, size in (("a", 32), ("b", 24))}


def prose(rng: np.random.Generator, sentences: int) -> str:
    """Sentences of eight words each."""
    return " ".join(" ".join(rng.choice(_WORDS, size=8)).capitalize() + "." for _ in range(sentences))


def titled_documents() -> list[Document]:
    """Of several chunks each; the last two share a title, and each title stands at the top of the text."""
    rng = np.random.default_rng(3)
    titles = [f"Heading of topic{i} and more" for i in range(14)]
    titles.append(titles[-1])
    return [
        Document(doc_id=f"d{i:02}", text=f"{title}\n\n{prose(rng, 12)}", metadata={"title": title})
        for i, title in enumerate(titles)
    ]


def corpus_of(
    documents: Sequence[Document], folder: Path, *, overlap: int = 0, title_prefix: bool = False
) -> Corpus:
    """A corpus of the fake models, with chunks of up to 50 words."""
    store = EmbeddedStore(folder)
    chunks = ChunkSettings(max_tokens=52, overlap_tokens=overlap, title_prefix=title_prefix)
    ingest(documents, store, "c", models=list(MODELS.values()), chunks=chunks)
    return Corpus.open(store, "c")


@pytest.fixture(scope="session")
def titled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    with corpus_of(titled_documents(), tmp_path_factory.mktemp("titled")) as corpus:
        yield corpus


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(os.environ.get("TANDEM_SHARED", _REPOSITORY.parent / "shared"))
    if not (folder / "models").is_dir() or not (folder / "datasets").is_dir():
        pytest.skip(f"needs the models and collections in {folder}; set TANDEM_SHARED to their folder")
    return folder

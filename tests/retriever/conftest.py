"""A small corpus of fake vectors: chunks with metadata of each kind, written as ingest writes them."""

from __future__ import annotations

import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest

from retriever.corpus import Corpus
from retriever.records import Chunk, ChunkerSpec, Deployment
from retriever.search import Searcher
from retriever.store.protocol import VectorStore
from retriever.testing import FakeModel

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding

_VOCABULARY = (
    "basil soil sun ferry noon harbour interest quarter account bank lemon copper wire river stone night "
    "winter glass paper letter engine wheel garden music violin bread salt mountain snow lake forest bird"
)
_WORDS = _VOCABULARY.split()
_DOCUMENTS = 12
_CHUNKS = 40


class CorpusMaker(Protocol):
    """Creates a corpus and fills it with the vectors of `models` for `chunks`."""

    def __call__(
        self,
        store: VectorStore,
        name: str,
        models: Sequence[FakeModel],
        *,
        chunks: Sequence[Chunk] | None = None,
        combine: Sequence[Sequence[str]] = (),
    ) -> Corpus: ...


def _chunk(i: int) -> Chunk:
    rng = np.random.default_rng(i)
    words = [str(word) for word in rng.choice(_WORDS, size=int(rng.integers(4, 12)))]
    text = " ".join(words).capitalize() + "."
    return Chunk(
        chunk_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"chunk {i}")),
        doc_id=f"doc-{i % _DOCUMENTS}",
        index=i // _DOCUMENTS,
        text=text,
        start_char=100 * (i // _DOCUMENTS),
        end_char=100 * (i // _DOCUMENTS) + len(text),
        token_count=len(words) + 2,
        metadata={
            "page": i,
            "weight": i / 4,
            "lang": ("en", "de", "fr")[i % 3],
            "tags": [words[0], words[1], f"t{i % 5}"],
            "title": text[:20],
            "two words": i % 3,
            "Größe": i,
            "author": {"name": ("Ann", "Bo")[i % 2]},
            **({"remark": ("", None, [], "seen")[i % 4]} if i % 8 < 4 else {}),
            **({"draft": i % 2 == 0} if i % 7 else {}),
        },
    )


@pytest.fixture(scope="session")
def chunks() -> tuple[Chunk, ...]:
    """Return 40 chunks of 12 documents."""
    return tuple(_chunk(i) for i in range(_CHUNKS))


@pytest.fixture(scope="session")
def in_child() -> Callable[[Callable[[], object]], str]:
    """Return what does some work in a forked process and tells what comes of it; one that hangs is ended."""

    def run(work: Callable[[], object]) -> str:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            try:
                said = repr(work())
            except BaseException as error:  # noqa: BLE001  # it is told in the other process
                said = f"{type(error).__name__}: {error}"
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            said = answer.read()
        os.waitpid(child, 0)
        return said

    return run


@pytest.fixture(scope="session")
def alpha() -> FakeModel:
    return FakeModel("acme/alpha", dimensions=24)


@pytest.fixture(scope="session")
def beta() -> FakeModel:
    return FakeModel("acme/beta", dimensions=16)


@pytest.fixture(scope="session")
def gamma() -> FakeModel:
    """Return a model with as many dimensions as alpha."""
    return FakeModel("acme/gamma", dimensions=24)


@pytest.fixture(scope="session")
def make_corpus(chunks: tuple[Chunk, ...]) -> CorpusMaker:
    every = chunks

    def make(
        store: VectorStore,
        name: str,
        models: Sequence[FakeModel],
        *,
        chunks: Sequence[Chunk] | None = None,
        combine: Sequence[Sequence[str]] = (),
    ) -> Corpus:
        written = every if chunks is None else chunks
        corpus = Corpus.create(store, name, chunker=ChunkerSpec(), models=[model.spec for model in models])
        for keys in combine:
            corpus.add_combination(keys)
        texts = [chunk.text for chunk in written]
        counts = Counter(chunk.doc_id for chunk in written)
        corpus.write(
            written,
            {model.spec.key: model.embed_chunks(texts) for model in models},
            document_hash={doc_id: f"hash of {doc_id}" for doc_id in counts},
            chunk_count=counts,
        )
        corpus.measure_spreads()
        return corpus

    return make


@pytest.fixture(scope="session")
def searcher_for() -> Callable[[Corpus, Mapping[FakeModel, float]], Searcher]:
    """Return a function that serves models of a corpus at these weights, without deploying them."""

    def serve(corpus: Corpus, weights: Mapping[FakeModel, float]) -> Searcher:
        models = {model.spec.key: model for model in weights}
        deployment = Deployment(
            corpus=corpus.name,
            models=tuple(models),
            weights=tuple(weights.values()),
            weighting="explicit",
            fingerprints=tuple(model.spec.fingerprint for model in weights),
        )
        return Searcher(corpus, deployment, models=models)

    return serve


@pytest.fixture(scope="session")
def llama_embedding() -> Callable[[FakeModel], BaseEmbedding]:
    """Return a function that makes a fake model an embedding of LlamaIndex."""
    from llama_index.core.base.embeddings.base import BaseEmbedding

    class Embedding(BaseEmbedding):
        model: FakeModel

        def _get_query_embedding(self, query: str) -> list[float]:
            return self.model.embed_queries([query])[0].tolist()

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

        def _get_text_embedding(self, text: str) -> list[float]:
            return self.model.embed_chunks([text])[0].tolist()

    Embedding.model_rebuild(_types_namespace={"FakeModel": FakeModel})
    return lambda model: Embedding(model=model)


@pytest.fixture
def corpus(
    any_store: VectorStore, make_corpus: CorpusMaker, alpha: FakeModel, beta: FakeModel
) -> Iterator[Corpus]:
    """Return a corpus of alpha and beta that a test may change, on either engine."""
    with make_corpus(any_store, "small", [alpha, beta]) as corpus:
        yield corpus


@pytest.fixture(scope="session")
def shared_corpus(
    shared_store: VectorStore, make_corpus: CorpusMaker, alpha: FakeModel, beta: FakeModel
) -> Iterator[Corpus]:
    """Return a corpus of alpha, beta and alpha+beta that no test may change, on either engine."""
    with make_corpus(shared_store, "shared", [alpha, beta], combine=[("alpha", "beta")]) as corpus:
        yield corpus

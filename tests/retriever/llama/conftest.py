"""What tests in LlamaIndex's own classes share: nodes ingested and served, by fake and by real models."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.llms import MockLLM
from llama_index.core.schema import BaseNode, NodeWithScore
from llama_index.core.schema import Document as LlamaDocument

from ingest import ChunkSettings, documents_from, ingest
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.llama.retriever import TandemRetriever
from retriever.models import load_model
from retriever.models.protocol import EmbeddingModel
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

_EXAMPLES = Path(__file__).parents[3] / "examples"
_CHUNK_TOKENS = 64

Serve = Callable[..., TandemRetriever]
Served = Callable[..., TandemRetriever]


@pytest.fixture(autouse=True)
def _no_loop_left_open() -> None:
    # LlamaIndex runs asynchronous code from synchronous code in a loop that it makes and never closes, unless
    # there has been one before: then it makes one for each call, and closes it.
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def handbook() -> list[LlamaDocument]:
    """Return six short documents about one product."""
    return [
        LlamaDocument(
            id_=path.name,
            text=path.read_text(encoding="utf-8"),
            metadata={"file": path.name},
            excluded_embed_metadata_keys=["file"],  # as Tandem, which embeds no metadata
        )
        for path in sorted((_EXAMPLES / "handbook").glob("*.md"))
    ]


@pytest.fixture(scope="session")
def questions() -> list[str]:
    lines = (_EXAMPLES / "handbook-queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


@pytest.fixture(scope="session", params=["fake", "real"])
def models(request: pytest.FixtureRequest) -> dict[str, EmbeddingModel]:
    """Return two models by key: fakes, whose dimensions agree, or real ones."""
    if request.param == "fake":
        made: list[EmbeddingModel] = [FakeModel(f"acme/{name}", dimensions=24) for name in ("alpha", "gamma")]
    else:
        import torch

        torch.set_num_threads(1)  # texts are short: on a busy machine threads wait for each other
        made = [load_model("minilm"), load_model("wordllama")]
    return {model.spec.key: model for model in made}


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Return what ingests and deploys documents or nodes, and gives a retriever of them."""
    numbers = itertools.count()
    opened: list[TandemRetriever] = []

    def make(
        given: Sequence[BaseNode],
        models: Mapping[str, EmbeddingModel],
        *,
        chunk_tokens: int = _CHUNK_TOKENS,
        **options: Any,
    ) -> TandemRetriever:
        folder, name = tmp_path_factory.mktemp("served"), f"served-{next(numbers)}"
        store = EmbeddedStore(folder)
        summary = ingest(
            documents_from(given),
            store,
            name,
            models=list(models.values()),
            chunks=ChunkSettings(max_tokens=chunk_tokens),
        )
        assert summary.failed == ()
        with Corpus.open(store, name) as corpus:
            deploy(corpus, list(models))
        opened.append(TandemRetriever.from_deployment(name, store=folder, models=models, **options))
        return opened[-1]

    yield make
    for retriever in opened:
        retriever.close()


@pytest.fixture(scope="session")
def retriever(
    serve: Serve, handbook: list[LlamaDocument], models: dict[str, EmbeddingModel]
) -> TandemRetriever:
    """Return a retriever of the handbook, by both models."""
    return serve(handbook, models, similarity_top_k=4)


@pytest.fixture
def llm() -> MockLLM:
    """Return a language model that repeats its prompt."""
    return MockLLM()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return what calls a method of an object, or the asynchronous twin of it."""

    def call(subject: Any, method: str, *arguments: Any, **options: Any) -> Any:
        if request.param == "sync":
            return getattr(subject, method)(*arguments, **options)

        async def wait() -> Any:
            return await getattr(subject, f"a{method}")(*arguments, **options)

        return asyncio.run(wait())

    return call


@pytest.fixture(scope="session")
def summary() -> Callable[[Sequence[NodeWithScore]], list[tuple[str, float]]]:
    """Return what tells ids and scores of nodes."""
    return lambda nodes: [(node.node_id, round(node.score or 0.0, 5)) for node in nodes]


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a cross-encoder of two small layers with random weights, made here."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from retriever.models.packaged import PACKAGED, _locate

    folder = tmp_path_factory.mktemp("cross-encoder")
    tokenizer = AutoTokenizer.from_pretrained(str(_locate(PACKAGED["minilm"], "minilm")[0]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=tokenizer.vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=64, initializer_range=0.2, num_labels=1,
        )  # fmt: skip
        BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)

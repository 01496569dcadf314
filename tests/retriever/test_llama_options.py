"""What a `TandemRetriever` can be told: for ever, for one call, and in a file."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters
from pydantic import Field

from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.deployments import rollback
from retriever.errors import InputError, StoreError
from retriever.llama.retriever import ExplainedNode, TandemRetriever
from retriever.search import Searcher
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

QUERY = "warm soil and basil"
GERMAN = MetadataFilters(filters=[MetadataFilter(key="lang", value="de", operator=FilterOperator.EQ)])


class Shortest(BaseNodePostprocessor):
    """Puts the shortest texts first, and notes how many it was given."""

    given: list[int] = Field(default_factory=list)

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        assert query_bundle is not None
        self.given.append(len(nodes))
        return sorted(nodes, key=lambda node: len(node.text))


@pytest.fixture
def models(alpha: FakeModel, beta: FakeModel) -> dict[str, FakeModel]:
    return {"alpha": alpha, "beta": beta}


@pytest.fixture
def place(tmp_path: Path, make_corpus: Callable[..., Corpus], models: dict[str, FakeModel]) -> Path:
    """Return a store with a corpus `guide` that serves alpha, beta and words."""
    with make_corpus(EmbeddedStore(tmp_path / "store"), "guide", list(models.values())) as corpus:
        deploy(corpus, ["alpha", "beta", "bm25"])
    return tmp_path / "store"


@pytest.fixture
def retriever(place: Path, models: dict[str, FakeModel]) -> Iterator[TandemRetriever]:
    with closing(
        TandemRetriever.from_deployment("guide", store=place, models=models, similarity_top_k=4)
    ) as opened:
        yield opened


def summary(nodes: list[NodeWithScore]) -> list[tuple[str, float | None]]:
    return [(node.node_id, node.score) for node in nodes]


def explained(nodes: list[NodeWithScore]) -> list[ExplainedNode]:
    assert all(isinstance(node, ExplainedNode) for node in nodes)
    return [node for node in nodes if isinstance(node, ExplainedNode)]


def test_what_a_call_changes_the_next_one_does_not_see(retriever: TandemRetriever) -> None:
    before = summary(retriever.retrieve(QUERY))
    other = retriever.using(weights="equal", filters=GERMAN, similarity_top_k=2)
    nodes = other.retrieve(QUERY)
    assert len(nodes) == 2
    assert {node.metadata["lang"] for node in nodes} == {"de"}
    assert summary(asyncio.run(other.aretrieve(QUERY))) == summary(nodes)
    assert summary(retriever.retrieve(QUERY)) == before
    assert other.using(filters=None, weights=None, similarity_top_k=4).retrieve(QUERY) == retriever.retrieve(
        QUERY
    )
    doc_ids = [nodes[0].node.ref_doc_id]
    assert {node.node.ref_doc_id for node in retriever.using(doc_ids=doc_ids).retrieve(QUERY)} == set(doc_ids)


def test_options_reach_the_search(retriever: TandemRetriever, models: dict[str, FakeModel]) -> None:
    corpus = retriever._serving.corpus
    searcher = Searcher(corpus, retriever.deployment, models=models)
    weights: dict[str, Any] = {"weights": {"alpha": 0.2, "beta": 0.3, "bm25": 0.5}}
    (hits,) = searcher.search([QUERY], k=4, **weights)
    nodes = explained(retriever.using(**weights).retrieve(QUERY))
    assert [(node.node_id, node.score) for node in nodes] == [(hit.chunk.chunk_id, hit.score) for hit in hits]
    options: dict[str, Any] = {"fusion": "rrf", "per_document": True, "neighbours": 1, "explain": True}
    nodes = explained(retriever.using(**options).retrieve(QUERY))
    (hits,) = searcher.search([QUERY], k=4, **options)
    assert [node.node_id for node in nodes] == [hit.chunk.chunk_id for hit in hits]
    for node, hit in zip(nodes, hits, strict=True):
        assert node.score == hit.score
        assert (node.contributions, node.ranks) == (hit.contributions, hit.ranks)
        assert [one.node_id for one in node.before] == [chunk.chunk_id for chunk in hit.before]
        assert [one.node_id for one in node.after] == [chunk.chunk_id for chunk in hit.after]
        assert node.approximate
    assert any(node.before or node.after for node in nodes)
    said = json.loads(nodes[0].model_dump_json())  # LlamaIndex reads none of its scored nodes back
    assert (said["ranks"], said["contributions"]) == (nodes[0].ranks, nodes[0].contributions)


@pytest.mark.parametrize("name", ["node_ids", "doc_ids"])
def test_a_text_is_no_list_of_ids(retriever: TandemRetriever, name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: expected a list of ids, got the text 'doc-1'"):
        retriever.using(**{name: "doc-1"})


def test_a_number_of_nodes_that_cannot_be_is_not_kept(retriever: TandemRetriever) -> None:
    chosen = retriever.using(node_postprocessors=[Shortest()], candidates=5)
    with pytest.raises(InputError, match="at least the 9 nodes"):
        chosen.similarity_top_k = 9
    assert chosen.similarity_top_k == 4
    assert len(chosen.retrieve(QUERY)) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("warm", [False, True])
def test_a_forked_process_is_told_that_the_folder_was_opened_before(
    retriever: TandemRetriever,
    place: Path,
    models: dict[str, FakeModel],
    in_child: Callable[[Callable[[], object]], str],
    *,
    warm: bool,
) -> None:
    if warm:
        retriever.retrieve(QUERY)

    def again() -> TandemRetriever:
        return TandemRetriever.from_deployment("guide", store=place, models=models)

    told = "StoreLockedError: .*which was forked afterwards. Open it after the fork"
    for work in (lambda: retriever.retrieve(QUERY), lambda: retriever.deployment, again):
        assert re.match(told, in_child(work))
    assert in_child(retriever.close) == "None"
    assert len(retriever.retrieve(QUERY)) == 4


def test_one_model_alone_is_served_from_the_same_collection(
    place: Path, models: dict[str, FakeModel]
) -> None:
    with closing(TandemRetriever.from_deployment("guide", store=place, models=models, serve="beta")) as alone:
        assert alone.deployment.models == ("beta",)
        assert all(set(node.contributions) == {"beta"} for node in explained(alone.retrieve(QUERY)))


def test_postprocessors_choose_among_candidates(retriever: TandemRetriever) -> None:
    for options, candidates in (({}, 20), ({"candidates": 11}, 11), ({"similarity_top_k": 0}, 0)):
        shortest = Shortest()
        chosen = retriever.using(node_postprocessors=[shortest], **options)
        wide = retriever.using(similarity_top_k=candidates).retrieve(QUERY)
        expected = sorted(wide, key=lambda node: len(node.text))[: chosen.similarity_top_k]
        assert chosen.retrieve(QUERY) == expected
        assert asyncio.run(chosen.aretrieve(QUERY)) == expected
        assert set(shortest.given) <= {candidates}
        assert bool(shortest.given) == bool(candidates)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"candidates": 20}, "expected node_postprocessors and at least the 4 nodes"),
        (
            {"candidates": 2, "node_postprocessors": [Shortest()]},
            "at least the 4 nodes that are wanted, got 2",
        ),
        ({"neighbours": -1}, "neighbours: expected 0 or more"),
        ({"fusion": "max"}, "expected one of sum, rrf, dbsf"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(
    retriever: TandemRetriever, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        retriever.using(**options)
    with pytest.raises(TypeError, match="unexpected keyword argument 'top_k'"):
        retriever.using(top_k=3)


def test_a_deployment_made_meanwhile_is_served_without_a_restart(
    retriever: TandemRetriever, place: Path
) -> None:
    assert set(explained(retriever.retrieve(QUERY))[0].contributions) == {"alpha", "beta", "bm25"}
    with Corpus.open(EmbeddedStore(place), "guide") as writer:
        deploy(writer, ["beta"])
        end = time.monotonic() + 30
        while retriever.deployment.name != "beta":
            assert time.monotonic() < end
        assert set(explained(retriever.retrieve(QUERY))[0].contributions) == {"beta"}
        rollback(writer)


# ── in a file ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_retriever_comes_back_from_its_file(
    retriever: TandemRetriever, models: dict[str, FakeModel], tmp_path: Path
) -> None:
    nested = MetadataFilters(
        filters=[GERMAN, MetadataFilter(key="page", value=3, operator=FilterOperator.GT)]
    )
    told = retriever.using(
        filters=nested,
        doc_ids=[f"doc-{i}" for i in range(9)],
        weights={"alpha": 0.2, "beta": 0.8, "bm25": 0.0},
        neighbours=1,
        explain=True,
    )
    told.persist(tmp_path / "retriever.json")
    value = json.loads((tmp_path / "retriever.json").read_text())
    assert value["corpus"] == "guide"
    again = TandemRetriever.load(tmp_path / "retriever.json", models=models)
    assert again.retrieve(QUERY) == told.retrieve(QUERY)
    assert again.similarity_top_k == 4
    again.persist(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "retriever.json").read_text()
    wider = TandemRetriever.load(tmp_path / "retriever.json", models=models, similarity_top_k=6, filters=None)
    assert len(wider.retrieve(QUERY)) == 6
    for one in (again, wider):
        one.close()


def test_a_single_model_comes_back_as_such(place: Path, models: dict[str, FakeModel], tmp_path: Path) -> None:
    with closing(
        TandemRetriever.from_deployment("guide", store=place, models=models, serve="alpha")
    ) as alone:
        alone.persist(tmp_path / "alone.json")
    with closing(TandemRetriever.load(tmp_path / "alone.json", models=models)) as again:
        assert again.deployment.models == ("alpha",)


def test_postprocessors_are_asked_for_again(
    retriever: TandemRetriever, models: dict[str, FakeModel], tmp_path: Path
) -> None:
    shortest = Shortest()
    retriever.using(node_postprocessors=[shortest], candidates=9).persist(tmp_path / "r.json")
    with pytest.raises(InputError, match=r"of the kinds Shortest, as when it was written, got 0"):
        TandemRetriever.load(tmp_path / "r.json", models=models)
    with closing(
        TandemRetriever.load(tmp_path / "r.json", models=models, node_postprocessors=[shortest])
    ) as again:
        assert len(again.retrieve(QUERY)) == 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "FileNotFoundError"),
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError"),
        ('{"format": 2}', "expected a retriever of format 1, got 2. Upgrade tandem-rag"),
        ('{"format": 1, "corpus": "c", "settings": {"top": 1}, "node_postprocessors": []}', "TypeError"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputError, match=words):
        TandemRetriever.load(tmp_path / "r.json")


def test_a_place_that_cannot_be_written_is_told(retriever: TandemRetriever, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected a file that can be written"):
        retriever.persist(tmp_path / "no folder" / "r.json")

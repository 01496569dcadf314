"""The LlamaIndex retriever: a drop-in for `VectorIndexRetriever` over a Tandem deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # it is public
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters
from pydantic import Field

from retriever import payload
from retriever.corpus import Corpus
from retriever.deployments import current_deployment
from retriever.errors import InputError
from retriever.llama_filters import to_condition
from retriever.models.protocol import EmbeddingModel
from retriever.records import Deployment
from retriever.search import Found, Searcher
from retriever.store.place import open_store

_dispatcher = get_dispatcher(__name__)


class ExplainedNode(NodeWithScore):
    """A node with its score and what each model contributed to it."""

    contributions: dict[str, float] = Field(
        default_factory=dict, description="Summands of the score, by model key."
    )


class TandemRetriever(BaseRetriever):
    """Retrieves the chunks of a corpus by all models of its deployment at once, exactly.

    A score is ``Σ weight·cosine`` over the models of the deployment, in [-1, 1], and comparable
    between all queries of one deployment. Nodes come back as `ExplainedNode`. The query object is
    only read, and its ``embedding`` not even that: it may hold another model's vector.

    Parameters
    ----------
    searcher
        Serves one deployment; `from_deployment` makes it.
    similarity_top_k
        How many chunks to return; 0 gives none.
    filters, node_ids, doc_ids
        Only chunks for which all that are given hold.
    callback_manager, object_map, verbose
        As in every LlamaIndex retriever.
    """

    def __init__(  # noqa: PLR0913  # the parameters of LlamaIndex's retrievers
        self,
        searcher: Searcher,
        *,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        filters: MetadataFilters | None = None,
        node_ids: Sequence[str] | None = None,
        doc_ids: Sequence[str] | None = None,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        self._searcher = searcher
        self._where = to_condition(filters, node_ids=node_ids, doc_ids=doc_ids)
        self.similarity_top_k = similarity_top_k
        super().__init__(callback_manager=callback_manager, object_map=object_map, verbose=verbose)

    @classmethod
    def from_deployment(  # noqa: PLR0913  # likewise, and where the corpus lies
        cls,
        corpus: str,
        *,
        store: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        models: Mapping[str, EmbeddingModel] | None = None,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        filters: MetadataFilters | None = None,
        node_ids: Sequence[str] | None = None,
        doc_ids: Sequence[str] | None = None,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        verbose: bool = False,
    ) -> Self:
        """Serve what a corpus has deployed.

        Parameters
        ----------
        corpus
            Its name.
        store, url, api_key
            Where it lies: a folder (default ``tandem-store``) or the URL of a Qdrant server.
        models
            Embedding models by key, where they shall not be loaded as they were at ingest.
        similarity_top_k, filters, node_ids, doc_ids, callback_manager, object_map, verbose
            See the class.

        Raises
        ------
        CorpusNotFoundError, DeploymentNotFoundError
            If there is nothing to serve.
        ModelNotFoundError, ModelMismatchError
            If a model cannot be loaded, or is not the one that was stored.
        StoreUnreachableError, StoreLockedError
            If the store cannot be opened.
        """
        opened = Corpus.open(open_store(store, url=url, api_key=api_key), corpus)
        try:
            return cls(
                Searcher(opened, current_deployment(opened), models=models),
                similarity_top_k=similarity_top_k,
                filters=filters,
                node_ids=node_ids,
                doc_ids=doc_ids,
                callback_manager=callback_manager,
                object_map=object_map,
                verbose=verbose,
            )
        except BaseException:
            opened.close()
            raise

    @property
    def deployment(self) -> Deployment:
        """What it serves."""
        return self._searcher.deployment

    @property
    def similarity_top_k(self) -> int:
        """How many chunks to return."""
        return self._similarity_top_k

    @similarity_top_k.setter
    def similarity_top_k(self, similarity_top_k: int) -> None:
        self._similarity_top_k = similarity_top_k

    def close(self) -> None:
        """Release the store; the retriever must not be used afterwards."""
        self._searcher.corpus.close()

    @_dispatcher.span
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._nodes(query_bundle.embedding_strs)

    @_dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        # Embedding and searching compute; in a thread they leave the event loop free.
        return await asyncio.to_thread(self._nodes, query_bundle.embedding_strs)

    def _nodes(self, texts: Sequence[str]) -> list[NodeWithScore]:
        if self._similarity_top_k == 0:
            return []
        if not texts:
            raise InputError("query: expected a text to search for, got an empty one.")
        # Several texts stand for one query (LlamaIndex's `custom_embedding_strs`): the mean of
        # their vectors scores a chunk with the mean of their scores.
        query = self._searcher.embed(texts).mean(axis=0, keepdims=True)
        (ranking,) = self._searcher.search_vectors(query, k=self._similarity_top_k, where=self._where)
        return [_node(found) for found in ranking]


def _node(found: Found) -> NodeWithScore:
    return ExplainedNode(
        node=payload.to_node(found.payload),
        score=found.score,
        contributions=dict(found.contributions),
    )

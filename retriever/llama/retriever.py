"""The LlamaIndex retriever: a drop-in for `VectorIndexRetriever` over a Tandem deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # it is public
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters
from pydantic import Field, SerializeAsAny

from retriever import payload
from retriever.combine import Weighting
from retriever.corpus import Corpus
from retriever.llama.filters import as_ids
from retriever.llama.settings import RetrieverSettings, read_settings, write_settings
from retriever.models.protocol import EmbeddingModel
from retriever.records import Deployment
from retriever.search import Found, Fusion, Searcher
from retriever.serving import Serving
from retriever.store.place import open_store
from retriever.watch import DriftAlarm, Watch, WatchSettings

_dispatcher = get_dispatcher(__name__)


class ExplainedNode(NodeWithScore):
    """A node with its score and how that came about."""

    contributions: dict[str, float] = Field(
        default_factory=dict, description="Summands of the score, by leg."
    )
    ranks: dict[str, int] = Field(
        default_factory=dict, description="Rank under each leg alone, where explanations were asked for."
    )
    before: list[SerializeAsAny[BaseNode]] = Field(
        default_factory=list, description="Chunks before it in its document, where neighbours were asked for."
    )
    after: list[SerializeAsAny[BaseNode]] = Field(
        default_factory=list, description="Chunks after it in its document, where neighbours were asked for."
    )
    approximate: bool = Field(
        default=False, description="Whether a node with a higher score may have been missed."
    )


class TandemRetriever(BaseRetriever):
    """Retrieves the chunks of a corpus by all models of its deployment at once, exactly.

    A score is ``Σ weight·cosine`` over the models of the deployment, in [-1, 1], and comparable
    between all queries of one deployment at one set of weights. Nodes come back as `ExplainedNode`. The
    query object is only read, and its ``embedding`` not even that: it may hold another model's vector.

    Any number of threads and event loops may share one retriever; questions that wait at the same time
    are embedded and searched together. `using` gives one that asks otherwise, for a single call too::

        retriever.using(weights={"minilm": 0.8, "wordllama": 0.2}, filters=german).retrieve("Wo?")

    Parameters
    ----------
    serving
        What answers: `from_deployment` makes it; a `Searcher` serves one deployment for ever.
    similarity_top_k
        How many nodes to return; 0 gives none.
    filters, node_ids, doc_ids
        Only chunks for which all that are given hold.
    weights
        Other weights than those of the deployment: ``"calibrated"`` (each model moves the score as far as
        the others), ``"equal"`` (the paper's: the mean cosine), or numbers by model that sum to 1. One
        weight of 1 is that model alone.
    fusion
        How the legs become one ranking: ``"sum"``, exact; ``"rrf"`` or ``"dbsf"``, by the first 100 chunks
        of each leg, for comparison: their scores are no cosines, and every leg counts alike, so `weights` are
        refused beside them.
    per_document
        Only the best chunk of each document.
    neighbours
        How many chunks before and after each hit to give along, as `ExplainedNode.before` and ``after``.
    explain
        Whether to tell the rank of each node under each model alone; takes a search per node and model.
    node_postprocessors, candidates
        LlamaIndex's postprocessors (a cross-encoder, say), which are given so many candidates; the best
        `similarity_top_k` of what they leave are returned. Five times as many if left out.
    callback_manager, object_map, verbose
        As in every LlamaIndex retriever.
    """

    def __init__(  # noqa: PLR0913  # the parameters of LlamaIndex's retrievers, and ours
        self,
        serving: Serving | Searcher,
        *,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        filters: MetadataFilters | None = None,
        node_ids: Sequence[str] | None = None,
        doc_ids: Sequence[str] | None = None,
        weights: Weighting | None = None,
        fusion: Fusion = "sum",
        per_document: bool = False,
        neighbours: int = 0,
        explain: bool = False,
        node_postprocessors: Sequence[BaseNodePostprocessor] = (),
        candidates: int | None = None,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        self._serving = serving if isinstance(serving, Serving) else Serving.of(serving)
        self._settings = RetrieverSettings(
            similarity_top_k=similarity_top_k,
            filters=filters,
            node_ids=None if node_ids is None else as_ids("node_ids", node_ids),
            doc_ids=None if doc_ids is None else as_ids("doc_ids", doc_ids),
            weights=weights,
            fusion=fusion,
            per_document=per_document,
            neighbours=neighbours,
            explain=explain,
            candidates=candidates,
        )
        self._node_postprocessors = tuple(node_postprocessors)
        self._wish = self._settings.wish(is_postprocessed=bool(self._node_postprocessors))
        super().__init__(callback_manager=callback_manager, object_map=object_map, verbose=verbose)

    @classmethod
    def from_deployment(  # noqa: PLR0913  # likewise, and where the corpus lies
        cls,
        corpus: str,
        *,
        store: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        serve: str | None = None,
        models: Mapping[str, EmbeddingModel] | Sequence[EmbeddingModel] | None = None,
        **options: Any,
    ) -> Self:
        """Serve what a corpus has deployed, also after it deploys something else.

        Models are loaded with the first question, or by `warm_up`.

        Parameters
        ----------
        corpus
            Its name.
        store, url, api_key
            Where it lies: a folder (default ``tandem-store``) or the URL of a Qdrant server.
        serve
            Something else than what is deployed: one model alone, or a combination ``A+B`` whose vectors
            are there.
        models
            Embedding models, by key or as they are, where they shall not be loaded as they were at ingest,
            or cannot be: those of LlamaIndex are objects of the app.
        options
            See the class.

        Raises
        ------
        CorpusNotFoundError, DeploymentNotFoundError
            If there is nothing to serve.
        ModelMismatchError
            If a model is no longer the one that was deployed.
        StoreUnreachableError, StoreLockedError
            If the store cannot be opened.
        """
        opened = Corpus.open(open_store(store, url=url, api_key=api_key), corpus)
        try:
            serving = Serving.choosing(opened, serve, models=_by_key(models))
            serving.deployment  # noqa: B018  # tells now if there is none
            return cls(serving, **options)
        except BaseException:
            opened.close()
            raise

    def using(self, **changes: Any) -> Self:
        """Return a retriever that shares corpus and models with this one, and asks otherwise.

        Parameters
        ----------
        changes
            Parameters of the class but for `serving`; all others stay as they are.
        """
        given = {
            **self._settings.options(),
            "node_postprocessors": self._node_postprocessors,
            "callback_manager": self.callback_manager,
            "object_map": self.object_map,
            "verbose": self._verbose,
        }
        return type(self)(self._serving, **{**given, **changes})

    @property
    def deployment(self) -> Deployment:
        """What it serves now."""
        return self._serving.deployment

    @property
    def similarity_top_k(self) -> int:
        """How many nodes to return."""
        return self._settings.similarity_top_k

    @similarity_top_k.setter
    def similarity_top_k(self, similarity_top_k: int) -> None:
        settings = replace(self._settings, similarity_top_k=similarity_top_k)
        self._wish = settings.wish(is_postprocessed=bool(self._node_postprocessors))
        self._settings = settings

    def warm_up(self) -> None:
        """Load the models and read the vectors now, instead of with the first question."""
        self._serving.warm_up()

    def watch(
        self,
        log: str | Path | None = None,
        *,
        sample: int = 1,
        keep_text: bool = False,
        on_drift: Callable[[DriftAlarm], None] | None = None,
        settings: WatchSettings | None = None,
    ) -> Watch:
        """Observe what is asked from now on, to notice when it is no longer what the deployment is good at.

        Numbers of each query go to a log; answers are not delayed, and no text is kept unless told to.
        Retrievers made by `using` are watched along. `tandem watch` shows what comes of it.

        Parameters
        ----------
        log, sample, keep_text, on_drift, settings
            See `retriever.watch.Watch`.

        Raises
        ------
        InputError
            If `sample` is below 1.
        StoreError
            If the log cannot be written.
        """
        return Watch(
            self._serving,
            log=log,
            sample=sample,
            keep_text=keep_text,
            on_drift=on_drift,
            settings=settings,
        )

    def persist(self, path: str | Path) -> None:
        """Write what this retriever is to a JSON file: corpus, place, options; no key of a server.

        Postprocessors are not written; `load` asks for as many as there were.

        Raises
        ------
        StoreError
            If the file cannot be written.
        """
        postprocessors = [type(one).__name__ for one in self._node_postprocessors]
        write_settings(Path(path), self._serving, self._settings, postprocessors)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        api_key: str | None = None,
        models: Mapping[str, EmbeddingModel] | Sequence[EmbeddingModel] | None = None,
        **options: Any,
    ) -> Self:
        """Return the retriever that `persist` wrote.

        Parameters
        ----------
        path
            The file.
        api_key, models
            See `from_deployment`.
        options
            Parameters of the class that are to be others than those of the file.

        Raises
        ------
        InputError
            If it is not such a file, or postprocessors are missing.
        """
        place, settings = read_settings(Path(path), given=options)
        return cls.from_deployment(
            api_key=api_key, models=models, **{**place, **settings.options(), **options}
        )

    def close(self) -> None:
        """Release the store; the retriever, and those made of it by `using`, must not be used afterwards."""
        self._serving.close()

    @_dispatcher.span
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if self._wish.k == 0:
            return []
        nodes = _nodes(self._serving.ask(query_bundle.embedding_strs, self._wish).result())
        for postprocessor in self._node_postprocessors:
            nodes = postprocessor.postprocess_nodes(nodes, query_bundle=query_bundle)
        return nodes[: self.similarity_top_k]

    @_dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if self._wish.k == 0:
            return []
        found: list[Found] = await asyncio.wrap_future(
            self._serving.ask(query_bundle.embedding_strs, self._wish)
        )
        nodes = _nodes(found)
        for postprocessor in self._node_postprocessors:
            nodes = await postprocessor.apostprocess_nodes(nodes, query_bundle=query_bundle)
        return nodes[: self.similarity_top_k]


def _by_key(
    models: Mapping[str, EmbeddingModel] | Sequence[EmbeddingModel] | None,
) -> Mapping[str, EmbeddingModel] | None:
    if models is None or isinstance(models, Mapping):
        return models
    return {model.spec.key: model for model in models}


def _nodes(found: Sequence[Found]) -> list[NodeWithScore]:
    return [
        ExplainedNode(
            node=payload.to_node(one.payload),
            score=one.score,
            contributions=dict(one.contributions),
            ranks=dict(one.ranks),
            before=[payload.to_node(neighbour) for neighbour in one.before],
            after=[payload.to_node(neighbour) for neighbour in one.after],
            approximate=one.approximate,
        )
        for one in found
    ]

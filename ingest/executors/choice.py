"""Which executor a run gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ingest.chunks import Chunker
from ingest.executors.local import LocalExecutor
from ingest.executors.options import RayOptions
from ingest.executors.protocol import Executor
from ingest.executors.worker import Recipe
from ingest.lengths import LengthGuard
from ingest.vectors import Embedder
from retriever.errors import InputError
from retriever.models.protocol import EmbeddingModel
from retriever.records import ModelSpec


def open_executor(  # noqa: PLR0913  # all but the first by name
    corpus: str,
    *,
    chunker: Chunker,
    guards: Sequence[LengthGuard],
    models: Mapping[str, EmbeddingModel],
    counting: Sequence[ModelSpec] = (),
    ray: RayOptions | None = None,
    on_turn: Callable[[str], None] = lambda _: None,
) -> Executor:
    """Return what cuts and embeds for a corpus; the caller closes it.

    Parameters
    ----------
    corpus
        Its name.
    chunker, guards, models
        As `ingest.opening.Opening` has them.
    counting
        Models that the corpus dropped, and whose tokenizers still count.
    ray
        On which cluster; None: in this process.
    on_turn
        Called with the key of the model whose turn it is; only from this process.

    Raises
    ------
    ModelError, InputError
        If the cluster cannot do it: see `ingest.executors.ray.RayExecutor`; also if Ray is not installed.
    """
    if ray is None:
        return LocalExecutor(corpus, chunker, guards, Embedder(models, on_turn=on_turn))
    specs = tuple(model.spec for model in models.values())
    recipe = Recipe(corpus=corpus, chunker=chunker.spec, models=specs, counting=tuple(counting))
    try:
        from ingest.executors.ray import RayExecutor
    except ImportError as error:
        raise InputError(
            f"executor ray: expected the library, got none ({error}). "
            'Install it with: pip install "tandem-rag[ray]"'
        ) from error
    return RayExecutor(recipe, ray)

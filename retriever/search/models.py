"""The embedding models of a corpus, loaded once per process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from threading import Lock
from weakref import WeakValueDictionary

from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.models import CheckedModel, load_stored
from retriever.models.protocol import EmbeddingModel, FloatArray
from retriever.records import ModelSpec

_loaded: WeakValueDictionary[ModelSpec, EmbeddingModel] = WeakValueDictionary()
_loading = Lock()
_AT_ONCE = 8
"""How many models of this process embed queries at the same time, at most."""


def stored_models(
    corpus: Corpus, keys: Sequence[str], *, given: Mapping[str, EmbeddingModel] | None = None
) -> dict[str, EmbeddingModel]:
    """Return the models of these keys, loaded or as given, each checked against the manifest.

    A model that somebody in this process uses already is not loaded again. Those given are wrapped in
    `CheckedModel`: a query vector that is no unit vector would give wrong scores that look right.

    Raises
    ------
    InputError
        If `given` names a model that is not asked for.
    ModelMismatchError
        If a model is not the one that was stored.
    """
    given = given or {}
    unused = set(given) - set(keys)
    if unused:
        raise InputError(
            f"models: expected keys among {', '.join(keys)}, got {', '.join(sorted(unused))} as well."
        )
    models: dict[str, EmbeddingModel] = {}
    for key in keys:
        model = CheckedModel(given[key]) if key in given else _load(corpus.manifest.model(key))
        if model.spec.key != key:
            raise InputError(f"models: expected the model {key!r}, got {model.spec.key!r} under its name.")
        corpus.check_model(model.spec)
        models[key] = model
    return models


def embed_queries(models: Mapping[str, EmbeddingModel], queries: Sequence[str]) -> dict[str, FloatArray]:
    """Return the vectors of the queries under each model, all models at the same time.

    A query is short: by itself it keeps neither the cores nor the network busy.

    Returns
    -------
    dict of float32, each of shape (n_queries, dimensions)
        By the keys of `models`.
    """
    first, *others = models.items()
    waiting = {
        key: _threads(os.getpid()).submit(copy_context().run, model.embed_queries, queries)
        for key, model in others
    }
    key, model = first
    return {key: model.embed_queries(queries)} | {key: rows.result() for key, rows in waiting.items()}


@cache
def _threads(_process: int) -> ThreadPoolExecutor:
    """Return the threads of this process; those of its parent are gone after a fork."""
    return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="tandem-queries")


def _load(stored: ModelSpec) -> EmbeddingModel:
    with _loading:  # two threads that want one model do not both load it
        model = _loaded.get(stored)
        if model is None:
            model = _loaded[stored] = load_stored(stored)
        return model

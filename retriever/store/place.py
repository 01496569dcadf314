"""Where corpora lie: a folder for the embedded engine, or the URL of a server."""

from __future__ import annotations

from pathlib import Path

from retriever.errors import InputError
from retriever.store.layout import ServerLayout
from retriever.store.protocol import VectorStore

DEFAULT_FOLDER = "tandem-store"


def open_store(
    path: str | Path | None = None,
    *,
    url: str | None = None,
    api_key: str | None = None,
    layout: ServerLayout | None = None,
) -> VectorStore:
    """Open the store in folder `path` (default ``tandem-store``), or the one at `url`.

    `layout` is for corpora that are created in it; those that exist stay as they are.

    Raises
    ------
    InputError
        If both are given, or a layout that a folder cannot have.
    StoreUnreachableError
        If the server does not answer or refuses the key.
    """
    if url is not None and path is not None:
        raise InputError(f"store: expected a folder or a URL, got both: {path} and {url}.")
    if url is not None:
        from retriever.store.server import ServerStore

        return ServerStore.connect(url, api_key=api_key, layout=layout)
    from retriever.store.embedded import EmbeddedStore

    if layout is not None:
        layout.check_embedded()
    return EmbeddedStore(DEFAULT_FOLDER if path is None else path)

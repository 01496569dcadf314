"""From a path to the source it stands for."""

from __future__ import annotations

from pathlib import Path

from ingest.documents.files import READERS, FileSource, FolderSource, printable
from ingest.documents.jsonl import JsonLinesSource
from ingest.documents.source import Source
from retriever.errors import SourceError

_CORPUS = "corpus.jsonl"
_JSON_LINES = ".jsonl"


def open_source(path: str | Path) -> Source:
    """Return the source that lies at `path`.

    A ``.jsonl`` file is a BEIR corpus, and so is a folder with a ``corpus.jsonl``; any other folder is
    read file by file, and any other file is a single document.

    Raises
    ------
    SourceError
        If there is nothing at `path`, nothing in it, or nothing that can be read as text.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise SourceError(
            f"{printable(path)}: expected a folder, a .jsonl file or a document, found nothing there. "
            "Check the path."
        )
    if path.suffix.lower() == _JSON_LINES:
        return _corpus(path)
    if path.suffix.lower() not in READERS:
        raise SourceError(
            f"{printable(path)}: expected a file of type {_JSON_LINES}, {', '.join(READERS)}, got "
            f"{path.suffix or 'no suffix'}. Convert it to text."
        )
    return FileSource(path)


def _folder(path: Path) -> Source:
    if (path / _CORPUS).exists():
        return _corpus(path / _CORPUS)
    source = FolderSource(path)
    source.check()
    return source


def _corpus(path: Path) -> Source:
    source = JsonLinesSource(path)
    source.check()
    return source

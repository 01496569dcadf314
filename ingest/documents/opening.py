"""From a path to the source it stands for."""

from __future__ import annotations

from pathlib import Path

from ingest.documents.delimited import DELIMITERS, CsvSource
from ingest.documents.files import READERS, FileSource, FolderSource
from ingest.documents.jsonl import JsonLinesSource
from ingest.documents.options import DEFAULTS, SourceOptions
from ingest.documents.source import Source
from ingest.documents.standard_input import STANDARD_INPUT, standard_input
from ingest.documents.walking import printable
from retriever.errors import SourceError

_CORPUS = "corpus.jsonl"
_JSON_LINES = ".jsonl"
_PARQUET = ".parquet"


def open_source(path: str | Path, options: SourceOptions = DEFAULTS) -> Source:
    """Return the source that lies at `path`.

    A ``.jsonl`` file is a BEIR corpus, and so is a folder with a ``corpus.jsonl``; any other folder is
    read file by file. The rows of a ``.csv``, ``.tsv`` or ``.parquet`` file are documents; any other file
    is a single one. ``-`` is standard input: JSON Lines if it begins with ``{``, else one text.

    Raises
    ------
    SourceError
        If there is nothing at `path`, nothing in it, or nothing that can be read as text; or if an option
        does not apply to what is there.
    """
    if str(path) == STANDARD_INPUT:
        return standard_input(options)
    path = Path(path)
    if path.is_dir():
        return _folder(path, options)
    if not path.exists():
        raise SourceError(
            f"{printable(path)}: expected a folder, a .jsonl file or a document, found nothing there. "
            "Check the path."
        )
    return _file(path, options)


def _folder(path: Path, options: SourceOptions) -> Source:
    if (path / _CORPUS).exists():
        return _file(path / _CORPUS, options)
    source = FolderSource(path, options)
    source.check()
    return source


def _file(path: Path, options: SourceOptions) -> Source:
    suffix = path.suffix.lower()
    if suffix in READERS:
        return FileSource(path, options)
    source: JsonLinesSource | CsvSource
    if suffix == _JSON_LINES:
        source = JsonLinesSource(path, options)
    elif suffix in DELIMITERS:
        source = CsvSource(path, options)
    elif suffix == _PARQUET:
        return _parquet(path, options)
    else:
        known = ", ".join((_JSON_LINES, *DELIMITERS, _PARQUET, *READERS))
        raise SourceError(
            f"{printable(path)}: expected a file of type {known}, got {path.suffix or 'no suffix'}. Convert "
            "it to text."
        )
    source.check()
    return source


def _parquet(path: Path, options: SourceOptions) -> Source:
    from ingest.documents.parquet import ParquetSource

    source = ParquetSource(path, options)
    source.check()
    return source

"""Folders and single files of text, Markdown, HTML, PDF and Word."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ingest.documents.decoding import Decoded, decode
from ingest.documents.html import declared_encoding, html_content
from ingest.documents.markdown import markdown_content
from ingest.documents.options import DEFAULTS, SourceOptions, check_size
from ingest.documents.plain import Content
from ingest.documents.source import FailedDocument, check_metadata, check_text, check_unicode
from ingest.documents.walking import printable, walk
from retriever.errors import SourceError
from retriever.records import Document

ENCODING = "encoding"
"""Where metadata name the encoding of a document, if it had to be inferred."""


def _text(data: bytes, options: SourceOptions) -> Content:
    return _read(decode(data, options.encoding), lambda text: Content(text=text))


def _markdown(data: bytes, options: SourceOptions) -> Content:
    return _read(decode(data, options.encoding), markdown_content)


def _html(data: bytes, options: SourceOptions) -> Content:
    return _read(decode(data, options.encoding, declared=declared_encoding(data)), html_content)


def _pdf(data: bytes, options: SourceOptions) -> Content:
    from ingest.documents.pdf import pdf_content

    return pdf_content(data, max_bytes=options.max_bytes)


def _docx(data: bytes, options: SourceOptions) -> Content:
    from ingest.documents.docx import docx_content

    return docx_content(data, max_bytes=options.max_bytes)


def _read(decoded: Decoded, content_of: Callable[[str], Content]) -> Content:
    content = content_of(decoded.text)
    if decoded.detected is None:
        return content
    return Content(
        text=content.text,
        title=content.title,
        headings=content.headings,
        metadata={ENCODING: decoded.detected},
    )


READERS: Mapping[str, Callable[[bytes, SourceOptions], Content]] = {
    ".txt": _text,
    ".text": _text,
    ".rst": _text,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
    ".docx": _docx,
}
"""What reads a file, by its suffix in small letters."""

_NOT_OF_TEXT = (".pdf", ".docx")
"""What has no encoding to choose."""


class FolderSource:
    """All files of a folder that can be read as text, and of the folders in it.

    The id of a document is its path within the folder, with ``/``; its metadata are ``file_name``,
    ``file_path`` (equal to the id), ``title`` where the file has one, ``pages`` of a PDF, and ``encoding``
    where that was inferred. Names that begin with a dot are left aside, and what `options` or a file
    ``.tandemignore`` says; other suffixes than those of `READERS` are counted in `skipped`. Links are
    followed, but each folder is read once, under its own path rather than that of a link. One to nothing
    fails: it may have been to a folder of documents that are away.

    Parameters
    ----------
    root
        The folder.
    options
        `include`, `exclude`, `max_bytes` and `encoding` apply.

    Raises
    ------
    SourceError
        If another option is given.
    """

    def __init__(self, root: Path, options: SourceOptions = DEFAULTS) -> None:
        options.accept(("include", "exclude", "max_bytes", "encoding"), f"{printable(root)}, a folder")
        self._root = root
        self._options = options
        self._skipped: Counter[str] = Counter()
        self._detected: Counter[str] = Counter()

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many files the last iteration left aside, by their suffix in small letters."""
        return dict(self._skipped)

    @property
    def detected(self) -> Mapping[str, int]:
        """How many files the last iteration read in an encoding that was inferred, by its name."""
        return dict(self._detected)

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        """Read the folder, its files in the order of their names."""
        self._skipped, self._detected = Counter(), Counter()
        for path in walk(self._root, self._options, READERS):
            if isinstance(path, FailedDocument):
                yield path
            elif path.suffix.lower() in READERS:
                item = read_document(path, self._root, self._options)
                self._detected.update(_detected(item))
                yield item
            else:
                self._skipped[path.suffix.lower()] += 1

    def __length_hint__(self) -> int:
        """Return how many files there are to read."""
        return sum(
            isinstance(path, Path) and path.suffix.lower() in READERS
            for path in walk(self._root, self._options, READERS)
        )

    def check(self) -> None:
        """Refuse a folder in which there is nothing to read.

        Raises
        ------
        SourceError
            If no file has a suffix of `READERS`, or a pattern cannot be used.
        """
        found: Counter[str] = Counter()
        for path in walk(self._root, self._options, READERS):
            if isinstance(path, Path):
                if path.suffix.lower() in READERS:
                    return
                found[path.suffix.lower() or "no suffix"] += 1
        files = ", ".join(f"{count} ({suffix})" for suffix, count in found.most_common()) or "none"
        raise SourceError(
            f"{printable(self._root)}: expected files of type {', '.join(READERS)}, or corpus.jsonl; files "
            f"found: {files}. Convert them to text, give another folder or a table itself, or change what is "
            "included, excluded and ignored."
        )


class FileSource:
    """A single file, read like one of a folder; its id is its name.

    Parameters
    ----------
    path
        The file; its suffix is one of `READERS`.
    options
        `max_bytes` applies, and `encoding` to text.

    Raises
    ------
    SourceError
        If another option is given.
    """

    def __init__(self, path: Path, options: SourceOptions = DEFAULTS) -> None:
        suffix = path.suffix.lower()
        allowed = ("max_bytes",) if suffix in _NOT_OF_TEXT else ("max_bytes", "encoding")
        options.accept(allowed, f"{printable(path)}, a single document")
        self._path = path
        self._options = options
        self._detected: dict[str, int] = {}

    @property
    def skipped(self) -> Mapping[str, int]:
        """Nothing."""
        return {}

    @property
    def detected(self) -> Mapping[str, int]:
        """The encoding, if the last iteration had to infer it."""
        return dict(self._detected)

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        """Read the file."""
        item = read_document(self._path, self._path.parent, self._options)
        self._detected = dict(Counter(_detected(item)))
        yield item

    def __length_hint__(self) -> int:
        """Return 1."""
        return 1


def read_document(path: Path, root: Path, options: SourceOptions = DEFAULTS) -> Document | FailedDocument:
    """Return the document that a file within `root` holds."""
    name = path.relative_to(root).as_posix()
    try:
        check_unicode(name, "file name")
    except SourceError as error:
        return FailedDocument(doc_id=None, where=printable(path), reason=str(error))
    try:
        content = _content(path, options)
        metadata: dict[str, Any] = {"file_name": path.name, "file_path": name, **content.metadata}
        if content.title is not None:
            metadata["title"] = content.title
        check_metadata(metadata)
    except SourceError as error:
        return FailedDocument(doc_id=name, where=printable(path), reason=str(error))
    return Document(doc_id=name, text=content.text, metadata=metadata, headings=content.headings)


def _content(path: Path, options: SourceOptions) -> Content:
    try:
        if path.exists() and not path.is_file():
            raise SourceError("expected a regular file, got a pipe, socket or device; leave it out")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            check_size(size, options.max_bytes, "")
            data = file.read(size + 1)  # not up to the limit: as much memory would be taken at once
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}; repair or remove it") from error
    content = READERS[path.suffix.lower()](data, options)
    check_text(content.text)
    return content


def _detected(item: Document | FailedDocument) -> tuple[str, ...]:
    """Return the encoding of a document if it was inferred."""
    return (item.metadata[ENCODING],) if isinstance(item, Document) and ENCODING in item.metadata else ()

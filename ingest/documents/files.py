"""Folders and single files of text, Markdown and HTML."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ingest.documents.decoding import decode
from ingest.documents.html import declared_encoding, html_content
from ingest.documents.markdown import markdown_content
from ingest.documents.plain import Content
from ingest.documents.source import FailedDocument, check_text, check_unicode
from retriever.errors import SourceError
from retriever.records import Document


def _text(data: bytes) -> Content:
    return Content(text=decode(data))


def _markdown(data: bytes) -> Content:
    return markdown_content(decode(data))


def _html(data: bytes) -> Content:
    return html_content(decode(data, declared_encoding(data)))


READERS: Mapping[str, Callable[[bytes], Content]] = {
    ".txt": _text,
    ".text": _text,
    ".rst": _text,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
}
"""What reads a file, by its suffix in small letters."""


class FolderSource:
    """All files of a folder that can be read as text, and of the folders in it.

    The id of a document is its path within the folder, with ``/``; its metadata are ``file_name``,
    ``file_path`` (equal to the id) and ``title`` where the file has one. Names that begin with a dot
    are left aside, other suffixes than those of `READERS` are counted in `skipped`. Links are
    followed, but each folder is read once, under its own path rather than that of a link.

    Parameters
    ----------
    root
        The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._skipped: Counter[str] = Counter()

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many files the last iteration left aside, by their suffix in small letters."""
        return dict(self._skipped)

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        """Read the folder, its files in the order of their names."""
        self._skipped = Counter()
        for path in _walk(self._root):
            if isinstance(path, FailedDocument):
                yield path
            elif path.suffix.lower() in READERS:
                yield read_document(path, self._root)
            else:
                self._skipped[path.suffix.lower()] += 1

    def __length_hint__(self) -> int:
        """Return how many files there are to read."""
        return sum(isinstance(path, Path) and path.suffix.lower() in READERS for path in _walk(self._root))

    def check(self) -> None:
        """Refuse a folder in which there is nothing to read.

        Raises
        ------
        SourceError
            If no file has a suffix of `READERS`.
        """
        found: Counter[str] = Counter()
        for path in _walk(self._root):
            if isinstance(path, Path):
                if path.suffix.lower() in READERS:
                    return
                found[path.suffix.lower() or "no suffix"] += 1
        files = ", ".join(f"{count} ({suffix})" for suffix, count in found.most_common()) or "none"
        raise SourceError(
            f"{printable(self._root)}: expected files of type {', '.join(READERS)}, or corpus.jsonl; files "
            f"found: {files}. Convert them to text, or give another folder."
        )


class FileSource:
    """A single file, read like one of a folder; its id is its name.

    Parameters
    ----------
    path
        The file; its suffix is one of `READERS`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def skipped(self) -> Mapping[str, int]:
        """Nothing."""
        return {}

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        """Read the file."""
        yield read_document(self._path, self._path.parent)

    def __length_hint__(self) -> int:
        """Return 1."""
        return 1


def read_document(path: Path, root: Path) -> Document | FailedDocument:
    """Return the document that a file within `root` holds."""
    name = path.relative_to(root).as_posix()
    try:
        check_unicode(name, "file name")
    except SourceError as error:
        return FailedDocument(doc_id=None, where=printable(path), reason=str(error))
    try:
        content = _content(path)
    except SourceError as error:
        return FailedDocument(doc_id=name, where=printable(path), reason=str(error))
    metadata: dict[str, Any] = {"file_name": path.name, "file_path": name}
    if content.title is not None:
        metadata["title"] = content.title
    return Document(doc_id=name, text=content.text, metadata=metadata)


def printable(path: Path) -> str:
    """Return a path as text, with escapes for bytes in it that are not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _content(path: Path) -> Content:
    try:
        if path.exists() and not path.is_file():
            raise SourceError("expected a regular file, got a pipe, socket or device; leave it out")
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}; repair or remove it") from error
    content = READERS[path.suffix.lower()](data)
    check_text(content.text)
    return content


def _walk(root: Path) -> Iterator[Path | FailedDocument]:
    """Yield all files below `root`, sorted by name; those behind links to folders come last.

    A link to a folder within `root` thus never takes the place of that folder, and no loop is entered.
    """
    waiting, visited = deque([root]), set[tuple[int, int]]()
    while waiting:
        path = waiting.pop()
        if not _is_folder(path):
            yield path
            continue
        try:
            entries = _entries(path, visited)
        except OSError as error:
            reason = f"folder cannot be listed: {error.strerror}; repair or remove it"
            yield FailedDocument(doc_id=None, where=printable(path), reason=reason)
            continue
        links = {entry for entry in entries if _is_folder(entry) and entry.is_symlink()}
        waiting.extendleft(entry for entry in entries if entry in links)
        waiting.extend(entry for entry in reversed(entries) if entry not in links)


def _entries(folder: Path, visited: set[tuple[int, int]]) -> list[Path]:
    """Return what lies in a folder and is not hidden, by name; nothing if it has been visited."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in visited:
        return []
    visited.add(identity)
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted(entries, key=lambda entry: entry.name)


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises where it may not look; this is then False

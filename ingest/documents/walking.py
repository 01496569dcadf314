"""The files of a folder, one after the other."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.documents.decoding import decode
from ingest.documents.options import SourceOptions
from ingest.documents.source import FailedDocument
from retriever.errors import SourceError

if TYPE_CHECKING:
    from ingest.documents.patterns import Patterns

IGNORE_FILE = ".tandemignore"
"""Lists what is left aside in its folder and those below, in the syntax of a ``.gitignore``."""

_AWAY = (
    "expected a file or a folder, got a link to nothing that is there, or what cannot be looked at; bring it "
    "back, remove it or leave it out (--exclude)"
)


def printable(path: Path) -> str:
    """Return a path as text, with escapes for bytes in it that are not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def walk(root: Path, options: SourceOptions, readable: Container[str]) -> Iterator[Path | FailedDocument]:
    """Yield all files below `root` that `options` and the ignore files leave, sorted by name.

    Those behind links to folders come last. A link to a folder within `root` thus never takes the place
    of that folder, and no loop is entered. What may be a folder and cannot be entered fails: a link to
    nothing, say, but for one with a suffix among `readable`, which stands for a document.

    Raises
    ------
    SourceError
        If a pattern cannot be used.
    """
    chosen = _Choice(root, options)
    waiting, visited = deque([root]), set[tuple[int, int]]()
    while waiting:
        path = waiting.pop()
        is_folder = _is_folder(path)
        if is_folder is None and path.suffix.lower() not in readable:
            if path == root or chosen.has_folder(path):
                yield FailedDocument(doc_id=None, where=printable(path), reason=_AWAY)
            continue
        if not is_folder:
            if chosen.has_file(path):
                yield path
            continue
        if path != root and not chosen.has_folder(path):
            continue
        try:
            entries = _entries(path, visited)
            chosen.enter(path)
        except OSError as error:
            reason = f"folder cannot be listed: {error.strerror}; repair or remove it"
            yield FailedDocument(doc_id=None, where=printable(path), reason=reason)
            continue
        links = {entry for entry in entries if _is_folder(entry) and entry.is_symlink()}
        waiting.extendleft(entry for entry in entries if entry in links)
        waiting.extend(entry for entry in reversed(entries) if entry not in links)


class _Choice:
    """Which files are read: by the options, and by the ignore files of the folders they lie in."""

    def __init__(self, root: Path, options: SourceOptions) -> None:
        self._root = root
        self._include = _patterns(options.include, "include")
        self._exclude = _patterns(options.exclude, "exclude")
        self._ignored: dict[Path, Patterns] = {}

    def enter(self, folder: Path) -> None:
        """Read the ignore file of a folder."""
        path = folder / IGNORE_FILE
        if path.is_file():
            try:
                text = decode(path.read_bytes()).text
            except SourceError as error:
                raise SourceError(f"{printable(path)}: {error}") from error
            patterns = _patterns(text.split("\n"), printable(path))
            if patterns is not None:
                self._ignored[folder] = patterns

    def has_file(self, path: Path) -> bool:
        if self._include is not None and not self._include.verdict(self._name(path)):
            return False
        return not self._left_aside(path, folder=False)

    def has_folder(self, path: Path) -> bool:
        return not self._left_aside(path, folder=True)

    def _left_aside(self, path: Path, *, folder: bool) -> bool:
        if self._exclude is not None and self._exclude.verdict(self._name(path), folder=folder):
            return True
        if not self._ignored:
            return False
        for parent in path.parents:  # the innermost file that says anything decides
            patterns = self._ignored.get(parent)
            if patterns is not None:
                verdict = patterns.verdict(path.relative_to(parent).as_posix(), folder=folder)
                if verdict is not None:
                    return verdict
            if parent == self._root:
                break
        return False

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


def _patterns(lines: tuple[str, ...] | list[str], where: str) -> Patterns | None:
    if not any(line.strip() for line in lines):
        return None
    from ingest.documents.patterns import Patterns

    return Patterns(lines, where)


def _entries(folder: Path, visited: set[tuple[int, int]]) -> list[Path]:
    """Return what lies in a folder and is not hidden, by name; nothing if it has been visited."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in visited:
        return []
    visited.add(identity)
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted(entries, key=lambda entry: entry.name)


def _is_folder(path: Path) -> bool | None:
    """Return whether this is a folder; None where nobody can tell."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return None if path.is_symlink() else False  # what was deleted meanwhile is none
    except OSError:
        return None

"""What comes on standard input: JSON Lines, or one text."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ingest.documents.decoding import decode
from ingest.documents.files import ENCODING
from ingest.documents.jsonl import JsonLinesSource
from ingest.documents.options import SourceOptions, check_size
from ingest.documents.source import FailedDocument, Source, check_text
from retriever.errors import SourceError
from retriever.records import Document

STANDARD_INPUT = "-"
"""The path that stands for standard input."""

NAME = "stdin"
"""The id of a text from there, and its place in messages."""

_FEW = 1 << 10


def standard_input(options: SourceOptions, stream: BinaryIO | None = None) -> Source:
    """Return a source of what comes on standard input (or `stream`), which can be iterated once.

    What begins with ``{``, white space aside, is JSON Lines; anything else is one plain text, whose id is
    ``stdin``. JSON Lines are read as they come.

    Raises
    ------
    SourceError
        If there is nothing, or an option does not apply to what there is.
    """
    stream = sys.stdin.buffer if stream is None else stream
    head = _beginning(stream)
    if not head.strip():
        raise SourceError("standard input: expected JSON Lines or a text, got nothing. Send it some.")
    replayed = _Once(_Replayed(head, stream))
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return JsonLinesSource(Path(NAME), options, opened=replayed)
    return _TextSource(replayed, options)


def _beginning(stream: BinaryIO) -> bytes:
    """Return what comes first on `stream`, up to something that is not white space."""
    head = b""
    while block := stream.read(1 if head else 4):
        head += block
        if head.removeprefix(b"\xef\xbb\xbf").strip():
            break
        if len(head) > _FEW:
            break
    return head


class _Replayed(io.RawIOBase):
    """A stream with its beginning put back."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._head[: len(buffer)] or _some(self._stream, len(buffer))
        self._head = self._head[len(block) :]
        buffer[: len(block)] = block
        return len(block)


def _some(stream: BinaryIO, size: int) -> bytes:
    """Return what has come already, without waiting for more, if there is anything."""
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    return read(size)


class _Once:
    """Opens a stream that cannot be opened twice."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw: io.RawIOBase | None = raw

    def __call__(self) -> BinaryIO:
        raw, self._raw = self._raw, None
        if raw is None:
            raise SourceError(
                "standard input: expected to be read once, it is at its end. Save it to a file."
            )
        return io.BufferedReader(raw)


class _TextSource:
    def __init__(self, opened: _Once, options: SourceOptions) -> None:
        options.accept(("max_bytes", "encoding"), "standard input, a text")
        self._opened = opened
        self._options = options
        self._detected: Counter[str] = Counter()

    @property
    def skipped(self) -> Mapping[str, int]:
        return {}

    @property
    def detected(self) -> Mapping[str, int]:
        return dict(self._detected)

    def __length_hint__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        with self._opened() as file:
            data = file.read(self._options.max_bytes + 1)
        try:
            check_size(len(data), self._options.max_bytes, "or more")
            decoded = decode(data, self._options.encoding)
            check_text(decoded.text)
        except SourceError as error:
            yield FailedDocument(doc_id=NAME, where=NAME, reason=str(error))
            return
        metadata = {} if decoded.detected is None else {ENCODING: decoded.detected}
        self._detected = Counter(metadata.values())
        yield Document(doc_id=NAME, text=decoded.text, metadata=metadata)

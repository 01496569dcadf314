"""The documents of a source that failed before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ingest.documents.source import FailedDocument, Source
from retriever.errors import SourceError
from retriever.records import Document


def retrying(source: Source, failures: Sequence[FailedDocument]) -> Source:
    """Return the part of `source` that failed in an earlier run.

    Where one of the failures has no id, nobody knows which documents are behind it: the source is
    then read whole, and all that is stored already is found unchanged. A source that has none of them
    is refused when it is iterated (`SourceError`).
    """
    if any(failed.doc_id is None for failed in failures):
        return source
    return _Retrying(source, frozenset(failed.doc_id for failed in failures if failed.doc_id is not None))


class _Retrying:
    def __init__(self, source: Source, doc_ids: frozenset[str]) -> None:
        self._source = source
        self._doc_ids = doc_ids

    @property
    def skipped(self) -> Mapping[str, int]:
        return self._source.skipped

    @property
    def detected(self) -> Mapping[str, int]:
        return self._source.detected

    def __length_hint__(self) -> int:
        return len(self._doc_ids)

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        found = 0
        for item in self._source:
            if item.doc_id in self._doc_ids:
                found += 1
                yield item
        if not found:
            raise SourceError(
                f"documents to retry: expected some of the {len(self._doc_ids):,} that failed, got none of "
                "them from the source. Give it the source of the run that they failed in, or run without "
                "--retry-failed."
            )

"""The seam to ways of cutting documents."""

from __future__ import annotations

from typing import Protocol

from retriever.records import Chunk, ChunkerSpec, Document


class Chunker(Protocol):
    """Cuts documents into chunks of at most `spec.max_tokens` tokens by every tokenizer.

    Tokens are those of what is embedded, special tokens included. Each chunk is a piece of the text of
    its document, without white space at its ends; no two are the same piece.
    """

    @property
    def spec(self) -> ChunkerSpec:
        """How it cuts; what is cut with an equal spec has equal chunks."""
        ...

    def chunks(self, document: Document, corpus: str) -> list[Chunk]:
        """Return the chunks of `document` in order; none if it has only white space.

        Ids depend on the corpus, the document's id, the place, text and prefix of the chunk and the
        spec, and on nothing else.

        Raises
        ------
        InputError
            If the document cannot be cut so.
        """
        ...

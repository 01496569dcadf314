"""Documents into chunks that no model truncates."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.chunks.budget import Budget
from ingest.chunks.identity import chunk_id
from ingest.chunks.nodes import with_nodes
from ingest.chunks.pieces import Piece, pieces_of
from ingest.chunks.rules import Rules
from ingest.chunks.sections import Section, sections_of
from ingest.chunks.settings import MARKDOWN, METHODS, NODE_PARSER, SENTENCES
from ingest.chunks.titles import Prefix, prefix_of
from retriever.errors import InputError, ModelMismatchError
from retriever.models.protocol import Tokenizer
from retriever.records import Chunk, ChunkerSpec, Document

SECTION = "section"
"""Where the metadata of a chunk name the headings it stands under."""

_BETWEEN = " \u203a "
_VERSION = 1
"""Of all ways of cutting, so far."""


class TextChunker:
    """Cuts documents into chunks of at most `spec.max_tokens` tokens by every tokenizer.

    - The tokens of each chunk are counted on what is embedded of it: its text, perhaps the title of the
      document before it, special tokens included. Nor has its text more than 32 characters for each
      token allowed, which only text with hardly any tokens meets.
    - By ``"words"``, a chunk ends where a paragraph ends; if that leaves it less than half full, where a
      sentence ends; else where a line ends; else after any word.
    - By ``"sentences"``, it ends where a paragraph ends if that leaves it half full, else where a
      sentence ends. Only of a sentence that is alone too long, pieces are cut as by words.
    - By ``"markdown"``, each section is cut as by words: a chunk has text of one section only, and
      begins with the heading if it is the first of them. A heading directly above a deeper one has no
      text of its own; it stands in the section of that one. The metadata of a chunk then have
      ``section``, the titles of the headings it stands under.
    - Words are what white space separates. Scripts that are written without spaces (Chinese, Japanese,
      Thai and their like) may be cut between any two characters, punctuation and marks aside.
    - A single word that is too long is cut between tokens, and within what is seen as one character
      only where that alone is too long.
    - With overlap, a chunk begins with the last words of the one before, as many as have at most
      `spec.overlap_tokens` tokens: fewer where the next word would no longer fit, none inside a word that
      was cut. By sentences, these are whole sentences, fewer where the next sentence would no longer fit;
      words only within a sentence that was cut. No section begins with the words of another.
    - With `spec.title_prefix`, the ``title`` among the document's metadata and an empty line are embedded
      before each chunk that does not begin with the title itself; of a title that takes more than a
      quarter of a chunk, as many words as do not. Overlap is counted without it.

    Parameters
    ----------
    spec
        How to cut; `spec.tokenizers` must be the sorted fingerprints of `tokenizers`.
    tokenizers
        All that count, in any order; repeats are allowed.

    Raises
    ------
    ModelMismatchError
        If `spec` asks for other tokenizers, or for a way of cutting that this release does not have.
    InputError
        If there is no room for text, or more overlap than half a chunk.
    """

    def __init__(self, spec: ChunkerSpec, tokenizers: Sequence[Tokenizer]) -> None:
        _check_method(spec)
        self._tokenizers = distinct(tokenizers)
        self._budget = budget_of(spec, self._tokenizers)
        self._spec = spec
        self._fingerprint = spec.fingerprint

    @property
    def spec(self) -> ChunkerSpec:
        """How it cuts."""
        return self._spec

    def chunks(self, document: Document, corpus: str) -> list[Chunk]:
        """Return the chunks of `document` in order; none if it has only white space.

        Ids depend on the corpus, the document's id, the place, text and prefix of the chunk and the
        spec, and on nothing else.

        Raises
        ------
        InputError
            If a single character has more tokens than a chunk may have; if sections are asked for and the
            document has a ``section`` among its metadata already, or headings that are not in its text.
        """
        rules = self._rules(document)
        chunks: list[Chunk] = []
        for section in self._sections(document):
            for piece in pieces_of(document.text[section.start : section.end], rules):
                chunks.append(self._chunk(document, corpus, len(chunks), section, piece, rules.prefix))
        return with_nodes(document, chunks)

    def _rules(self, document: Document) -> Rules:
        prefix = Prefix()
        if self._spec.title_prefix:
            prefix = prefix_of(document, self._tokenizers, self._budget)
        return Rules(
            tokenizers=self._tokenizers,
            bare=self._budget,
            prefixed=self._budget.with_prefix(prefix.text, self._tokenizers) if prefix.text else self._budget,
            prefix=prefix,
            whole_sentences=self._spec.method == SENTENCES,
        )

    def _sections(self, document: Document) -> list[Section]:
        if self._spec.method != MARKDOWN:
            return [Section(start=0, end=len(document.text))]
        if SECTION in document.metadata:
            raise InputError(
                f"metadata: expected another name than {SECTION!r}, which chunking by markdown sets; "
                "rename it, or choose another chunking"
            )
        return sections_of(document)

    def _chunk(  # noqa: PLR0913, PLR0917  # one call, in the order of what it is made of
        self, document: Document, corpus: str, index: int, section: Section, piece: Piece, prefix: Prefix
    ) -> Chunk:
        start, end = section.start + piece.start, section.start + piece.end
        text = document.text[start:end]
        before = prefix.before(document.text, start)
        return Chunk(
            chunk_id=chunk_id(
                corpus=corpus,
                doc_id=document.doc_id,
                index=index,
                text=text,
                prefix=before,
                fingerprint=self._fingerprint,
            ),
            doc_id=document.doc_id,
            index=index,
            text=text,
            start_char=start,
            end_char=end,
            token_count=piece.token_count,
            metadata=dict(document.metadata)
            | ({SECTION: _BETWEEN.join(section.path)} if section.path else {}),
            prefix=before,
        )


def distinct(tokenizers: Sequence[Tokenizer]) -> list[Tokenizer]:
    """Return one tokenizer of each fingerprint, sorted by it."""
    by_fingerprint = {tokenizer.fingerprint: tokenizer for tokenizer in tokenizers}
    return [by_fingerprint[fingerprint] for fingerprint in sorted(by_fingerprint)]


def budget_of(spec: ChunkerSpec, tokenizers: Sequence[Tokenizer]) -> Budget:
    """Return how long chunks may be.

    Raises
    ------
    ModelMismatchError
        If `spec` asks for other tokenizers.
    InputError
        If there is no room for text, or more overlap than half a chunk.
    """
    given = tuple(tokenizer.fingerprint for tokenizer in tokenizers)
    if not given or spec.tokenizers != given:
        raise ModelMismatchError(
            f"chunker: expected the tokenizers {', '.join(spec.tokenizers) or '(none)'}, "
            f"got {', '.join(given) or '(none)'}. Load the models that the corpus was cut for."
        )
    specials = tuple(tokenizer.count([""])[0] for tokenizer in tokenizers)
    if spec.max_tokens <= max(specials):
        raise InputError(
            f"chunk tokens: expected more than the {max(specials)} special tokens of a chunk, got "
            f"{spec.max_tokens}. Allow more (--chunk-tokens)."
        )
    if not 0 <= spec.overlap_tokens <= spec.max_tokens // 2:
        raise InputError(
            f"chunk overlap: expected 0 to {spec.max_tokens // 2} tokens, half of a chunk, got "
            f"{spec.overlap_tokens}. Let chunks overlap less."
        )
    return Budget(max_tokens=spec.max_tokens, overlap_tokens=spec.overlap_tokens, overheads=specials)


def check_version(spec: ChunkerSpec) -> None:
    """Refuse a corpus that another release cut in another way.

    Raises
    ------
    ModelMismatchError
        Then.
    """
    known = (*METHODS, NODE_PARSER)
    if spec.method not in known or spec.version != _VERSION:
        raise ModelMismatchError(
            f"chunker: expected method {', '.join(map(repr, known))} version {_VERSION}, got {spec.method!r} "
            f"version {spec.version}. Use the release that cut this corpus, or ingest it again."
        )


def _check_method(spec: ChunkerSpec) -> None:
    check_version(spec)
    if spec.method == NODE_PARSER:
        raise ModelMismatchError(
            f"chunker: expected a method of Tandem's own ({', '.join(METHODS)}), got a corpus that the node "
            f"parser {spec.parser} cut. Give the same parser again."
        )

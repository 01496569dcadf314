"""How a user wishes documents to be cut."""

from __future__ import annotations

from dataclasses import dataclass

WORDS, SENTENCES, MARKDOWN = "words", "sentences", "markdown"
METHODS = (WORDS, SENTENCES, MARKDOWN)
"""What `ChunkSettings.method` can be."""

NODE_PARSER = "node-parser"
"""The method of a corpus that a LlamaIndex node parser cuts."""

DEFAULT_TOKENS = 256
"""As in the paper."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkSettings:
    """Wishes for the chunks of a corpus; None means as the corpus is, or the default for a new one.

    Attributes
    ----------
    method
        - ``"words"`` (default): a chunk ends where a paragraph ends; if that leaves it less than half
          full, where a sentence ends; else where a line ends; else after any word.
        - ``"sentences"``: a chunk ends where a sentence ends, however short that leaves it; only a
          sentence that is alone too long is cut, as above.
        - ``"markdown"``: as ``"words"`` within each section; no chunk crosses a heading, and each has
          the titles of the headings it stands under in its metadata, as ``section``.
    max_tokens
        The longest chunk, special tokens and title included and the models' document prompts not;
        256 by default.
    overlap_tokens
        How much of a chunk its successor repeats, at most half of it; 0 by default.
    title_prefix
        Whether the document's ``title`` (of its metadata) is embedded before each chunk that does not
        begin with it; False by default.
    parser
        A LlamaIndex node parser that cuts instead: `method` and `overlap_tokens` are then its own
        business. Chunks longer than `max_tokens` are refused.
    """

    method: str | None = None
    max_tokens: int | None = None
    overlap_tokens: int | None = None
    title_prefix: bool | None = None
    parser: object | None = None

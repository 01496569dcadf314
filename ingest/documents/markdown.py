"""Markdown into plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from ingest.documents.html import html_content
from ingest.documents.plain import LINE, PARAGRAPH, SPACE, Content, PlainText
from retriever.errors import SourceError

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"---[ \t]*\n(?=[\w-]+[ \t]*:)(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"""^title[ \t]*:[ \t]*(["']?)(.+?)\1[ \t]*$""", re.MULTILINE)
_LINE_BREAK = re.compile(r"<br\b", re.IGNORECASE)

_NESTING = 100
"""How deep the parser goes into lists and quotes; by itself it drops what lies deeper than 20."""

_LISTS = ("bullet_list_open", "bullet_list_close", "ordered_list_open", "ordered_list_close")
_CELLS = ("td", "th")


def markdown_content(source: str) -> Content:
    """Return the text of a Markdown file (CommonMark with tables and strikethrough), title and headings.

    Headings, paragraphs, list items, code, table cells, link texts and descriptions of images are
    kept; their markup, link targets and front matter are not. Numbers of lists stay, since text refers
    to them. The title is that of the front matter, else the first heading of level 1.

    Raises
    ------
    SourceError
        With the reason, if it is nested too deeply to be read.
    """
    front = _FRONT_MATTER.match(source)
    body = source[front.end() :] if front else source
    tokens = _tokens(body)
    title = _TITLE.search(front[1]) if front else None
    return _plain(tokens).content(title=title[2] if title else _first_heading(tokens))


def _tokens(body: str) -> list[Token]:
    problem = f"nested too deeply: expected Markdown of less than {_NESTING} levels; simplify it"
    try:
        tokens = _parser().parse(body)
    except RecursionError as error:
        raise SourceError(problem) from error
    if any(token.level >= _NESTING - 1 for token in tokens):
        raise SourceError(problem)
    return tokens


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"maxNesting": _NESTING}).enable(["table", "strikethrough"])


def _plain(tokens: Sequence[Token]) -> PlainText:
    plain = PlainText()
    for token in tokens:
        _write(plain, token)
    return plain


def _write(plain: PlainText, token: Token) -> None:
    """Write one block token, or the gap it stands for."""
    if token.type in {"inline", "fence", "code_block", "html_block"}:
        _write_content(plain, token)
    elif token.tag == "li":
        _write_item_edge(plain, token)
    elif token.type == "heading_open":
        plain.begin_heading(int(token.tag[1:]))
    elif token.type == "heading_close":
        plain.end_heading()
        plain.gap(PARAGRAPH)
    elif token.tag in _CELLS:
        plain.lead("") if token.nesting > 0 else plain.end_cell()
    else:
        plain.gap(_gap(token))


def _write_content(plain: PlainText, token: Token) -> None:
    if token.type == "inline":
        text = _inline(token.children or ())
        if text:
            plain.write(text.replace(LINE, SPACE) if plain.in_heading else text)
        return
    if token.type == "html_block":
        content = html_content(token.content)
    else:
        content = Content(text=token.content.rstrip("\n"))
    if content.text:
        plain.gap(PARAGRAPH)
        plain.write_content(content)
        plain.gap(PARAGRAPH)


def _write_item_edge(plain: PlainText, token: Token) -> None:
    if token.nesting < 0:
        plain.end_item()
    elif token.info:  # its number
        plain.lead(f"{token.info}{token.markup} ")


def _gap(token: Token) -> str:
    """Return the gap that the edge of a block stands for."""
    if token.tag in {"tr", "thead", "tbody"} or token.hidden:  # hidden: the paragraph of a tight item
        return LINE
    return LINE if token.type in _LISTS and token.level > 0 else PARAGRAPH


def _inline(tokens: Sequence[Token]) -> str:
    return "".join(_inline_text(token) for token in tokens)


def _inline_text(token: Token) -> str:
    match token.type:
        case "softbreak":
            return SPACE
        case "hardbreak":
            return LINE
        case "image":
            return _inline(token.children or ())
        case "html_inline":
            return LINE if _LINE_BREAK.match(token.content) else ""
    return token.content


def _first_heading(tokens: Sequence[Token]) -> str | None:
    for opening, inside in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h1":
            return _inline(inside.children or ()).strip() or None
    return None

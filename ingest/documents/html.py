"""HTML into plain text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ingest.documents.plain import LINE, PARAGRAPH, SPACE, Content, PlainText
from retriever.errors import SourceError

if TYPE_CHECKING:
    from bs4 import BeautifulSoup
    from bs4.element import PageElement, Tag

_WITHOUT_TEXT = frozenset(
    {"head", "iframe", "nav", "noscript", "script", "style", "svg", "template", "title"}
)
_GAPS = dict.fromkeys(("caption", "dd", "div", "dt", "figcaption", "li", "summary", "tr"), LINE)
_GAPS |= dict.fromkeys(
    (
        *("address", "article", "aside", "blockquote", "details", "dl", "fieldset", "figure", "footer"),
        *("form", "header", "hr", "main", "ol", "p", "pre"),
        *("section", "table", "ul"),
    ),
    PARAGRAPH,
)
_CELLS = ("td", "th")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_WHITE_SPACE = re.compile(r"[ \t\n\f\r]+")
_AS_IN_BROWSERS = {
    "ascii": "windows-1252",
    "iso-8859-1": "windows-1252",
    "latin-1": "windows-1252",
    "latin1": "windows-1252",
    "us-ascii": "windows-1252",
    "utf-16": "utf-8",  # a declaration that can be read byte by byte is not in UTF-16
    "utf-16be": "utf-8",
    "utf-16le": "utf-8",
}
"""Encodings that mean another one where a page declares them (https://encoding.spec.whatwg.org)."""


def declared_encoding(data: bytes) -> str | None:
    """Return the encoding that a page declares for itself, as browsers read it; None if it does not."""
    from bs4.dammit import EncodingDetector

    declared = EncodingDetector.find_declared_encoding(data, is_html=True)
    return _AS_IN_BROWSERS.get(declared, declared) if declared else None


def html_content(source: str) -> Content:
    """Return the text of an HTML page, its title and its headings.

    Scripts, styles, navigation and the like are left out; descriptions of images are kept. Blocks are
    separated by line ends or blank lines, cells of a table by tabs; white space counts as in a browser.

    Raises
    ------
    SourceError
        With the reason, if it cannot be parsed at all.
    """
    soup = _parsed(source)
    title = soup.find("title")
    words = _collapsed(title.get_text()).strip() if title else ""
    return _plain(soup).content(title=words or None)


def _parsed(source: str) -> BeautifulSoup:
    from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning
    from bs4.exceptions import ParserRejectedMarkup

    with warnings.catch_warnings():  # hints for programmers; the file is what it is
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        try:
            return BeautifulSoup(source, "html.parser")
        except (ParserRejectedMarkup, RecursionError) as error:
            raise SourceError("broken HTML: expected a page that can be parsed; repair it") from error


def _plain(soup: BeautifulSoup) -> PlainText:
    from bs4.element import NavigableString, PreformattedString, Tag

    plain = PlainText()
    preformatted = 0
    for node, begins in _events(soup):
        if isinstance(node, Tag):
            preformatted += (1 if begins else -1) * (node.name == "pre")
            _write_edge(plain, node, begins=begins)
        elif isinstance(node, NavigableString) and not isinstance(node, PreformattedString):
            _write_string(plain, str(node), preformatted=preformatted > 0)
    return plain


def _events(root: Tag) -> Iterator[tuple[PageElement, bool]]:
    """Yield each node where it begins and each tag again where it ends.

    Without recursion: pages whose items are never closed nest as deep as they are long.
    """
    from bs4.element import Tag

    open_tags = [(root, iter(root.contents))]
    while open_tags:
        tag, children = open_tags[-1]
        node = next(children, None)
        if node is None:
            open_tags.pop()
            yield tag, False
        elif not isinstance(node, Tag):
            yield node, True
        elif node.name not in _WITHOUT_TEXT:
            yield node, True
            open_tags.append((node, iter(node.contents)))


def _write_edge(plain: PlainText, tag: Tag, *, begins: bool) -> None:
    """Write what the begin or the end of a tag stands for."""
    if tag.name in _CELLS:
        plain.lead("") if begins else plain.end_cell()
    elif tag.name == "img" and begins:
        _write_string(plain, str(tag.get("alt", "")), preformatted=False)
    elif tag.name == "br":
        plain.line_break()
    elif tag.name in _HEADINGS:
        plain.begin_heading(_HEADINGS[tag.name]) if begins else plain.end_heading()
        plain.gap(PARAGRAPH)
    elif tag.name in _GAPS:
        plain.gap(_GAPS[tag.name])


def _write_string(plain: PlainText, string: str, *, preformatted: bool) -> None:
    if preformatted:
        plain.write(string)
        return
    words = _collapsed(string)
    if words.startswith(SPACE):
        plain.gap(SPACE)
    if words.strip(SPACE):
        plain.write(words.strip(SPACE))
    if words.endswith(SPACE):
        plain.gap(SPACE)


def _collapsed(string: str) -> str:
    return _WHITE_SPACE.sub(SPACE, string)

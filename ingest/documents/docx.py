"""Word files into plain text, through python-docx; the one file that imports it.

A .docx is a ZIP archive of XML, and either can be made to unpack to gigabytes. So the archive is unpacked
here, piece by piece and up to a limit, and python-docx gets one that is not compressed.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from ingest.documents.options import check_size, in_mebibytes, too_large
from ingest.documents.plain import LINE, PARAGRAPH, SPACE, Content, PlainText
from retriever.errors import SourceError

try:
    import docx
    from docx.enum.style import WD_STYLE_TYPE
    from docx.oxml.ns import qn
except ModuleNotFoundError as error:
    raise SourceError(
        "Word: expected the package python-docx, got no such package. "
        'Install it with: pip install "tandem-rag[documents]"'
    ) from error

_OLE = b"\xd0\xcf\x11\xe0"
"""Begins the files of Word before 2007, and any that has a password."""

_BLOCK = 1 << 16
_MOST_PARTS = 10_000
_SMALL = 1 << 20
_MOST_RATIO = 200
"""Of unpacked to packed bytes, beyond `_SMALL`; XML that people wrote stays below 50."""

_MARKUP = (".xml", ".rels")

_PARAGRAPH, _TABLE, _ROW, _CELL = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc")
_TEXT, _STYLE, _OUTLINE = qn("w:t"), qn("w:pStyle"), qn("w:outlineLvl")
_SIGNS = {qn("w:tab"): SPACE, qn("w:br"): LINE, qn("w:cr"): LINE, qn("w:noBreakHyphen"): "-"}
_LEFT_OUT = frozenset(
    (
        qn("w:del"),
        qn("w:moveFrom"),  # it also stands where it was moved to
        qn("w:pPr"),
        qn("w:rPr"),
        "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",  # for old programs
    )
)
_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)


def docx_content(data: bytes, *, max_bytes: int) -> Content:
    """Return the text of a Word file, its title and its headings.

    Paragraphs are separated by empty lines, those of one cell by line ends, cells by tabs. Text boxes,
    content controls and inserted text are read, as the file looks with its changes accepted; headers,
    footers, notes and comments are not. Headings are paragraphs with a style or outline level of a
    heading; the style Title counts as level 1. The title is the file's own, else the first heading of
    level 1.

    Raises
    ------
    SourceError
        With the reason, if it is broken, has a password, or unpacks to more than `max_bytes`.
    """
    if data.startswith(_OLE):
        raise SourceError(
            "expected a .docx file, got one of an older Word or with a password; save it as .docx"
        )
    document = _opened(_unpacked(data, max_bytes))
    plain = PlainText()
    for element, begins in _events(document.element.body):
        _write_edge(plain, element, document.levels, begins=begins)
    content = plain.content()
    first = next((heading.title for heading in content.headings or () if heading.level == 1), None)
    return Content(text=content.text, title=document.title or first, headings=content.headings)


def _unpacked(data: bytes, limit: int) -> bytes:
    """Return the archive with its XML stored as it is; of what is no XML, only the names are left."""
    unpacked = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed, zipfile.ZipFile(unpacked, "w") as plain:
            entries = _entries(packed, limit)
            left = limit
            for name, entry in entries.items():
                content = _inflated(packed, entry, left, limit) if name.endswith(_MARKUP) else b""
                left -= len(content)
                plain.writestr(name, content)
    except SourceError:
        raise
    except Exception as error:  # whatever zipfile meets in an archive that is broken on purpose
        raise SourceError(
            f"broken Word file: expected a ZIP archive that can be unpacked, got: {error}; repair it"
        ) from error
    return unpacked.getvalue()


def _entries(packed: zipfile.ZipFile, limit: int) -> Mapping[str, zipfile.ZipInfo]:
    """Return what the directory of the archive lists, after checking what it says about sizes."""
    entries = {entry.filename: entry for entry in packed.infolist()}
    if len(entries) > _MOST_PARTS:
        raise SourceError(f"broken Word file: expected at most {_MOST_PARTS:,} parts, got {len(entries):,}")
    markup = [entry for name, entry in entries.items() if name.endswith(_MARKUP)]
    size = sum(entry.file_size for entry in markup)
    check_size(size, limit, "unpacked")
    for entry in markup:
        if entry.file_size > max(_SMALL, _MOST_RATIO * entry.compress_size):
            raise SourceError(
                f"a zip bomb: expected XML that unpacks to at most {_MOST_RATIO} times its size, got "
                f"{in_mebibytes(entry.file_size)} from {in_mebibytes(entry.compress_size)}; leave it out"
            )
    return entries


def _inflated(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int, limit: int) -> bytes:
    """Return the bytes of a part, as far as there are at most `left` of them, whatever the directory says."""
    content = io.BytesIO()
    with packed.open(entry) as part:
        while block := part.read(_BLOCK):
            content.write(block)
            if content.tell() > left:
                raise SourceError(too_large("more than that unpacked", limit))
    found = content.getvalue()
    if b"<!DOCTYPE" in found or b"<!ENTITY" in found:
        raise SourceError(
            "broken Word file: expected XML without a document type, as Word writes it; repair it"
        )
    return found


class _Opened:
    """What is read of a document: its body, its title, and the heading levels of its styles by their ids."""

    def __init__(self, document: Any) -> None:
        self.element = document.element
        self.title = " ".join((document.core_properties.title or "").split()) or None
        self.levels = {
            style.style_id: level
            for style in document.styles
            if style.type is WD_STYLE_TYPE.PARAGRAPH and (level := _level_of(style)) is not None
        }


def _opened(data: bytes) -> _Opened:
    try:
        return _Opened(docx.Document(io.BytesIO(data)))
    except Exception as error:  # whatever python-docx and lxml meet in XML that is broken on purpose
        raise SourceError(
            f"broken Word file: expected parts that python-docx can read, got: "
            f"{type(error).__name__}: {error}; save it again"
        ) from error


def _level_of(style: Any) -> int | None:
    """Return the level of a heading style, or of the one that it is based on."""
    seen = set()
    while style is not None and style.style_id not in seen:
        seen.add(style.style_id)
        name = style.name or ""
        if name.lower() == "title":
            return 1
        if match := _HEADING.fullmatch(name):
            return int(match[1])
        if (level := _outline_level(style.element.pPr)) is not None:
            return level
        style = style.base_style
    return None


def _outline_level(properties: Any) -> int | None:
    """Return the level that a paragraph or style sets; 9 there means text."""
    element = None if properties is None else properties.find(_OUTLINE)
    value = "" if element is None else element.get(qn("w:val"), "")
    return int(value) + 1 if value.isdecimal() and len(value) == 1 and value != "9" else None


def _heading_level(paragraph: Any, levels: Mapping[str, int]) -> int | None:
    properties = paragraph.pPr
    if properties is None:
        return None
    own = _outline_level(properties)
    if own is not None:
        return own
    style = properties.find(_STYLE)
    return None if style is None else levels.get(style.get(qn("w:val"), ""))


def _events(root: Any) -> Iterator[tuple[Any, bool]]:
    """Yield each element below `root` where it begins and again where it ends."""
    open_elements = [(root, iter(root))]
    while open_elements:
        element, children = open_elements[-1]
        child = next(children, None)
        if child is None:
            open_elements.pop()
            yield element, False
        elif child.tag not in _LEFT_OUT:
            yield child, True
            open_elements.append((child, iter(child)))


def _write_edge(plain: PlainText, element: Any, levels: Mapping[str, int], *, begins: bool) -> None:
    """Write what the begin or the end of an element stands for."""
    match element.tag:
        case tag if tag == _PARAGRAPH:
            _write_paragraph_edge(plain, element, levels, begins=begins)
        case tag if tag == _TABLE:
            plain.gap(PARAGRAPH)
        case tag if tag == _ROW:
            plain.gap(LINE)
        case tag if tag == _CELL:
            plain.lead("") if begins else plain.end_cell()
        case tag if tag == _TEXT and begins:
            if element.text:
                plain.write(element.text)
        case tag if tag in _SIGNS and begins:
            plain.line_break() if _SIGNS[tag] == LINE else plain.write(_SIGNS[tag])


def _write_paragraph_edge(
    plain: PlainText, paragraph: Any, levels: Mapping[str, int], *, begins: bool
) -> None:
    gap = LINE if _in_cell(paragraph) else PARAGRAPH
    plain.gap(gap)
    if not begins:
        plain.end_heading()
    elif (level := _heading_level(paragraph, levels)) is not None and gap == PARAGRAPH:
        plain.begin_heading(level)


def _in_cell(paragraph: Any) -> bool:
    return any(ancestor.tag == _CELL for ancestor in paragraph.iterancestors())

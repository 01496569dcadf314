"""Headings: where they start, how deep they are, what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.documents import open_source
from retriever.records import Document


def read(path: Path, text: str) -> Document:
    path.write_text(text, encoding="utf-8")
    (document,) = open_source(path)
    assert isinstance(document, Document)
    return document


def outline(document: Document) -> list[tuple[int, str]]:
    """Return levels and titles, after checking that each title is where its heading says."""
    for heading in document.headings:
        assert document.text.startswith(heading.title, heading.start_char)
        assert heading.title
        assert "\n" not in heading.title
    starts = [heading.start_char for heading in document.headings]
    assert starts == sorted(starts)
    return [(heading.level, heading.title) for heading in document.headings]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "# One\n\nText.\n\n## Two `code`\n\nMore.\n\nThree\n=====\n",
            [(1, "One"), (2, "Two code"), (1, "Three")],
        ),
        ("Text first.\n\n###### Deep", [(6, "Deep")]),
        ("#\n\nNo heading.\n\n# One", [(1, "One")]),  # one without text is none, and none of what follows
        ("- # In a list\n\n> ## In a quote\n", [(1, "In a list"), (2, "In a quote")]),
        ("Title\\\nin two lines\n===\n\nText.", [(1, "Title in two lines")]),
        ("Text.\n\n<h2 align='center'>By <b>tags</b></h2>\n\nText.", [(2, "By tags")]),
        ("```\n# a comment\n```\n", []),
        ("---\ntitle: T\n---\n# One\n", [(1, "One")]),
        ("# Same\n\n# Same\n\n# Same", [(1, "Same")] * 3),
    ],
)
def test_markdown(tmp_path: Path, source: str, expected: list[tuple[int, str]]) -> None:
    assert outline(read(tmp_path / "a.md", source)) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<h1> One </h1><p>Text.<h3>Two\nthree</h3>Text.", [(1, "One"), (3, "Two three")]),
        ("<pre>\n\n\n</pre><h1>One</h1>", [(1, "One")]),  # empty lines at the beginning are not in the text
        ("<h1></h1><p>Text.</p><h2><img alt='A picture'></h2>", [(2, "A picture")]),
        ("<h1>One<br>line</h1><p>Text.", [(1, "One line")]),
        ("<h1>Not closed<p>Text that goes on.<p>And on.<h2>Two</h2>", [(1, "Not closed"), (2, "Two")]),
        ("<nav><h1>Menu</h1></nav><h2>Body</h2>", [(2, "Body")]),
        ("<table><tr><td><h4>Cell</h4></td><td>Text</td></tr></table>", [(4, "Cell")]),
        ("<h2>One</h2><h2>\xa0Two\xa0</h2>", [(2, "One"), (2, "Two")]),
    ],
)
def test_html(tmp_path: Path, source: str, expected: list[tuple[int, str]]) -> None:
    assert outline(read(tmp_path / "a.html", source)) == expected


def test_a_heading_that_is_not_closed_does_not_change_the_text(tmp_path: Path) -> None:
    document = read(tmp_path / "a.html", "<h1>Not closed<p>One<br>two.")
    assert document.text == "Not closed\n\nOne\ntwo."


def test_headings_change_the_hash_of_a_document(tmp_path: Path) -> None:
    first, second = (read(tmp_path / "a.md", f"{marks} One\n\nText.") for marks in ("#", "##"))
    assert (first.text, second.headings[0].level) == (second.text, 2)
    assert first.content_hash != second.content_hash

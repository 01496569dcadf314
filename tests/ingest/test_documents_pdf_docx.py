"""PDF and Word files: what is read, what is refused, and what they cannot do to the process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import OxmlElement
from docx.oxml.ns import nsdecls

from ingest.documents import FailedDocument, SourceOptions, open_source, pdf
from retriever.records import Document, Heading

DATA = Path(__file__).parents[1] / "data"


def only(path: Path, **options: Any) -> Document:
    (item,) = open_source(path, SourceOptions(**options))
    assert isinstance(item, Document), item
    return item


def reason(path: Path, **options: Any) -> str:
    (item,) = open_source(path, SourceOptions(**options))
    assert isinstance(item, FailedDocument), item
    assert item.doc_id == path.name
    return item.reason


def pdf_with(content: bytes, *, pages: int = 1, filters: str = "") -> bytes:
    """Return a PDF whose one page has this content; PDFium can do without the table of places."""
    kids = " ".join(["3 0 R"] * pages)
    return b"".join(
        (
            b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n",
            f"2 0 obj<</Type/Pages/Count {pages}/Kids[{kids}]>>endobj\n".encode(),
            b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Resources<</Font<</F1<</Type/Font",
            b"/Subtype/Type1/BaseFont/Helvetica>>>>>>/Contents 4 0 R>>endobj\n",
            f"4 0 obj<</Length {len(content)}{filters}>>stream\n".encode(),
            content,
            b"\nendstream endobj\ntrailer<</Root 1 0 R>>",
        )
    )


class TestPdf:
    def test_pages_are_paragraphs_of_one_document(self) -> None:
        document = only(DATA / "two-pages.pdf")
        assert document.text == "On the first page,\nthere are café and cheese.\n\nThe second page is here."
        assert document.metadata == {
            "file_name": "two-pages.pdf",
            "file_path": "two-pages.pdf",
            "pages": 2,
            "title": "Notes on two pages",
        }

    def test_a_scan_needs_a_text_layer(self) -> None:
        assert reason(DATA / "no-text-layer.pdf").startswith("no text layer: expected text, got 1 pages")
        assert "OCR" in reason(DATA / "no-text-layer.pdf")

    def test_an_encrypted_file_says_so(self) -> None:
        assert reason(DATA / "encrypted.pdf").startswith(
            "encrypted: expected a PDF that opens without a password"
        )

    @pytest.mark.parametrize("data", [b"", b"%PDF-1.4", b"no PDF at all", b"\0" * 100])
    def test_a_broken_file_says_so(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.pdf").write_bytes(data)
        assert reason(tmp_path / "a.pdf").startswith("broken PDF: expected one that PDFium can open")

    def test_hyphens_at_the_end_of_a_line_are_mended(self, tmp_path: Path) -> None:
        (tmp_path / "a.pdf").write_bytes(
            pdf_with(b"BT /F1 12 Tf 14 TL 20 250 Td (manip-) Tj T* (ulation) Tj ET")
        )
        assert only(tmp_path / "a.pdf").text == "manipulation"

    def test_more_text_than_the_limit_is_refused(self, tmp_path: Path) -> None:
        words = b"BT /F1 1 Tf 2 TL 1 290 Td " + b"(some words in a row) Tj T* " * 100 + b"ET"
        packed = zlib.compress(words)
        (tmp_path / "a.pdf").write_bytes(pdf_with(packed, filters="/Filter/FlateDecode"))
        assert len(only(tmp_path / "a.pdf").text) > 1000
        assert "more than that of text" in reason(tmp_path / "a.pdf", max_bytes=1000)

    @pytest.mark.skipif(sys.platform != "linux", reason="only there can the memory of a process be limited")
    def test_a_bomb_ends_the_reader_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pdf, "_MEMORY", 1 << 28)
        packer = zlib.compressobj(9)
        packed = b"".join(packer.compress(b" " * 10_000_000) for _ in range(50)) + packer.flush()  # 500 MB
        (tmp_path / "a.pdf").write_bytes(pdf_with(packed, filters="/Filter/FlateDecode"))
        (tmp_path / "b.pdf").write_bytes((DATA / "two-pages.pdf").read_bytes())
        first, second = open_source(tmp_path)
        assert isinstance(first, FailedDocument)
        assert "out of memory, or crashed" in first.reason
        assert isinstance(second, Document)

    def test_one_that_takes_too_long_is_given_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert only(DATA / "two-pages.pdf")  # the reader runs
        monkeypatch.setattr(pdf, "_MOST_SECONDS", 0.05)
        endless = b"BT /F1 9 Tf " + b"(x) Tj 1 0 0 1 0 0 cm " * 300_000 + b"ET"
        (tmp_path / "a.pdf").write_bytes(pdf_with(endless))
        start = time.monotonic()
        assert "got more than 0 s" in reason(tmp_path / "a.pdf")
        assert time.monotonic() - start < 10
        monkeypatch.undo()
        assert only(DATA / "two-pages.pdf")

    @pytest.mark.skipif(not hasattr(os, "kill"), reason="this system has no signals")
    def test_a_reader_that_died_is_replaced(self) -> None:
        assert only(DATA / "two-pages.pdf")
        process = pdf._READER._process
        assert process is not None
        process.kill()
        process.wait()
        assert only(DATA / "two-pages.pdf")

    @pytest.mark.parametrize(("suffix", "package"), [("pdf", "pypdfium2"), ("docx", "docx")])
    def test_a_missing_package_fails_each_file_with_the_command(
        self, tmp_path: Path, suffix: str, package: str
    ) -> None:
        (tmp_path / f"a.{suffix}").write_bytes(b"x")
        (tmp_path / "b.txt").write_text("Text.")
        code = (
            "import sys, importlib.util as u\n"
            f"sys.modules[{package!r}] = None\n"
            f"find = u.find_spec\n"
            f"u.find_spec = lambda name, *more: None if name == {package!r} else find(name, *more)\n"
            "from ingest.documents import open_source\n"
            f"for item in open_source({str(tmp_path)!r}): print(getattr(item, 'reason', 'read'))"
        )
        ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        first, second = ran.stdout.splitlines()
        assert 'pip install "tandem-rag[documents]"' in first
        assert second == "read"


def saved(document: Any, path: Path) -> Path:
    document.save(str(path))
    return path


def packed(path: Path, parts: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a Word file with these parts instead of, or beside, those of an empty one."""
    empty = io.BytesIO()
    docx.Document().save(empty)
    with zipfile.ZipFile(empty) as old, zipfile.ZipFile(path, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, parts.get(name, old.read(name)))
        for name in parts.keys() - set(old.namelist()):
            new.writestr(name, parts[name])
    return path


BODY = "word/document.xml"


def body(inner: str) -> bytes:
    return f'<?xml version="1.0"?><w:document {nsdecls("w")}><w:body>{inner}</w:body></w:document>'.encode()


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


class TestDocx:
    def test_text_title_and_headings(self, tmp_path: Path) -> None:
        written = docx.Document()
        written.core_properties.title = ""
        written.add_heading("The report", level=0)  # the style Title
        written.add_paragraph("First.")
        written.add_heading("Part one", level=1)
        run = written.add_paragraph("A line").add_run()
        run.add_break()
        run.add_text("and another.")
        written.add_heading("", level=2)
        written.add_heading("Deep", level=3)
        written.add_paragraph("one", style="List Bullet")
        document = only(saved(written, tmp_path / "a.docx"))
        assert document.text == ("The report\n\nFirst.\n\nPart one\n\nA line\nand another.\n\nDeep\n\none")
        assert document.metadata["title"] == "The report"
        assert document.headings == tuple(
            Heading(start_char=document.text.index(title), level=level, title=title)
            for title, level in (("The report", 1), ("Part one", 1), ("Deep", 3))
        )

    def test_the_title_of_the_file_counts_first(self, tmp_path: Path) -> None:
        written = docx.Document()
        written.core_properties.title = "Of the\n file"
        written.add_heading("Of the text", level=1)
        assert only(saved(written, tmp_path / "a.docx")).metadata["title"] == "Of the file"

    def test_styles_that_are_based_on_headings_are_headings(self, tmp_path: Path) -> None:
        written = docx.Document()
        style = written.styles.add_style("House style", WD_STYLE_TYPE.PARAGRAPH)
        style.base_style = written.styles["Heading 2"]
        written.add_paragraph("By style", style="House style")
        outlined = written.add_paragraph("By level")
        level = OxmlElement("w:outlineLvl")
        level.set("{http://schemas.openxmlformats.org/wordprocessingml/2006/main}val", "3")
        outlined._p.get_or_add_pPr().append(level)
        written.add_paragraph("Text.")
        document = only(saved(written, tmp_path / "a.docx"))
        assert [(heading.level, heading.title) for heading in document.headings] == [
            (2, "By style"),
            (4, "By level"),
        ]

    def test_tables_have_tabs_between_cells(self, tmp_path: Path) -> None:
        written = docx.Document()
        table = written.add_table(2, 2)
        for place, text in enumerate(("model", "tokens", "", "256")):
            table.cell(*divmod(place, 2)).text = text
        table.cell(1, 1).add_paragraph("or 512")
        written.add_paragraph("After.")
        assert only(saved(written, tmp_path / "a.docx")).text == "model\ttokens\n\t256\nor 512\n\nAfter."

    def test_changes_are_accepted_and_nothing_stands_twice(self, tmp_path: Path) -> None:
        inner = (
            "<w:sdt><w:sdtContent>" + paragraph("In a control.") + "</w:sdtContent></w:sdt>"
            "<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del>"
            "<w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom><w:hyperlink><w:r><w:t> link</w:t></w:r>"
            "</w:hyperlink></w:p>"
        )
        document = only(packed(tmp_path / "a.docx", {BODY: body(inner)}))
        assert document.text == "In a control.\n\nnew link"

    def test_deep_tables_are_read_up_to_what_the_parser_allows(self, tmp_path: Path) -> None:
        def nested(depth: int) -> bytes:
            inner = "<w:tbl><w:tr><w:tc>" * depth + paragraph("deep") + "</w:tc></w:tr></w:tbl>" * depth
            return body(inner)

        assert only(packed(tmp_path / "a.docx", {BODY: nested(20)})).text.strip() == "deep"
        assert "broken Word file" in reason(packed(tmp_path / "b.docx", {BODY: nested(5000)}))

    @pytest.mark.parametrize(
        ("inner", "why"),
        [
            (b"", "broken Word file"),
            (b"<w:document", "broken Word file"),
            (b"\xff\xfe\x00", "broken Word file"),
            (
                b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + body(paragraph("&b;")),
                "without a document type",
            ),
        ],
    )
    def test_broken_xml_says_so(self, tmp_path: Path, inner: bytes, why: str) -> None:
        assert why in reason(packed(tmp_path / "a.docx", {BODY: inner}))

    def test_a_document_without_text_is_a_failure(self, tmp_path: Path) -> None:
        assert reason(saved(docx.Document(), tmp_path / "a.docx")).startswith("no text")

    def test_older_and_encrypted_files_say_so(self, tmp_path: Path) -> None:
        (tmp_path / "a.docx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
        assert "an older Word or with a password" in reason(tmp_path / "a.docx")

    @pytest.mark.parametrize("cut", [0, 10, 500, -30])
    def test_a_truncated_file_says_so(self, tmp_path: Path, cut: int) -> None:
        path = packed(tmp_path / "a.docx", {BODY: body(paragraph("Text."))})
        path.write_bytes(path.read_bytes()[:cut])
        assert reason(path).startswith("broken Word file: expected a ZIP archive")


class TestZipBombs:
    def peak(self, path: Path, **options: Any) -> tuple[str, int]:
        assert only(saved_text(path.parent))  # what is loaded on first use is no part of the peak
        tracemalloc.start()
        try:
            return reason(path, **options), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_what_the_directory_admits_is_not_unpacked(self, tmp_path: Path) -> None:
        path = packed(tmp_path / "a.docx", {BODY: b" " * 200_000_000})
        assert path.stat().st_size < 300_000
        why, peak = self.peak(path)
        assert why.startswith("too large: expected at most 50.0 MiB, got 19")
        assert peak < 5_000_000

    def test_a_ratio_no_text_has_is_refused(self, tmp_path: Path) -> None:
        path = packed(tmp_path / "a.docx", {BODY: b" " * 40_000_000})
        why, peak = self.peak(path)
        assert why.startswith("a zip bomb")
        assert peak < 5_000_000

    def test_a_directory_that_lies_is_not_believed(self, tmp_path: Path) -> None:
        path = packed(tmp_path / "a.docx", {BODY: b" " * 200_000_000})
        data = path.read_bytes()
        true, false = (size.to_bytes(4, "little") for size in (200_000_000, 1000))
        assert data.count(true) == 2  # before the part, and in the directory
        path.write_bytes(data.replace(true, false))
        why, peak = self.peak(path)
        assert why.startswith("broken Word file")
        assert peak < 10_000_000

    def test_pictures_are_not_unpacked(self, tmp_path: Path) -> None:
        parts = {BODY: body(paragraph("Text.")), "word/media/image1.png": b"\0" * 200_000_000}
        path = packed(tmp_path / "a.docx", parts)
        tracemalloc.start()
        try:
            assert only(path).text == "Text."
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()

    def test_the_limit_is_of_all_parts_together(self, tmp_path: Path) -> None:
        filler = b"<x>" + bytes(range(32, 60)) * 30_000 + b"</x>"
        path = packed(tmp_path / "a.docx", {f"word/{n}.xml": filler for n in range(4)}, zipfile.ZIP_STORED)
        path.write_bytes(path.read_bytes())
        assert "unpacked" in reason(
            packed(tmp_path / "b.docx", {f"word/{n}.xml": filler for n in range(4)}), max_bytes=10**6
        )

    def test_many_parts_are_refused(self, tmp_path: Path) -> None:
        parts = {f"word/{number}.bin": b"" for number in range(10_001)}
        assert "at most 10,000 parts" in reason(packed(tmp_path / "a.docx", parts))


def saved_text(folder: Path) -> Path:
    return packed(folder / "plain.docx", {BODY: body(paragraph("Text."))})

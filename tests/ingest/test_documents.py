"""Sources: what is read, what is refused, and how it is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from operator import length_hint
from pathlib import Path
from typing import Any

import pytest

from ingest.documents import FailedDocument, Source, SourceOptions, documents_from, open_source
from retriever.errors import SourceError
from retriever.records import Document

DATA = Path(__file__).parents[1] / "data"


def read(path: Path) -> tuple[dict[str, Document], list[FailedDocument]]:
    """Return the documents of a source by id, and the failures."""
    return split(open_source(path))


def split(source: Source) -> tuple[dict[str, Document], list[FailedDocument]]:
    items = list(source)
    documents = {item.doc_id: item for item in items if isinstance(item, Document)}
    return documents, [item for item in items if isinstance(item, FailedDocument)]


def only(path: Path) -> Document:
    (document,) = open_source(path)
    assert isinstance(document, Document)
    return document


def failure(path: Path) -> FailedDocument:
    (item,) = open_source(path)
    assert isinstance(item, FailedDocument)
    return item


def corpus(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "some.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


class SourceContract:
    """What every source promises."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        raise NotImplementedError

    def test_ids_are_unique_and_texts_are_there(self, source: Source) -> None:
        documents = [item for item in source if isinstance(item, Document)]
        assert len(documents) == 2
        assert len({document.doc_id for document in documents}) == 2
        assert all(document.text.strip() for document in documents)

    def test_a_bad_document_does_not_stop_the_others(self, source: Source) -> None:
        kinds = [type(item) for item in source]
        assert sorted(kind.__name__ for kind in kinds) == ["Document", "Document", "FailedDocument"]

    def test_the_second_reading_equals_the_first(self, source: Source) -> None:
        assert list(source) == list(source)
        assert source.skipped == source.skipped


class TestFolderSource(SourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        for name, text in (("a.txt", "A."), ("b.txt", ""), ("c.md", "# C")):
            (tmp_path / name).write_text(text)
        return open_source(tmp_path)


class TestJsonLinesSource(SourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        return open_source(corpus(tmp_path, {"_id": "a", "text": "A."}, "{", {"_id": "c", "text": "C."}))


class TestGivenDocuments(SourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        return documents_from([Document(doc_id=name, text="A.") for name in ("a", "a", "c")])


class TestFolder:
    def test_files_are_read_in_order_with_their_path_as_id(self, tmp_path: Path) -> None:
        for name in ("b/two.md", "b/c/three.html", "one.TXT", "z.rst"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("Some text")
        documents, failed = read(tmp_path)
        assert list(documents) == ["b/c/three.html", "b/two.md", "one.TXT", "z.rst"]
        assert documents["b/two.md"].metadata == {"file_name": "two.md", "file_path": "b/two.md"}
        assert failed == []

    def test_hidden_files_and_folders_are_left_aside(self, tmp_path: Path) -> None:
        (tmp_path / ".git").mkdir()
        for name in (".git/a.txt", ".b.txt", "c.txt"):
            (tmp_path / name).write_text("Some text")
        assert list(read(tmp_path)[0]) == ["c.txt"]

    def test_other_files_are_counted_by_suffix(self, tmp_path: Path) -> None:
        for name in ("a.txt", "b.jpg", "c.JPG", "d.png", "Makefile"):
            (tmp_path / name).write_text("Some text")
        source = open_source(tmp_path)
        for _ in range(2):  # a second reading counts afresh
            assert list(split(source)[0]) == ["a.txt"]
            assert source.skipped == {".jpg": 2, ".png": 1, "": 1}

    def test_links_neither_loop_nor_replace_what_they_point_to(self, tmp_path: Path) -> None:
        inside, outside = tmp_path / "inside", tmp_path / "outside"
        for folder in (inside / "docs", inside / "a", outside):
            folder.mkdir(parents=True)
            (folder / "a.txt").write_text("Some text")
        (inside / "docs" / "loop").symlink_to(inside)
        (inside / "a" / "link").symlink_to(inside / "docs")
        (inside / "b-link").symlink_to(outside)
        assert list(read(inside)[0]) == ["a/a.txt", "docs/a.txt", "b-link/a.txt"]

    def test_a_broken_link_fails_alone(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").symlink_to(tmp_path / "nowhere.txt")
        (tmp_path / "b.txt").write_text("Some text")
        documents, (failed,) = read(tmp_path)
        assert list(documents) == ["b.txt"]
        assert failed.doc_id == "a.txt"
        assert "cannot be read: No such file" in failed.reason

    @pytest.mark.parametrize("target", ["nowhere", "itself"])
    def test_a_link_that_may_have_been_to_a_folder_fails_unless_it_is_left_out(
        self, tmp_path: Path, target: str
    ) -> None:
        (tmp_path / "itself").symlink_to(tmp_path / target)
        (tmp_path / "b.txt").write_text("Some text")
        for options in (SourceOptions(), SourceOptions(include=("*.txt",))):
            documents, (failed,) = split(open_source(tmp_path, options))
            assert list(documents) == ["b.txt"]
            assert (failed.doc_id, failed.where) == (None, str(tmp_path / "itself"))
            assert "a link to nothing that is there" in failed.reason
        assert split(open_source(tmp_path, SourceOptions(exclude=("itself",))))[1] == []
        (tmp_path / ".tandemignore").write_text("itself/")
        assert split(open_source(tmp_path))[1] == []

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_a_pipe_is_refused_instead_of_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.txt")
        assert "expected a regular file" in failure(tmp_path).reason

    @pytest.mark.skipif(sys.platform != "linux", reason="only there may a name be any bytes")
    def test_a_file_name_that_is_no_unicode_fails_with_a_printable_place(self, tmp_path: Path) -> None:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("Some text")
        failed = failure(tmp_path)
        assert failed.doc_id is None
        assert failed.where.endswith("caf\\xe9.txt")
        assert "file name" in failed.reason

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_a_folder_that_cannot_be_listed_fails_alone(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("Some text")
        (tmp_path / "closed").mkdir(mode=0)
        documents, (failed,) = read(tmp_path)
        assert list(documents) == ["a.txt"]
        assert "folder cannot be listed" in failed.reason

    def test_a_corpus_file_stands_for_its_folder(self, tmp_path: Path) -> None:
        (tmp_path / "readme.md").write_text("# About this dataset")
        (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "A."}')
        assert list(read(tmp_path)[0]) == ["a"]

    def test_a_folder_with_nothing_to_read_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"files found: none"):
            open_source(tmp_path)
        (tmp_path / "a.png").touch()
        (tmp_path / "b").touch()
        with pytest.raises(SourceError, match=r"files found: 1 \(\.png\), 1 \(no suffix\)"):
            open_source(tmp_path)


class TestPath:
    def test_a_single_file_has_its_name_as_id(self) -> None:
        document = only(DATA / "notes.md")
        assert document.doc_id == "notes.md"
        assert document.metadata == {
            "file_name": "notes.md",
            "file_path": "notes.md",
            "title": "Notes on chunking",
        }

    def test_a_path_may_be_a_string(self) -> None:
        assert len(list(open_source(str(DATA / "notes.md")))) == 1

    def test_nothing_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="found nothing there"):
            open_source(tmp_path / "missing")

    def test_an_unknown_suffix_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").touch()
        with pytest.raises(SourceError, match=r"\.md.*, got \.png"):
            open_source(tmp_path / "a.png")


class TestDecoding:
    def test_utf16_with_a_mark_is_read_and_line_ends_become_newlines(self) -> None:
        assert only(DATA / "utf16-bom.txt").text == "Zwei Zeilen,\nnaïve Käse.\n"

    def test_the_mark_of_utf8_is_dropped(self) -> None:
        assert only(DATA / "utf8-bom.txt").text.startswith("An invisible")

    @pytest.mark.parametrize(
        "encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
    )
    def test_every_unicode_encoding_gives_the_same_text(self, tmp_path: Path, encoding: str) -> None:
        mark = "" if encoding.startswith("utf-8") else "\ufeff"
        text = "naïve 日本語 \U0001f469"
        (tmp_path / "a.txt").write_bytes((mark + text).encode(encoding))
        assert only(tmp_path / "a.txt").text == text

    def test_all_line_ends_become_newlines_and_nothing_else_changes(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"  a\r\nb\rc\n\n d\t\xc2\xa0\n")
        assert only(tmp_path / "a.txt").text == "  a\nb\nc\n\n d\t\xa0\n"

    def test_latin1_is_not_guessed_from_a_single_letter(self) -> None:
        failed = failure(DATA / "latin1.txt")
        # "Ein Text in Latin-1, wo man sie gern h" has 38 characters; ö is E4+12 = F6 in Latin-1
        assert failed.reason.startswith("not UTF-8 at byte 38 (0xf6), and which encoding it has")
        assert "iconv" in failed.reason
        assert failed.where == str(DATA / "latin1.txt")

    def test_the_place_counts_the_mark(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfab\xff")
        assert "at byte 5" in failure(tmp_path / "a.txt").reason

    def test_half_a_character_of_utf16_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"\xff\xfea\0\0\xd8")
        assert "not UTF-16-LE" in failure(tmp_path / "a.txt").reason

    def test_binary_files_are_refused(self) -> None:
        assert failure(DATA / "binary.txt").reason.startswith("binary: expected text")

    def test_a_file_without_text_is_a_failure(self, tmp_path: Path) -> None:
        assert failure(DATA / "white-space-only.txt").reason.startswith("no text")
        (tmp_path / "empty.html").write_text("<html><script>x</script></html>")
        assert failure(tmp_path / "empty.html").reason.startswith("no text")


class TestMarkdown:
    def test_text_stays_and_markup_goes(self) -> None:
        assert only(DATA / "notes.md").text == (
            "Notes on chunking\n\n"
            "A paragraph with code, a link and bold text that goes on in the next line.\n\n"
            "one\ntwo\ntwo and a half\n\n"
            "3. third\n4. fourth\n\n"
            "model\ttokens\nsmall\t256\n\t512\n\n"
            "def cut(text):\n\n    return text.split()\n\n"
            "A quote.\n\n"
            "a picture"
        )

    def content(self, tmp_path: Path, text: str) -> Document:
        (tmp_path / "a.md").write_text(text, encoding="utf-8")
        return only(tmp_path / "a.md")

    def test_front_matter_gives_the_title_and_no_text(self, tmp_path: Path) -> None:
        document = self.content(tmp_path, "---\ntags: [a]\ntitle: 'On cutting'\n---\n\n# Heading\n\nText.")
        assert document.metadata["title"] == "On cutting"
        assert document.text == "Heading\n\nText."

    def test_rules_around_text_are_no_front_matter(self, tmp_path: Path) -> None:
        assert self.content(tmp_path, "---\n\nSome text.\n\n---\n\nMore.").text == "Some text.\n\nMore."

    def test_html_inside_is_read_as_html(self, tmp_path: Path) -> None:
        text = "One<br>two <kbd>three</kbd> &amp; four.\n\n<div>\n<p>five</p>\n<script>no</script>\n</div>"
        assert self.content(tmp_path, text).text == "One\ntwo three & four.\n\nfive"

    def test_html_without_text_leaves_no_empty_lines(self, tmp_path: Path) -> None:
        text = "<div>\n\nOne.\n\n</div>\n\n<!-- a comment -->\n\nTwo."
        assert self.content(tmp_path, text).text == "One.\n\nTwo."

    def test_loose_items_are_paragraphs(self, tmp_path: Path) -> None:
        assert (
            self.content(tmp_path, "- one\n\n  more\n\n- two\n\nafter").text == "one\n\nmore\n\ntwo\n\nafter"
        )

    def test_an_empty_item_does_not_swallow_its_successor(self, tmp_path: Path) -> None:
        assert self.content(tmp_path, "1.\n2. two").text == "1. \n2. two"

    def test_a_heading_of_level_two_is_no_title(self, tmp_path: Path) -> None:
        assert "title" not in self.content(tmp_path, "## Part\n\nText.").metadata

    def test_what_the_parser_would_drop_is_refused(self, tmp_path: Path) -> None:
        assert self.content(tmp_path, "> " * 50 + "deep").text == "deep"
        (tmp_path / "a.md").write_text("shallow\n\n" + "> " * 200 + "deep")
        assert failure(tmp_path / "a.md").reason.startswith("nested too deeply")


class TestHtml:
    def test_text_stays_and_markup_goes(self) -> None:
        document = only(DATA / "page.html")
        assert document.text == (
            "Käse & Brot\n\n"
            "One paragraph in two lines.\nAnd a third.\n\n"
            "first\nsecond\n\n"
            "name\tsize\n\t12\tkg\n\n\n"
            "for x in y:\n    pass\n\n\n"
            "The end."
        )
        assert document.metadata["title"] == "A page"

    def test_a_declared_encoding_counts_as_in_browsers(self) -> None:
        document = only(DATA / "page-windows-1252.html")
        assert document.text == "Käse kostet 5 €."  # iso-8859-1, as declared, has no €
        assert document.metadata["title"] == "Preise"

    def test_an_unknown_encoding_is_refused(self) -> None:
        reason = failure(DATA / "page-unknown-charset.html").reason
        assert reason.startswith("declares the encoding 'klingon-8'")

    def test_an_undeclared_encoding_is_not_guessed(self, tmp_path: Path) -> None:
        (tmp_path / "a.html").write_bytes("<p>Käse</p>".encode("latin-1"))
        assert failure(tmp_path / "a.html").reason.startswith("not UTF-8 at byte 4")

    @pytest.mark.parametrize("declared", ["utf-16", "UTF-8"])
    def test_a_page_that_can_be_read_bytewise_is_not_in_utf16(self, tmp_path: Path, declared: str) -> None:
        (tmp_path / "a.html").write_bytes(f'<meta charset="{declared}"><p>Käse</p>'.encode())
        assert only(tmp_path / "a.html").text == "Käse"

    def test_unclosed_tags_nest_deeper_than_the_recursion_limit(self, tmp_path: Path) -> None:
        (tmp_path / "a.html").write_text("<ul>" + "<li>item" * 3000)
        assert only(tmp_path / "a.html").text == "\n".join(["item"] * 3000)

    @pytest.mark.parametrize("text", ["https://example.org", "<?xml version='1.0'?><html><p>x</p></html>"])
    def test_the_parser_does_not_warn(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.html").write_text(text)
        assert only(tmp_path / "a.html").text


class TestJsonLines:
    def test_a_title_goes_before_the_text_and_into_the_metadata(self, tmp_path: Path) -> None:
        line = {"_id": "a", "title": "Title", "text": "Text.", "metadata": {"year": 2024}, "url": "x"}
        assert only(corpus(tmp_path, line)) == Document(
            doc_id="a", text="Title\n\nText.", metadata={"year": 2024, "title": "Title"}
        )

    @pytest.mark.parametrize("title", [None, "", "  "])
    def test_no_title_is_no_title(self, tmp_path: Path, title: str | None) -> None:
        line = {"id": "a", "title": title, "text": "Text.", "metadata": None}
        assert only(corpus(tmp_path, line)) == Document(doc_id="a", text="Text.")

    def test_a_title_without_text_is_a_document(self, tmp_path: Path) -> None:
        assert only(corpus(tmp_path, {"_id": "a", "title": "Title", "text": ""})).text == "Title"

    def test_the_id_of_beir_counts_before_any_other(self, tmp_path: Path) -> None:
        assert only(corpus(tmp_path, {"id": "b", "_id": "a", "text": "Text."})).doc_id == "a"

    def test_a_broken_line_fails_with_its_number(self) -> None:
        documents, (failed,) = read(DATA / "corpus-broken-line-3.jsonl")
        assert list(documents) == ["one", "two", "four"]
        assert failed.where == f"{DATA / 'corpus-broken-line-3.jsonl'}:3"
        assert failed.doc_id is None
        assert failed.reason.startswith("broken JSON")

    def test_the_first_of_two_documents_with_the_same_id_is_used(self) -> None:
        documents, (failed,) = read(DATA / "corpus-duplicate-id-line-3.jsonl")
        assert documents["one"].text == "The first document."
        assert failed.doc_id == "one"
        assert failed.where.endswith(":3")
        assert failed.reason.startswith("duplicate id 'one': line 1 has it too")

    def test_a_line_in_another_encoding_fails_alone(self) -> None:
        documents, (failed,) = read(DATA / "corpus-latin1-line-2.jsonl")
        assert list(documents) == ["one", "three"]
        assert failed.where.endswith(":2")
        assert failed.reason.startswith("not UTF-8 at byte")

    @pytest.mark.parametrize(
        ("line", "doc_id", "reason"),
        [
            ('["a", "b"]', None, "expected a JSON object, got a list"),
            ('{"text": "Text."}', None, "no _id: expected the fields _id and text, found: text"),
            ("{}", None, "found: none"),
            ('{"_id": "a"}', "a", "no text: expected the fields _id and text, found: _id"),
            (
                '{"_id": 7.5, "text": "Text."}',
                None,
                "expected a string or a whole number as _id, got a number",
            ),
            ('{"id": true, "text": "Text."}', None, "a string or a whole number as id, got true or false"),
            ('{"_id": " ", "text": "Text."}', None, "empty id"),
            ('{"_id": "a", "text": null}', "a", "expected a string as text, got null"),
            ('{"_id": "a", "text": " "}', "a", "no text: expected more than white space"),
            ('{"_id": "a", "title": 1, "text": "Text."}', "a", "expected a string as title"),
            ('{"_id": "a", "text": "Text.", "metadata": []}', "a", "expected an object as metadata"),
            ('{"_id": "a", "text": "Text.", "metadata": {"x": NaN}}', None, "NaN is not a JSON value"),
            ('{"_id": "a", "text": "half \\ud83d"}', None, "half a surrogate pair (U+D83D)"),
            ('{"_id": "a", "text": "Text.", "metadata": {"x": "\\uDE00"}}', None, "half a surrogate pair"),
            ('{"_id": "a", "text": ' + "[" * 100_000, None, "broken JSON"),
        ],
    )
    def test_what_is_wrong_with_a_line_is_said(
        self, tmp_path: Path, line: str, doc_id: str | None, reason: str
    ) -> None:
        documents, (failed,) = read(corpus(tmp_path, line, {"_id": "good", "text": "Text."}))
        assert list(documents) == ["good"]
        assert failed.doc_id == doc_id
        assert reason in failed.reason

    def test_a_whole_number_as_id_is_written_in_decimal(self, tmp_path: Path) -> None:
        documents, (failed,) = read(corpus(tmp_path, {"_id": 7, "text": "A."}, {"_id": "7", "text": "B."}))
        assert documents["7"].text == "A."
        assert failed.reason.startswith("duplicate id '7': line 1")

    def test_an_id_whose_first_document_failed_is_free(self, tmp_path: Path) -> None:
        documents, _ = read(corpus(tmp_path, {"_id": "a", "text": ""}, {"_id": "a", "text": "Text."}))
        assert documents["a"].text == "Text."

    def test_whole_surrogate_pairs_are_characters(self, tmp_path: Path) -> None:
        assert only(corpus(tmp_path, '{"_id": "a", "text": "\\ud83d\\ude00"}')).text == "\U0001f600"

    def test_empty_lines_are_left_aside_but_counted(self, tmp_path: Path) -> None:
        _, (failed,) = read(corpus(tmp_path, "", {"_id": "a", "text": "Text."}, "  ", "{"))
        assert failed.where.endswith(":4")

    def test_line_ends_inside_strings_become_newlines(self, tmp_path: Path) -> None:
        assert only(corpus(tmp_path, {"_id": "a", "text": "one\r\ntwo\rthree"})).text == "one\ntwo\nthree"

    def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'\xef\xbb\xbf{"_id": "a", "text": "A."}\r\n{"_id": "b", "text": "B."}\r\n')
        assert list(read(path)[0]) == ["a", "b"]

    @pytest.mark.parametrize(
        ("name", "reason"), [("corpus-blank.jsonl", "an empty file"), ("corpus-utf16.jsonl", "got UTF-16-LE")]
    )
    def test_what_is_no_corpus_at_all_is_refused(self, name: str, reason: str) -> None:
        with pytest.raises(SourceError, match=reason):
            open_source(DATA / name)

    def test_a_file_that_vanishes_is_a_source_error(self, tmp_path: Path) -> None:
        path = corpus(tmp_path, {"_id": "a", "text": "Text."})
        source = open_source(path)
        path.unlink()
        with pytest.raises(SourceError, match="No such file"):
            list(source)

    def test_a_long_corpus_is_never_in_memory_as_a_whole(self, tmp_path: Path) -> None:
        path = corpus(tmp_path, *({"_id": str(number), "text": "x" * 10_000} for number in range(500)))
        tracemalloc.start()
        try:
            assert sum(1 for _ in open_source(path)) == 500
            assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 10
        finally:
            tracemalloc.stop()


class TestGiven:
    def test_documents_come_out_as_they_went_in(self) -> None:
        given = [Document(doc_id="a", text=" A.\r\n", metadata={"x": 1}), Document(doc_id="b", text="B.")]
        assert list(documents_from(given)) == given

    def test_documents_are_taken_one_at_a_time(self) -> None:
        def endless() -> Iterator[Document]:
            number = 0
            while True:
                yield Document(doc_id=str(number), text="Text.")
                number += 1

        assert isinstance(next(iter(documents_from(endless()))), Document)

    @pytest.mark.parametrize(
        ("document", "reason"),
        [
            ({"doc_id": "first", "text": "Text."}, "duplicate id 'first': document 1 has it too"),
            ({"doc_id": "", "text": "Text."}, "empty id"),
            ({"doc_id": "b", "text": "\n"}, "no text"),
            ({"doc_id": "b", "text": "half \ud83d"}, "half a surrogate pair (U+D83D) at character 5"),
            ({"doc_id": "\udc00", "text": "Text."}, "id: expected Unicode"),
            ({"doc_id": "b", "text": "\u200b \ufeff\x01"}, "characters without width, such as U+200B"),
            (
                {"doc_id": "b", "text": "T", "metadata": {"x": {1, 2}}},
                "metadata 'x': expected a JSON value, got set",
            ),
            (
                {"doc_id": "b", "text": "T", "metadata": {"x": float("inf")}},
                "metadata 'x': expected a JSON value",
            ),
            ({"doc_id": "b", "text": "T", "metadata": {"x": 2**63}}, "at most 64 bits, got one of 64"),
            ({"doc_id": "b", "text": "T", "metadata": {1: "x"}}, "expected names that are strings, got 1"),
            ({"doc_id": "b", "text": "T", "metadata": {"x": ["\ud83d"]}}, "metadata 'x': expected Unicode"),
            (
                {"doc_id": "b", "text": "T", "node": {"x": {1: "a", "y": "b"}}},
                "node: expected JSON values beside text and metadata",
            ),
        ],
    )
    def test_what_cannot_be_stored_fails_alone(self, document: dict[str, Any], reason: str) -> None:
        given = [
            Document(doc_id="first", text="Text."),
            Document(**document),
            Document(doc_id="z", text="Z."),
        ]
        documents, (failed,) = split(documents_from(given))
        assert list(documents) == ["first", "z"]
        assert failed.where == "document 2"
        assert reason in failed.reason


@pytest.mark.parametrize("module", ["ingest.documents", "ingest.chunks"])
def test_importing_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"torch", "sentence_transformers", "llama_index", "qdrant_client", "bs4", "markdown_it"}
    heavy |= {"pypdfium2", "docx", "lxml", "pyarrow", "pathspec", "charset_normalizer"}
    assert heavy.isdisjoint(loaded.stdout.split())


def test_sources_know_about_how_many_documents_they_have(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "b.md", "sub/c.html", "d.png"):
        (tmp_path / name).write_text("text", encoding="utf-8")
    corpus = tmp_path / "x.jsonl"
    corpus.write_text('{"_id": "1", "text": "a"}\n{"_id": "2", "text": "b"}\n', encoding="utf-8")
    given = [Document(doc_id="1", text="a")]
    assert length_hint(open_source(tmp_path)) == 3
    assert length_hint(open_source(tmp_path / "a.txt")) == 1
    assert length_hint(open_source(corpus)) == 2
    assert length_hint(documents_from(given)) == 1
    assert length_hint(documents_from(iter(given))) == 1
    assert length_hint(documents_from(document for document in given)) == 0

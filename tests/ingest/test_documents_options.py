"""What can be said about how a source is read: patterns, limits, encodings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.documents import FailedDocument, Source, SourceOptions, open_source
from retriever.errors import InputError, SourceError
from retriever.records import Document

GERMAN = (
    "Der Käse liegt im Kühlschrank, und die Brötchen stehen auf dem Tisch. Später möchten wir über die "
    "Straße gehen, weil das Wetter schön ist und die Vögel draußen fröhlich singen."
)
FRENCH = (
    "Le garçon a mangé une crêpe à côté de la fenêtre. La forêt était très belle, même après la tempête de "
    "février, et nous avons dîné près du château."
)
RUSSIAN = "Вчера мы ходили в магазин, чтобы купить свежий хлеб, а потом вернулись домой и долго читали."  # noqa: RUF001


def split(source: Source) -> tuple[dict[str, Document], list[FailedDocument]]:
    items = list(source)
    documents = {item.doc_id: item for item in items if isinstance(item, Document)}
    return documents, [item for item in items if isinstance(item, FailedDocument)]


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("Some text", encoding="utf-8")


def found(root: Path, **options: Any) -> list[str]:
    return list(split(open_source(root, SourceOptions(**options)))[0])


class TestPatterns:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        files(tmp_path, "a.md", "a.txt", "drafts/b.md", "sub/drafts/c.md", "sub/d.md")
        return tmp_path

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, ["a.md", "a.txt", "drafts/b.md", "sub/d.md", "sub/drafts/c.md"]),
            ({"include": ("*.txt",)}, ["a.txt"]),
            ({"include": ("sub/**",)}, ["sub/d.md", "sub/drafts/c.md"]),
            ({"include": ("/*.md", "sub/*.md")}, ["a.md", "sub/d.md"]),
            ({"include": ["*.md", "!sub/**"]}, ["a.md", "drafts/b.md"]),
            ({"exclude": ("drafts/",)}, ["a.md", "a.txt", "sub/d.md"]),
            ({"exclude": ("/drafts/", "*.txt")}, ["a.md", "sub/d.md", "sub/drafts/c.md"]),
            ({"include": ("*.md",), "exclude": ("sub",)}, ["a.md", "drafts/b.md"]),
        ],
    )
    def test_include_and_exclude(self, root: Path, options: dict[str, Any], expected: list[str]) -> None:
        assert found(root, **options) == expected

    def test_an_ignore_file_counts_in_its_folder_and_below(self, root: Path) -> None:
        (root / ".tandemignore").write_text("# not yet\ndrafts/\n*.txt\n")
        assert found(root) == ["a.md", "sub/d.md"]

    def test_the_inner_ignore_file_decides(self, root: Path) -> None:
        (root / ".tandemignore").write_text("*.md\n")
        (root / "sub" / ".tandemignore").write_text("!d.md\n")
        assert found(root) == ["a.txt", "sub/d.md"]

    def test_what_was_left_out_on_purpose_is_not_counted(self, root: Path) -> None:
        files(root, "e.png", "sub/f.png")
        source = open_source(root, SourceOptions(exclude=("sub/",)))
        list(source)
        assert source.skipped == {".png": 1}

    def test_a_folder_with_nothing_left_is_refused(self, root: Path) -> None:
        with pytest.raises(SourceError, match=r"files found: none.*what is included, excluded and ignored"):
            open_source(root, SourceOptions(include=("*.rst",)))

    def test_what_is_no_pattern_is_refused(self, root: Path) -> None:
        with pytest.raises(SourceError, match=r"exclude: expected patterns as in a \.gitignore"):
            open_source(root, SourceOptions(exclude=("!",)))
        (root / ".tandemignore").write_bytes(b"\xff\xff")
        with pytest.raises(SourceError, match=r"\.tandemignore: not UTF-8"):
            open_source(root)


class TestApplicability:
    @pytest.mark.parametrize(
        ("name", "options", "refused"),
        [
            ("a.txt", {"include": ("*",)}, "include (--include)"),
            ("a.md", {"text_columns": ("x",)}, "text_columns (--text-column)"),
            (".", {"id_column": "x", "title_column": "y"}, "id_column (--id-column), title_column"),
            ("a.jsonl", {"exclude": ("*",)}, "exclude (--exclude)"),
            ("a.jsonl", {"number_columns": ("x",)}, "number_columns (--number-column)"),
            ("a.csv", {"include": ("*",)}, "include (--include)"),
            ("a.pdf", {"encoding": "latin-1"}, "encoding (--encoding)"),
            ("a.parquet", {"delimiter": ";"}, "delimiter (--delimiter)"),
            ("a.jsonl", {"delimiter": ";"}, "delimiter (--delimiter)"),
        ],
    )
    def test_an_option_that_does_not_apply_is_refused_by_name(
        self, tmp_path: Path, name: str, options: dict[str, Any], refused: str
    ) -> None:
        files(tmp_path, "a.txt", "a.md", "a.jsonl", "a.csv", "a.pdf", "a.parquet")
        with pytest.raises(SourceError) as caught:
            open_source(tmp_path / name, SourceOptions(**options))
        assert refused in str(caught.value)

    def test_metadata_columns_that_are_none_differ_from_no_answer(self, tmp_path: Path) -> None:
        files(tmp_path, "a.txt")
        with pytest.raises(SourceError, match="metadata_columns"):
            open_source(tmp_path, SourceOptions(metadata_columns=()))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"include": "*.md"}, "include: expected several strings, got one"),
            ({"metadata_columns": "year"}, "metadata_columns: expected several strings"),
            ({"max_bytes": 0}, "max_bytes: expected 1 or more, got 0"),
            ({"encoding": "klingon-8"}, "encoding: expected 'detect' or an encoding"),
            ({"encoding": "hex"}, "encoding: expected 'detect' or an encoding"),
            ({"delimiter": "||"}, "delimiter: expected one character"),
            ({"delimiter": '"'}, "delimiter: expected one character"),
        ],
    )
    def test_what_cannot_be_used_is_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            SourceOptions(**options)


class TestLimit:
    def test_a_larger_file_fails_alone_and_names_the_option(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("x" * 100)
        (tmp_path / "b.txt").write_text("x" * 101)
        documents, (failed,) = split(open_source(tmp_path, SourceOptions(max_bytes=100)))
        assert list(documents) == ["a.txt"]
        assert failed.reason.startswith("too large: expected at most 100 bytes, got 101 bytes; leave it out")
        assert "--max-file-size" in failed.reason

    def test_an_enormous_line_fails_alone_and_is_counted_once(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        lines = [
            json.dumps({"_id": name, "text": text})
            for name, text in (("a", "A."), ("b", "x" * 500), ("c", "C."))
        ]
        path.write_text("\n".join([*lines, "{"]))
        documents, failed = split(open_source(path, SourceOptions(max_bytes=100)))
        assert list(documents) == ["a", "c"]
        assert [one.where.rsplit(":", 1)[1] for one in failed] == ["2", "4"]
        assert "too large" in failed[0].reason

    def test_a_line_of_the_limit_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        line = json.dumps({"_id": "a", "text": "A."})
        path.write_text(f"{line}\n{line.replace('a', 'b', 1)}")
        documents, failed = split(open_source(path, SourceOptions(max_bytes=len(line) + 1)))  # its end counts
        assert len(documents) + len(failed) == 2
        assert all("too large" not in one.reason for one in failed)


class TestEncoding:
    @pytest.mark.parametrize(
        ("text", "encoding", "name"),
        [
            (GERMAN, "cp1252", "windows-1252"),
            (RUSSIAN, "cp1251", "windows-1251"),
            (RUSSIAN, "koi8-r", "koi8-r"),
        ],
    )
    def test_what_is_beyond_doubt_is_read_and_counted(
        self, tmp_path: Path, text: str, encoding: str, name: str
    ) -> None:
        (tmp_path / "a.txt").write_bytes(text.encode(encoding))
        (tmp_path / "b.txt").write_text(text, encoding="utf-8")
        source = open_source(tmp_path)
        for _ in range(2):  # a second reading counts afresh
            documents, failed = split(source)
            assert failed == []
            assert documents["a.txt"].text == text
            assert documents["a.txt"].metadata["encoding"] == name
            assert "encoding" not in documents["b.txt"].metadata
            assert source.detected == {name: 1}

    def test_what_could_be_two_encodings_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(FRENCH.encode("cp1252"))  # in windows-1250 it reads as well
        _, (failed,) = split(open_source(tmp_path))
        assert "which encoding it has instead is open to doubt" in failed.reason
        assert "--encoding" in failed.reason

    def test_a_file_with_a_line_in_utf8_is_in_no_other_encoding(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(f"{RUSSIAN}\n".encode("cp1251") * 20 + "Сыр\n".encode())
        _, (failed,) = split(open_source(tmp_path))
        assert failed.reason.startswith("not UTF-8")

    def test_a_named_encoding_is_taken_unless_a_mark_says_otherwise(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(FRENCH.encode("cp1252"))
        (tmp_path / "b.txt").write_bytes(FRENCH.encode("utf-8-sig"))
        source = open_source(tmp_path, SourceOptions(encoding="cp1252"))
        documents, _ = split(source)
        assert {document.text for document in documents.values()} == {FRENCH}
        assert source.detected == {}
        assert "encoding" not in documents["a.txt"].metadata

    def test_utf8_by_name_infers_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(GERMAN.encode("cp1252"))
        _, (failed,) = split(open_source(tmp_path, SourceOptions(encoding="utf-8")))
        assert failed.reason.startswith("not utf-8 at byte 5 (0xe4): expected UTF-8 text")

    def test_utf16_without_a_mark_can_be_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(GERMAN.encode("utf-16-le"))
        (document,) = split(open_source(tmp_path, SourceOptions(encoding="utf-16-le")))[0].values()
        assert document.text == GERMAN

    def test_lines_of_json_may_be_in_a_named_encoding(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes('{"_id": "a", "text": "Käse"}'.encode("latin-1"))
        (document,) = split(open_source(path, SourceOptions(encoding="latin-1")))[0].values()
        assert document.text == "Käse"
        with pytest.raises(SourceError, match="expected one that can be read line by line"):
            open_source(path, SourceOptions(encoding="utf-16"))

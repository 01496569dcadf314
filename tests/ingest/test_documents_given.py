"""Documents from LlamaIndex, from standard input, and which ids have been seen."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from operator import length_hint
from typing import Any

import pytest
from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import ImageNode, TextNode

from ingest.documents import (
    FailedDocument,
    SeenIds,
    Source,
    SourceOptions,
    documents_from,
    documents_from_reader,
    open_source,
)
from ingest.documents.standard_input import standard_input
from retriever.errors import SourceError
from retriever.records import Document


def split(source: Source) -> tuple[dict[str, Document], list[FailedDocument]]:
    items = list(source)
    documents = {item.doc_id: item for item in items if isinstance(item, Document)}
    return documents, [item for item in items if isinstance(item, FailedDocument)]


class Eager(BaseReader):
    def load_data(self, *args: Any, names: Iterable[str] = "ab", **kwargs: Any) -> list[LlamaDocument]:
        return [LlamaDocument(id_=name, text=f"Text {name}.", metadata={"n": 1}) for name in names]


class Lazy(BaseReader):
    loaded = 0

    def lazy_load_data(self, *args: Any, count: int = 2, **kwargs: Any) -> Iterator[LlamaDocument]:
        for number in range(count):
            self.loaded += 1
            yield LlamaDocument(id_=str(number), text="Text.")


class Broken(BaseReader):
    def lazy_load_data(self, *args: Any, **kwargs: Any) -> Iterator[LlamaDocument]:
        yield LlamaDocument(id_="a", text="Text.")
        raise ConnectionError("the line is dead")


class TestLlamaIndex:
    def test_documents_and_nodes_keep_id_text_metadata_and_what_else_they_say(self) -> None:
        given = [
            LlamaDocument(doc_id="a", text=" A.\n", metadata={"x": 1}, excluded_embed_metadata_keys=["x"]),
            TextNode(id_="b", text="B.", metadata={"tags": ["y"]}),
            Document(doc_id="c", text="C."),
        ]
        assert list(documents_from(given)) == [
            Document(
                doc_id="a", text=" A.\n", metadata={"x": 1}, node={"excluded_embed_metadata_keys": ["x"]}
            ),
            Document(doc_id="b", text="B.", metadata={"tags": ["y"]}, node={"class_name": "TextNode"}),
            Document(doc_id="c", text="C."),
        ]

    @pytest.mark.parametrize(
        ("given", "doc_id", "reason"),
        [
            (TextNode(id_="a", text=""), "a", "no text"),
            (ImageNode(id_="a", image_path="a.png"), "a", "no text"),
            (TextNode(id_=" ", text="A."), " ", "empty id"),
            (
                TextNode(id_="a", text="A.", metadata={"x": {1}}),
                "a",
                "metadata 'x': expected a JSON value, got set",
            ),
            (TextNode(id_="first", text="A."), "first", "duplicate id 'first': document 1 has it too"),
            (
                "A text.",
                None,
                "expected a Document of Tandem, or a Document or TextNode of LlamaIndex, got str",
            ),
        ],
    )
    def test_what_cannot_be_stored_fails_alone(self, given: Any, doc_id: str | None, reason: str) -> None:
        nodes = [TextNode(id_="first", text="A."), given, TextNode(id_="last", text="Z.")]
        documents, (failed,) = split(documents_from(nodes))
        assert list(documents) == ["first", "last"]
        assert (failed.doc_id, failed.where) == (doc_id, "document 2")
        assert failed.reason.startswith(reason)

    def test_failures_of_another_source_are_handed_on(self) -> None:
        failed = FailedDocument(doc_id="a", where="a.txt", reason="broken")
        assert list(documents_from([failed])) == [failed]

    def test_a_reader_gets_its_arguments_and_can_be_read_again(self) -> None:
        source = documents_from_reader(Eager(), names=["x", "y"])
        for _ in range(2):
            documents, failed = split(source)
            assert documents["x"] == Document(doc_id="x", text="Text x.", metadata={"n": 1})
            assert (list(documents), failed) == (["x", "y"], [])
        assert (length_hint(source), source.skipped, source.detected) == (0, {}, {})

    def test_a_reader_that_can_is_read_lazily(self) -> None:
        reader = Lazy()
        items = iter(documents_from_reader(reader, count=10**9))
        assert [next(items), next(items)] == [Document(doc_id=name, text="Text.") for name in "01"]
        assert reader.loaded == 2

    def test_a_reader_that_fails_is_named(self) -> None:
        items = iter(documents_from_reader(Broken()))
        assert isinstance(next(items), Document)
        with pytest.raises(
            SourceError, match="Broken: expected documents, got ConnectionError: the line is dead"
        ):
            next(items)

    def test_what_is_no_reader_is_refused(self) -> None:
        with pytest.raises(SourceError, match="expected a BaseReader of LlamaIndex, got list"):
            list(documents_from_reader([]))  # type: ignore[arg-type]


class Stream(io.BytesIO):
    """Like a pipe: it says what comes a little at a time, and cannot go back."""

    def seekable(self) -> bool:
        return False

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(min(size or 1, 5))


class TestStandardInput:
    def test_a_brace_begins_json_lines(self) -> None:
        lines = [json.dumps({"_id": name, "text": f"Text {name}."}) for name in "ab"]
        source = standard_input(SourceOptions(), Stream("\n \n".join(["", *lines, "{"]).encode()))
        documents, (failed,) = split(source)
        assert [document.text for document in documents.values()] == ["Text a.", "Text b."]
        assert failed.where == "stdin:7"
        assert length_hint(source) == 0

    def test_options_of_columns_apply_to_json_lines(self) -> None:
        source = standard_input(SourceOptions(text_columns=("body",)), Stream(b'{"id": 1, "body": "B."}'))
        assert list(split(source)[0]) == ["1"]

    @pytest.mark.parametrize("data", ["Käse, { and }\r\n", "\ufeff Käse"])
    def test_anything_else_is_one_text(self, data: str) -> None:
        (document,) = standard_input(SourceOptions(), Stream(data.encode()))
        assert document == Document(doc_id="stdin", text=data.replace("\r\n", "\n").removeprefix("\ufeff"))

    @pytest.mark.parametrize(
        "data", ['\ufeff{"_id": "a", "text": "A."}', '\ufeff\n{"_id": "a", "text": "A."}']
    )
    def test_a_mark_before_the_brace_does_no_harm(self, data: str) -> None:
        assert list(split(standard_input(SourceOptions(), Stream(data.encode())))[0]) == ["a"]

    def test_utf16_is_one_text(self) -> None:
        (document,) = standard_input(SourceOptions(), Stream("{ Käse".encode("utf-16")))
        assert isinstance(document, Document)
        assert document.text == "{ Käse"

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"x" * 101, "too large: expected at most 100 bytes"),
            (b"x\0", "binary"),
            (b"\xe2\x80\x8b", "no text"),
        ],
    )
    def test_a_text_that_cannot_be_used_fails(self, data: bytes, reason: str) -> None:
        (failed,) = standard_input(SourceOptions(max_bytes=100), Stream(data))
        assert isinstance(failed, FailedDocument)
        assert (failed.doc_id, failed.where) == ("stdin", "stdin")
        assert failed.reason.startswith(reason)

    def test_an_inferred_encoding_is_counted(self) -> None:
        text = (
            "Der Käse liegt im Kühlschrank, und die Brötchen stehen auf dem Tisch. Später möchten wir über "
            "die Straße gehen, weil das Wetter schön ist und die Vögel draußen fröhlich singen."
        )
        source = standard_input(SourceOptions(), Stream(text.encode("cp1252")))
        (document,) = source
        assert isinstance(document, Document)
        assert document.text == text
        assert source.detected == {document.metadata["encoding"]: 1}

    @pytest.mark.parametrize("data", [b"", b" \n\n"])
    def test_nothing_is_refused(self, data: bytes) -> None:
        with pytest.raises(SourceError, match="standard input: expected JSON Lines or a text, got nothing"):
            standard_input(SourceOptions(), Stream(data))

    def test_options_that_do_not_apply_are_refused(self) -> None:
        with pytest.raises(SourceError, match="id_column"):
            standard_input(SourceOptions(id_column="x"), Stream(b"text"))

    @pytest.mark.parametrize("data", [b"text", b'{"_id": "a", "text": "A."}'])
    def test_it_is_read_once(self, data: bytes) -> None:
        source = standard_input(SourceOptions(), Stream(data))
        assert len(list(source)) == 1
        with pytest.raises(SourceError, match="expected to be read once"):
            list(source)

    def test_a_dash_is_standard_input_and_documents_come_before_its_end(self) -> None:
        code = (
            "from ingest.documents import open_source\nfor d in open_source('-'): print(d.doc_id, flush=True)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for name in ("a", "b"):
                process.stdin.write(json.dumps({"_id": name, "text": "Text."}) + "\n")
                process.stdin.flush()
                assert process.stdout.readline() == f"{name}\n"
            process.stdin.close()
            assert process.wait(30) == 0

    def test_a_file_named_like_it_can_be_read(self, tmp_path: Any) -> None:
        (tmp_path / "-").mkdir()
        (tmp_path / "-" / "a.txt").write_text("Text.")
        assert list(split(open_source(tmp_path / "-"))[0]) == ["a.txt"]


class TestSeenIds:
    def test_the_first_place_of_an_id_is_kept(self) -> None:
        with SeenIds() as seen:
            assert seen.add("a", "line 1") is None
            assert seen.add("b", "line 2") is None
            assert seen.add("a", "line 3") == "line 1"
            assert seen.add("a", "line 4") == "line 1"
            assert ("a" in seen, "c" in seen, len(seen)) == (True, False, 2)
            assert (seen.place("b"), seen.place("c")) == ("line 2", None)

    @pytest.mark.parametrize(
        "doc_id", ["", "\0", "\ud800", "x" * 10_000, "\U0001f600" * 16, "'; DROP TABLE seen"]
    )
    def test_any_string_is_an_id(self, doc_id: str) -> None:
        with SeenIds() as seen:
            assert doc_id not in seen
            assert seen.add(doc_id, "here") is None
            assert seen.add(doc_id, "there") == "here"
            assert doc_id + "x" not in seen
            assert doc_id[:-1] not in seen or not doc_id

    def test_many_ids_take_little_memory(self) -> None:
        resource = pytest.importorskip("resource")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with SeenIds() as seen:
            for number in range(200_000):
                assert seen.add(f"{number}-{'x' * 200}", f"line {number}") is None
            assert len(seen) == 200_000
            assert seen.place(f"12345-{'x' * 200}") == "line 12345"
            if sys.platform == "linux":  # there in KiB; the keys alone take 13 MB, the ids would take 50
                assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000

    def test_every_thread_may_use_it(self) -> None:
        with SeenIds() as seen:
            repeated: list[str] = []

            def add() -> None:
                repeated.extend(str(n) for n in range(500) if seen.add(str(n), "x") is not None)

            threads = [threading.Thread(target=add) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert (len(seen), len(repeated)) == (500, 1500)

    def test_a_full_disk_says_what_to_do(self) -> None:
        def fill(seen: SeenIds) -> None:
            for number in range(10_000):
                seen.add(str(number), "x" * 100)

        with SeenIds() as seen:
            seen._database.execute("PRAGMA max_page_count = 10")
            with pytest.raises(
                SourceError, match="expected room for a temporary file, got: database or disk"
            ):
                fill(seen)

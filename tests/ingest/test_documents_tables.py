"""Tables with named columns: CSV, Parquet, and the fields of JSON Lines."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import tracemalloc
from operator import length_hint
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters
from pyarrow import parquet

from ingest import ingest
from ingest.documents import FailedDocument, Source, SourceOptions, open_source
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.errors import SourceError
from retriever.llama.retriever import TandemRetriever
from retriever.records import Document
from retriever.search import Searcher
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

GERMAN = "Der Käse liegt im Kühlschrank, und die Brötchen stehen später auf dem Tisch: süße, für die Gäste."


def split(source: Source) -> tuple[dict[str, Document], list[FailedDocument]]:
    items = list(source)
    documents = {item.doc_id: item for item in items if isinstance(item, Document)}
    return documents, [item for item in items if isinstance(item, FailedDocument)]


def table(path: Path, *rows: dict[str, Any], **options: Any) -> Source:
    """Write `rows` as the kind of table that `path` ends in, and open it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".parquet":
        parquet.write_table(
            pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows]), path
        )
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    else:
        lines = [names, *([row.get(name, "") for name in names] for row in rows)]
        cells = [[f'"{str(cell).replace(chr(34), chr(34) * 2)}"' for cell in line] for line in lines]
        path.write_text("\n".join(map(",".join, cells)), encoding="utf-8", newline="")
    return open_source(path, SourceOptions(**options))


@pytest.fixture(params=["a.csv", "a.parquet", "a.jsonl"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


class TestEveryTable:
    def test_columns_have_the_names_of_beir_by_default(self, path: Path) -> None:
        source = table(
            path, {"_id": "a", "title": "Title", "text": "Text."}, {"_id": "b", "title": "", "text": "B."}
        )
        assert list(source) == [
            Document(doc_id="a", text="Title\n\nText.", metadata={"title": "Title"}),
            Document(doc_id="b", text="B."),
        ]

    def test_columns_can_be_named(self, path: Path) -> None:
        row = {
            "number": "7",
            "question": "Why?",
            "answer": "So.\r\n",
            "heading": "H",
            "year": "1999",
            "x": "y",
        }
        source = table(
            path,
            row,
            {**row, "number": "8", "question": ""},
            text_columns=("question", "answer"),
            id_column="number",
            title_column="heading",
            metadata_columns=("year",),
        )
        assert list(source) == [
            Document(doc_id="7", text="H\n\nWhy?\n\nSo.\n", metadata={"title": "H", "year": "1999"}),
            Document(doc_id="8", text="H\n\nSo.\n", metadata={"title": "H", "year": "1999"}),
        ]

    def test_a_bad_row_fails_alone_with_its_place(self, path: Path) -> None:
        rows = [
            {"_id": name, "text": text} for name, text in (("a", "A."), ("b", " "), ("a", "C."), ("d", "D."))
        ]
        documents, (empty, double) = split(table(path, *rows))
        assert list(documents) == ["a", "d"]
        first = 2 if path.suffix == ".csv" else 1  # the header is a line
        assert (empty.doc_id, empty.where) == ("b", f"{path}:{first + 1}")
        assert empty.reason.startswith("no text")
        assert (double.doc_id, double.where) == ("a", f"{path}:{first + 2}")
        assert double.reason.startswith("duplicate id 'a'")
        assert f" {first} has it too" in double.reason

    def test_a_row_beyond_the_limit_fails_alone(self, path: Path) -> None:
        rows = [{"_id": name, "text": text} for name, text in (("a", "A."), ("b", "x" * 999), ("c", "C."))]
        documents, (failed,) = split(table(path, *rows, max_bytes=500))
        assert list(documents) == ["a", "c"]
        assert "--max-file-size" in failed.reason

    def test_the_second_reading_equals_the_first(self, path: Path) -> None:
        source = table(path, {"_id": "a", "text": "A."}, {"_id": "a", "text": "B."})
        assert list(source) == list(source)
        assert source.skipped == source.detected == {}


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
class TestHeader:
    def test_all_other_columns_become_metadata(self, tmp_path: Path, name: str) -> None:
        (document,) = table(tmp_path / name, {"id": "a", "text": "A.", "lang": "de", "empty": ""})
        assert isinstance(document, Document)
        assert document.metadata == {"lang": "de"}

    def test_metadata_can_be_left_out(self, tmp_path: Path, name: str) -> None:
        (document,) = table(tmp_path / name, {"id": "a", "text": "A.", "lang": "de"}, metadata_columns=())
        assert isinstance(document, Document)
        assert document.metadata == {}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {},
                r"a column 'text', got the columns: id, body\. Name the right one",
            ),
            ({"text_columns": ("body",), "id_column": "x"}, "a column 'x'.*--id-column"),
            ({"text_columns": ("body",), "title_column": "x"}, "a column 'x'.*--title-column"),
            ({"text_columns": ("body",), "metadata_columns": ("x",)}, "a column 'x'.*--metadata-column"),
        ],
    )
    def test_a_column_that_is_not_there_is_refused(
        self, tmp_path: Path, name: str, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(SourceError, match=message):
            table(tmp_path / name, {"id": "a", "body": "A."}, **options)


class TestCsv:
    def read(
        self, tmp_path: Path, data: bytes | str, **options: Any
    ) -> tuple[dict[str, Document], list[FailedDocument]]:
        (tmp_path / "a.csv").write_bytes(data if isinstance(data, bytes) else data.encode())
        return split(open_source(tmp_path / "a.csv", SourceOptions(**options)))

    def test_cells_may_hold_delimiters_line_ends_and_marks(self, tmp_path: Path) -> None:
        documents, failed = self.read(tmp_path, 'id,text\r\na,"one, ""two""\r\nthree"\r\n\r\nb,B.\r\n')
        assert failed == []
        assert {name: document.text for name, document in documents.items()} == {
            "a": 'one, "two"\nthree',
            "b": "B.",
        }

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ("b,B.,more", "expected 2 cells, got 3"),
            ("b", "expected 2 cells, got 1"),
            (",B.", "empty id"),
            ('b,"a" b', "broken CSV"),
            ("b,\x00", "binary: expected text, got a zero character at 2"),
            ("b,\u200b", "no text"),
        ],
    )
    def test_what_is_wrong_with_a_row_is_said(self, tmp_path: Path, row: str, reason: str) -> None:
        documents, (failed,) = self.read(tmp_path, f"id,text\na,A.\n{row}\nc,C.\n")
        assert list(documents) == ["a", "c"]
        assert failed.where.endswith("a.csv:3")
        assert reason in failed.reason

    def test_a_mark_that_is_never_closed_ends_with_the_limit(self, tmp_path: Path) -> None:
        rows = "".join(f"{number},Text.\n" for number in range(100))
        documents, failed = self.read(tmp_path, f'id,text\na,"open\n{rows}', max_bytes=200)
        assert failed[0].where.endswith(":2")
        assert "too large" in failed[0].reason
        assert len(documents) > 50  # reading goes on behind it

    def test_a_mark_that_is_open_at_the_end_fails(self, tmp_path: Path) -> None:
        documents, (failed,) = self.read(tmp_path, 'id,text\na,A.\nb,"open\nc,C.\n')
        assert list(documents) == ["a"]
        assert failed.where.endswith(":3")
        assert "lines up to 4 belong to it" in failed.reason

    def test_numbers_are_strings_unless_named(self, tmp_path: Path) -> None:
        data = "id,text,year,price\na,A.,2001,1.5\nb,B.,,\nc,C.,old,2\nd,D.,nan,2\n"
        assert self.read(tmp_path, data)[0]["a"].metadata == {"year": "2001", "price": "1.5"}
        documents, failed = self.read(tmp_path, data, number_columns=("year", "price"))
        assert documents["a"].metadata == {"year": 2001, "price": 1.5}
        assert documents["b"].metadata == {}
        assert [one.doc_id for one in failed] == ["c", "d"]
        assert "expected a number as year, got 'old'" in failed[0].reason

    def test_a_number_column_that_is_no_metadata_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="expected columns that become metadata"):
            self.read(tmp_path, "id,text\na,A.\n", number_columns=("text",))

    def test_other_delimiters(self, tmp_path: Path) -> None:
        assert list(self.read(tmp_path, "id;text\na;A, b.\n", delimiter=";")[0]) == ["a"]
        with pytest.raises(SourceError, match="got the columns: id;text"):
            self.read(tmp_path, "id;text\na;A.\n")
        (tmp_path / "a.tsv").write_text("id\ttext\na\tA.\n")
        assert list(split(open_source(tmp_path / "a.tsv"))[0]) == ["a"]

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
    def test_a_mark_decides_the_encoding(self, tmp_path: Path, encoding: str) -> None:
        documents, failed = self.read(tmp_path, "id,text\na,Käse\n".encode(encoding))
        assert (documents["a"].text, failed) == ("Käse", [])

    def test_half_a_character_of_utf16_ends_the_file(self, tmp_path: Path) -> None:
        documents, failed = self.read(tmp_path, "id,text\na,A.\nb,B.\n".encode("utf-16") + b"\x00\xd8")
        assert len(documents) + len(failed) >= 1
        assert "not utf-16" in failed[-1].reason

    def test_an_encoding_beyond_doubt_is_inferred_for_the_whole_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(f"id,text\na,plain\nb,{GERMAN.replace(',', '')}\n".encode("cp1252"))
        source = open_source(tmp_path / "a.csv")
        documents, _ = split(source)
        assert documents["b"].text == GERMAN.replace(",", "")
        assert {document.metadata["encoding"] for document in documents.values()} == {"windows-1252"}
        assert source.detected == {"windows-1252": 1}

    def test_rows_that_are_not_in_utf8_fail_alone_in_a_file_that_is(self, tmp_path: Path) -> None:
        data = "id,text\na,Käse\n".encode() + "b,Käse\n".encode("latin-1") + b"c,C.\n"
        documents, (failed,) = self.read(tmp_path, data)
        assert list(documents) == ["a", "c"]
        assert failed.where.endswith(":3")
        assert "not UTF-8: got the byte 0xe4" in failed.reason

    @pytest.mark.parametrize("data", [b"", b"\n\n", b"\xff\xfe", b"id,text,text\n", b'"open', b"id,\xff\n"])
    def test_what_has_no_header_is_refused(self, tmp_path: Path, data: bytes) -> None:
        with pytest.raises(SourceError, match=r"a\.csv: (expected|not UTF-8)"):
            self.read(tmp_path, data)

    def test_a_long_file_is_never_in_memory_as_a_whole(self, tmp_path: Path) -> None:
        rows = "".join(f"{number},{'x' * 10_000}\n" for number in range(500))
        (tmp_path / "a.csv").write_text(f"id,text\n{rows}")
        source = open_source(tmp_path / "a.csv")
        assert length_hint(source) == 500
        tracemalloc.start()
        try:
            assert sum(1 for _ in source) == 500
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


class TestParquet:
    def test_values_keep_their_types_where_json_has_them(self, tmp_path: Path) -> None:
        row = {
            "_id": 7,
            "text": "A.",
            "n": 3,
            "share": 0.5,
            "ok": True,
            "tags": ["a", "b"],
            "nested": {"x": 1},
            "day": dt.date(2024, 2, 29),
            "price": decimal.Decimal("1.50"),
            "nothing": None,
            "nan": float("nan"),
        }
        (document,) = table(tmp_path / "a.parquet", row)
        assert document == Document(
            doc_id="7",
            text="A.",
            metadata={
                "n": 3,
                "share": 0.5,
                "ok": True,
                "tags": ["a", "b"],
                "nested": {"x": 1},
                "day": "2024-02-29",
                "price": "1.50",
            },
        )

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (b"bytes", "metadata 'x': expected a JSON value, got bytes"),
            (float("inf"), "expected a JSON value"),
        ],
    )
    def test_what_json_has_not_fails_alone(self, tmp_path: Path, value: Any, reason: str) -> None:
        rows = [{"_id": "a", "text": "A.", "x": None}, {"_id": "b", "text": "B.", "x": value}]
        documents, (failed,) = split(table(tmp_path / "a.parquet", *rows))
        assert list(documents) == ["a"]
        assert reason in failed.reason

    def test_null_is_no_text(self, tmp_path: Path) -> None:
        documents, (failed,) = split(table(tmp_path / "a.parquet", {"_id": "a", "text": "A."}, {"_id": "b"}))
        assert list(documents) == ["a"]
        assert failed.reason.startswith("expected a string as text, got null")

    def test_the_number_of_rows_is_known(self, tmp_path: Path) -> None:
        rows = [{"_id": str(number), "text": "A."} for number in range(1000)]
        source = table(tmp_path / "a.parquet", *rows)
        assert length_hint(source) == 1000
        assert [item.doc_id for item in source] == [row["_id"] for row in rows]

    @pytest.mark.parametrize("data", [b"", b"PAR1", b"no table at all", b"PAR1" + b"\0" * 100 + b"PAR1"])
    def test_what_is_no_parquet_is_refused(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.parquet").write_bytes(data)
        with pytest.raises(SourceError, match=r"a\.parquet: expected a Parquet file"):
            open_source(tmp_path / "a.parquet")


class TestJsonLines:
    def test_metadata_columns_are_fields_of_the_line(self, tmp_path: Path) -> None:
        rows = [
            {"_id": "a", "text": "A.", "year": 2001, "metadata": {"x": 1}},
            {"_id": "b", "text": "B.", "year": None},
        ]
        documents, _ = split(table(tmp_path / "a.jsonl", *rows, metadata_columns=("year", "lang")))
        assert [document.metadata for document in documents.values()] == [{"year": 2001}, {}]

    def test_a_named_field_that_is_not_there_fails(self, tmp_path: Path) -> None:
        _, (failed,) = split(table(tmp_path / "a.jsonl", {"_id": "a", "text": "A."}, text_columns=("body",)))
        assert failed.reason.startswith("no body: expected the fields _id and body, found: _id, text")


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl"])
def test_metadata_can_be_filtered_on_at_query_time(tmp_path: Path, name: str) -> None:
    rows = [
        {"_id": f"d{year}", "text": f"A report about cheese of {year}.", "year": year, "lang": lang}
        for year, lang in ((1999, "de"), (2001, "en"), (2003, "de"), (2005, "en"))
    ]
    options = {"number_columns": ("year",)} if name.endswith(".csv") else {}
    source = table(tmp_path / name, *rows, metadata_columns=("year", "lang"), **options)
    store, model = EmbeddedStore(tmp_path / "store"), FakeModel("acme/fake")
    ingest(source, store, "c", models=[model])
    deployment = deploy(Corpus.open(store, "c"), ["fake"])

    def found(*filters: MetadataFilter) -> set[str]:
        searcher = Searcher(Corpus.open(store, "c"), deployment, models={"fake": model})
        chosen = MetadataFilters(filters=list(filters))
        retriever = TandemRetriever(searcher, similarity_top_k=9, filters=chosen)
        return {str(node.node.ref_doc_id) for node in retriever.retrieve("report about cheese")}

    later = MetadataFilter(key="year", value=2001, operator=FilterOperator.GTE)
    assert found() == {"d1999", "d2001", "d2003", "d2005"}
    assert found(later) == {"d2001", "d2003", "d2005"}
    assert found(later, MetadataFilter(key="lang", value="de")) == {"d2003"}

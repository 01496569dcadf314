"""A thousand malformed documents: each is stored or listed with a reason, and none ends the run."""

from __future__ import annotations

import io
import json
import random
import resource
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import docx
import pyarrow as pa
import pytest
from pyarrow import parquet

from ingest import ingest
from ingest.documents import FailedDocument, Source, SourceOptions, open_source
from retriever.corpus import Corpus
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

SEED = 20
FILES = 700
ROWS = 100
OPTIONS = SourceOptions(max_bytes=2_000_000)
DATA = Path(__file__).parents[1] / "data"
ENCODINGS = (
    "cp1252",
    "cp1251",
    "koi8-r",
    "cp932",
    "gb18030",
    "utf-16-le",
    "utf-16",
    "utf-32-be",
    "utf-7",
    "cp037",
)
WORDS = (
    "Käse",
    "сыр",
    "チーズ",
    "cheese",
    "\u05d2\u05d1\u05d9\u05e0\u05d4",
    "fromage",
    "ﬁne",
    "e\u0301",
    "👩\u200d👩\u200d👧",
)
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e"
CONTROLS = "".join(map(chr, (*range(1, 32), 0x7F, *range(0x80, 0xA0), 0x2028, 0x202E, 0xFFFE, 0xFFFF)))

Maker = Callable[[random.Random], bytes]


def words(rng: random.Random, count: int = 30) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Return `data` cut off, with bytes changed, or with a piece repeated or gone."""
    if not data:
        return data
    place = rng.randrange(len(data))
    match rng.randrange(4):
        case 0:
            return data[:place]
        case 1:
            changed = bytearray(data)
            for _ in range(rng.choice((1, 5, 50))):
                changed[rng.randrange(len(data))] = rng.randrange(256)
            return bytes(changed)
        case 2:
            return data[:place] + data[place : place + 200] * 3 + data[place:]
    return data[:place] + data[place + rng.randrange(200) :]


def bad_encoding(rng: random.Random) -> bytes:
    return damaged(rng, words(rng).encode(rng.choice(ENCODINGS), "ignore"))


def control_characters(rng: random.Random) -> bytes:
    text = "".join(rng.choices(CONTROLS, k=40))
    return (text + rng.choice(("", words(rng)))).encode("utf-8", "surrogatepass")


def broken_utf8(rng: random.Random) -> bytes:
    return words(rng).encode() + rng.choice(
        (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x00")
    )


def zero_width(rng: random.Random) -> bytes:
    return "".join(rng.choices(ZERO_WIDTH + " \n\t", k=50)).encode()


def enormous_line(rng: random.Random) -> bytes:
    return rng.choice((b"x", b"x ", "🧀".encode(), b"<p>x")) * rng.choice((20_000, 100_000, 400_000))


def noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 7, 1000)))


def deep_html(rng: random.Random) -> bytes:
    tag = rng.choice(("div", "b", "table><tr><td", "ul><li", "h1", "svg", "pre", "p", "select", "template"))
    depth = rng.choice((50, 2000, 5000))
    return (f"<{tag}>" * depth + words(rng) + rng.choice(("", f"</{tag}>" * depth))).encode()


def broken_html(rng: random.Random) -> bytes:
    head = f"<!DOCTYPE html><meta charset=utf-8><title>{words(rng, 3)}</title>"
    page = f"{head}<h1>{words(rng)}</h1><p>&#xD800;&bogus;"
    piece = rng.choice(
        ("<![CDATA[", "<!--", "<![x[", "<a href='", "<?php", "&#99999999999;", "<!DOCTYPE [", "</")
    )
    return damaged(rng, (page + piece * 20 + words(rng)).encode())


def deep_markdown(rng: random.Random) -> bytes:
    piece = rng.choice(
        ("> ", "- ", "* _", "[", "![", "`", "1. ", "    ", "<div>", "|", "# ", "~~", "[a](", "***a ")
    )
    return (piece * rng.choice((40, 300, 1500)) + words(rng)).encode()


def front_matter(rng: random.Random) -> bytes:
    return damaged(rng, f"---\ntitle: {words(rng, 3)}\n---\n# {words(rng, 2)}\n\n{words(rng)}".encode())


def broken_pdf(rng: random.Random) -> bytes:
    name = rng.choice(("two-pages.pdf", "no-text-layer.pdf", "encrypted.pdf"))
    return damaged(rng, (DATA / name).read_bytes())


def flate_pdf(rng: random.Random) -> bytes:
    """A page that unpacks to many times its size; or that says it has a million pages."""
    content = zlib.compress(b" " * rng.choice((1000, 5_000_000)) + b"BT /F1 9 Tf (x) Tj ET", 9)
    count = rng.choice((1, 1_000_000))
    return b"".join(
        (
            b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n",
            f"2 0 obj<</Type/Pages/Count {count}/Kids[3 0 R 2 0 R]>>endobj\n".encode(),
            b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>endobj\n",
            f"4 0 obj<</Length {len(content)}/Filter/FlateDecode>>stream\n".encode(),
            content,
            b"\nendstream endobj\ntrailer<</Root 1 0 R>>",
        )
    )


@cache
def empty_word_file() -> bytes:
    empty = io.BytesIO()
    docx.Document().save(empty)
    return empty.getvalue()


def word_file(body: bytes, name: str = "word/document.xml") -> bytes:
    """Return a Word file with this part."""
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(empty_word_file())) as old,
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.namelist():
            new.writestr(part, body if part == name else old.read(part))
    return made.getvalue()


def word_body(inner: str) -> bytes:
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    return f'<w:document xmlns:w="{space}"><w:body>{inner}</w:body></w:document>'.encode()


def broken_docx(rng: random.Random) -> bytes:
    return damaged(rng, word_file(word_body(f"<w:p><w:r><w:t>{words(rng)}</w:t></w:r></w:p>")))


def broken_xml(rng: random.Random) -> bytes:
    parts = (
        "word/document.xml",
        "word/styles.xml",
        "[Content_Types].xml",
        "_rels/.rels",
        "docProps/core.xml",
    )
    body = word_body(
        f"<w:p><w:pPr><w:pStyle w:val='Heading1'/></w:pPr><w:r><w:t>{words(rng)}</w:t></w:r></w:p>"
    )
    return word_file(damaged(rng, body), rng.choice(parts))


def deep_xml(rng: random.Random) -> bytes:
    tag = rng.choice(("w:tbl><w:tr><w:tc", "w:sdt", "w:p", "x"))
    depth = rng.choice((20, 1000, 20_000))
    closing = "".join(f"</{one.strip('<>')}>" for one in reversed(tag.split("><")))
    return word_file(word_body(f"<{tag}>" * depth + "<w:r><w:t>deep</w:t></w:r>" + closing * depth))


def entities(rng: random.Random) -> bytes:
    defined = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else words(rng)}">' for n in range(9))
    return word_file(
        f"<!DOCTYPE x [{defined}]>".encode() + word_body("<w:p><w:r><w:t>&e8;</w:t></w:r></w:p>")
    )


def zip_bomb(rng: random.Random) -> bytes:
    """A part of 30 MB in 30 kB, of which the directory may say that it has 1000 bytes."""
    size = 30_000_000
    data = word_file(b" " * size)
    return rng.choice((data, data.replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little"))))


MAKERS: tuple[tuple[str, Maker], ...] = (
    (".txt", bad_encoding),
    (".txt", control_characters),
    (".txt", broken_utf8),
    (".txt", zero_width),
    (".txt", noise),
    (".html", bad_encoding),
    (".html", deep_html),
    (".html", broken_html),
    (".html", control_characters),
    (".md", deep_markdown),
    (".md", front_matter),
    (".md", noise),
    (".pdf", broken_pdf),
    (".pdf", flate_pdf),
    (".pdf", noise),
    (".docx", broken_docx),
    (".docx", broken_xml),
    (".docx", deep_xml),
    (".docx", entities),
    (".docx", noise),
)
RARE: tuple[tuple[str, Maker], ...] = ((".docx", zip_bomb), (".txt", enormous_line), (".html", enormous_line))
"""Those that take long to make."""


def json_line(rng: random.Random, number: int) -> bytes:
    """Return a line of JSON that has something about it."""
    text = rng.choice(
        (words(rng), "", "\u200b", "\x01\x02", "x\0y", "\ud800", 7, None, ["x"], "x" * 3_000_000)
    )
    if isinstance(text, str) and len(text) > 10**6 and rng.random() < 0.8:
        text = words(rng)
    metadata = rng.choice(
        (None, {}, {"n": 2**70}, {"x": "\udfff"}, {"": {"": [[]]}}, {"tandem": 1}, {"doc_id": "x"}, [])
    )
    doc_id = rng.choice((str(number), number, "twice", " ", "\0", None, True, "x" * 5000))
    line = json.dumps(
        {"_id": doc_id, "text": text, "title": rng.choice((None, words(rng, 2))), "metadata": metadata}
    )
    match rng.randrange(8):
        case 0:
            return damaged(rng, line.encode()).replace(b"\n", b" ")
        case 1:
            return b'{"_id": "deep", "text": "x", "metadata": ' + b'{"a":' * 3000 + b"1" + b"}" * 3001
        case 2:
            return b'{"_id": "deep", "text": ' + b"[" * 100_000
        case 3:
            return (
                line.encode("utf-16")
                if rng.random() < 0.3
                else line.encode("cp1252", "ignore").replace(b"a", b"\xe4")
            )
    return line.encode()


def csv_row(rng: random.Random, number: int) -> bytes:
    """Return a row of a CSV file that has something about it."""
    row = f"{number},{words(rng)},{rng.choice(('7', '', 'many', '1e999', '٣'))}".encode()
    on_one_line = CONTROLS.replace("\n", "").replace("\r", "")
    unseen = rng.choice((ZERO_WIDTH, "\0", on_one_line))
    variants = (
        damaged(rng, row),
        row + b',"more"',
        b'twice,"a ""b"" c",1',
        b'"' + row,
        row.replace(b"e", b"\xe9"),
        f"{number},{unseen},1".encode(),
        row,
        row,
    )
    return rng.choice(variants)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write everything, with a good document at the end of each kind."""
    rng = random.Random(SEED)  # noqa: S311  # nobody has to guess it
    root = tmp_path_factory.mktemp("malformed")
    folder = root / "files"
    folder.mkdir()
    for number in range(FILES):
        suffix, maker = MAKERS[number % len(MAKERS)] if number % 50 else RARE[number // 50 % len(RARE)]
        (folder / f"{number:04}-{maker.__name__}{suffix}").write_bytes(maker(rng))
    (folder / "good.txt").write_text("A good document.")
    good = b'{"_id": "good", "text": "A good document."}'
    (root / "a.jsonl").write_bytes(b"\n".join([*(json_line(rng, n) for n in range(2 * ROWS)), good]))
    rows = b"\n".join(csv_row(rng, n) for n in range(ROWS))
    (root / "a.csv").write_bytes(b"id,text,n\n" + rows + b'\n"\n' + b"good,A good document.,1\n")
    values = [
        {"_id": n, "text": rng.choice((words(rng), None, "\0", "\u200b")), "x": rng.choice((b"\xff", None))}
        for n in range(ROWS)
    ]
    parquet.write_table(
        pa.Table.from_pylist([*values, {"_id": 999, "text": "A good document.", "x": None}]),
        root / "a.parquet",
    )
    return root


class Counted:
    """A source that remembers what it gave."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.documents: list[str] = []
        self.failed: list[FailedDocument] = []

    def __iter__(self) -> Iterator[Document | FailedDocument]:
        for item in self._source:
            if isinstance(item, FailedDocument):
                self.failed.append(item)
            else:
                self.documents.append(item.doc_id)
            yield item


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("files", OPTIONS, FILES + 1),
        ("a.jsonl", OPTIONS, 2 * ROWS + 1),
        ("a.csv", SourceOptions(max_bytes=5000, number_columns=("n",)), None),  # a row may swallow others
        ("a.parquet", OPTIONS, ROWS + 1),
    ],
)
def test_each_is_stored_or_listed_with_a_reason(
    made: Path, tmp_path: Path, name: str, options: SourceOptions, expected: int | None
) -> None:
    source = Counted(open_source(made / name, options))
    store = EmbeddedStore(tmp_path / "store")
    summary = ingest(source, store, "c", models=[FakeModel("acme/fake", dimensions=8)])
    stored = Corpus.open(store, "c").document_ids()
    unstored = {failed.doc_id for failed in summary.failed}
    assert set(source.documents) <= stored | unstored
    assert summary.new == len(stored)
    assert len(summary.failed) + summary.new == len(source.documents) + len(source.failed)
    assert set(source.failed) <= set(summary.failed)
    if expected is not None:
        assert len(summary.failed) + summary.new == expected
    for failed in summary.failed:
        assert failed.reason.strip()
        assert failed.where.isprintable()
        failed.reason.encode()
    assert {"files": "good.txt", "a.parquet": "999"}.get(name, "good") in stored
    assert len(summary.failed) > 5
    assert summary.new > 5


def test_memory_stays_bounded(made: Path) -> None:
    code = (
        "import resource, sys, ingest.documents as d\n"
        "list(d.open_source(sys.argv[1]))  # libraries are loaded\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "costly = ('*deep*', '*enormous*', '*bomb*', '*flate*', '*entities*')\n"
        "options = d.SourceOptions(max_bytes=2_000_000, include=costly)\n"
        "read = sum(1 for _ in d.open_source(sys.argv[2], options))\n"
        "print(read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    some = made / "some"
    some.mkdir()
    for suffix in (".txt", ".html", ".md", ".docx"):
        source = next(path for path in sorted((made / "files").iterdir()) if path.suffix == suffix)
        (some / source.name).write_bytes(source.read_bytes())
    command = [sys.executable, "-c", code, str(some), str(made / "files")]
    read, grown = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert read > FILES / 5
    if sys.platform == "linux":  # there in KiB; a zip bomb alone would take 30 MB, a million tags a gigabyte
        assert grown < 600_000


def test_the_bombs_are_not_unpacked(made: Path) -> None:
    bombs = [path for path in (made / "files").iterdir() if "zip_bomb" in path.name]
    assert len(bombs) >= 3
    start = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in bombs:
        (failed,) = open_source(path, OPTIONS)
        assert isinstance(failed, FailedDocument)
        assert "too large" in failed.reason or "broken Word file" in failed.reason
    if sys.platform == "linux":
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert time.process_time() - start < 5

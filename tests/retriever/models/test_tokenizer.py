from __future__ import annotations

import gc
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, processors

from retriever.errors import ModelError
from retriever.models import tokenizer as tokenizer_module
from retriever.models.packaged import PACKAGED, _locate
from retriever.models.tokenizer import HFTokenizer, TokenCache, read_tokenizer


def _file(short_name: str) -> Path:
    first = _locate(PACKAGED[short_name], short_name)[0]
    return first if first.is_file() else first / "tokenizer.json"


def _wordpiece(*, lowercase: bool = True) -> tokenizers.Tokenizer:
    words = ["[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "##s", "cats"]
    tokenizer = tokenizers.Tokenizer(
        models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")  # noqa: S106
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer


@pytest.fixture(scope="module")
def bert() -> HFTokenizer:
    return HFTokenizer(read_tokenizer(_file("minilm")), add_special_tokens=True)


@pytest.fixture(scope="module")
def llama() -> HFTokenizer:
    return HFTokenizer(read_tokenizer(_file("wordllama")), add_special_tokens=False)


def test_word_pieces_have_the_offsets_of_their_characters(bert: HFTokenizer) -> None:
    """By hand: 'embeddings' is 'em ##bed ##ding ##s' in bert-base-uncased."""
    assert bert.spans("Embeddings, é!").tolist() == [
        [0, 2],
        [2, 5],
        [5, 9],
        [9, 10],
        [10, 11],
        [12, 13],
        [13, 14],
    ]


def test_special_tokens_are_counted_and_have_no_span(bert: HFTokenizer, llama: HFTokenizer) -> None:
    """[CLS] and [SEP] belong to the count of BERT; a static model has none."""
    assert bert.count(["cat", ""]) == [3, 2]
    assert len(bert.spans("cat")) == 1
    assert llama.count(["cat", ""]) == [1, 0]
    assert llama.spans("").shape == (0, 2)


def test_bytes_of_one_character_share_its_span(llama: HFTokenizer) -> None:
    """A byte-level token ends inside a character, an offset never does."""
    # By hand: the robot is 4 bytes in UTF-8, after the space that the tokenizer puts first.
    assert llama.spans("🤖").tolist() == [[0, 1]] * 5


def test_a_space_belongs_to_the_word_after_it(llama: HFTokenizer) -> None:
    """Metaspace tokenizers hold the space before a word; the first word has an added one."""
    assert llama.spans("hello world").tolist() == [[0, 5], [5, 11]]


@pytest.mark.parametrize("name", ["bert", "llama"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_spans_are_in_order_and_in_the_text(name: str, text: str, request: pytest.FixtureRequest) -> None:
    """For any text at all."""
    tokenizer: HFTokenizer = request.getfixturevalue(name)
    spans = tokenizer.spans(text)
    assert (np.diff(spans[:, 0]) >= 0).all()
    assert ((spans >= 0) & (spans <= len(text))).all()
    assert (spans[:, 0] <= spans[:, 1]).all()
    assert tokenizer.count([text]) == [len(spans) + tokenizer.count([""])[0]]


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_ids_are_those_of_the_library(name: str, request: pytest.FixtureRequest) -> None:
    """Whole, and cut as the library cuts; the same when they come from the cache."""
    tokenizer: HFTokenizer = request.getfixturevalue(name)
    own = read_tokenizer(_file("minilm" if name == "bert" else "wordllama"))
    own.no_padding()
    texts = ["Warm soil helps basil.", "", "naïve café 🤖 日本語", "basil " * 700, "Warm soil helps basil."]
    for _ in range(2):
        for max_tokens in (None, 512, 16, 3, 2):
            own.no_truncation() if max_tokens is None else own.enable_truncation(max_tokens)
            expected = own.encode_batch(texts, add_special_tokens=name == "bert")
            given = tokenizer.encode(texts, max_tokens=max_tokens)
            assert [ids.tolist() for ids in given] == [encoding.ids for encoding in expected]
            assert {ids.dtype for ids in given} == {np.dtype(np.int32)}
    assert tokenizer.encode([]) == []


class _Counted:
    """A tokenizer of the library that notes what it is asked for."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self.seen: list[str] = []
        self._tokenizer = tokenizer

    def encode_batch_fast(self, texts: list[str], *, add_special_tokens: bool) -> list[tokenizers.Encoding]:
        self.seen += texts
        return self._tokenizer.encode_batch_fast(texts, add_special_tokens=add_special_tokens)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> TokenCache:
    """An empty cache, put back afterwards."""
    empty = TokenCache()
    monkeypatch.setattr(tokenizer_module, "_cache", empty)
    return empty


@pytest.mark.usefixtures("cache")
def test_a_text_is_tokenized_once_for_all_models_of_a_vocabulary() -> None:
    """The chunker's count is what the models read."""
    one, other = (HFTokenizer(_wordpiece(), add_special_tokens=True) for _ in range(2))
    assert one._tokenizer is other._tokenizer
    counted = _Counted(one._tokenizer)
    one._tokenizer = other._tokenizer = counted  # type: ignore[assignment]
    assert one.count(["the cat", "the cats"]) == [4, 4]
    ids = other.encode(["the cats", "the", "the cat", "the"])
    assert [list(row) for row in ids] == [[1, 3, 7, 2], [1, 3, 2], [1, 3, 4, 2], [1, 3, 2]]
    assert counted.seen == ["the cat", "the cats", "the"]


@pytest.mark.usefixtures("cache")
def test_other_rules_have_other_ids() -> None:
    """Nothing is shared but among tokenizers that are the same to the letter."""
    plain = HFTokenizer(_wordpiece(), add_special_tokens=True)
    assert plain.encode(["the Cat"])[0].tolist() == [1, 3, 4, 2]
    assert HFTokenizer(_wordpiece(), add_special_tokens=False).encode(["the Cat"])[0].tolist() == [3, 4]
    cased = HFTokenizer(_wordpiece(lowercase=False), add_special_tokens=True)
    assert cased.encode(["the Cat"])[0].tolist() == [1, 3, 0, 2]


def test_a_tokenizer_that_nobody_has_any_more_is_let_go() -> None:
    """Sharing keeps nothing alive."""
    rules = HFTokenizer(_wordpiece(), add_special_tokens=True)._rules
    gc.collect()
    assert rules not in tokenizer_module._Backend._known


def test_ids_cannot_be_changed_by_who_gets_them() -> None:
    """They are the ones that others will get."""
    with pytest.raises(ValueError, match="read-only"):
        HFTokenizer(_wordpiece(), add_special_tokens=True).encode(["the cat"])[0][0] = 5


def test_the_cache_keeps_what_was_used_last_and_stays_in_its_bounds() -> None:
    """By hand: an entry of 100 ids is 400 bytes, its text 51, and 300 for the rest; 3 of them fit."""
    cache = TokenCache(capacity=2400, largest=1000)
    ids = np.arange(100, dtype=np.int32)
    for text in "ab":
        cache.put("rules", [text], [ids])
    cache.get("rules", ["a"])
    cache.put("rules", ["c", "d"], [ids, ids])
    assert [one is not None for one in cache.get("rules", list("abcd"))] == [True, False, True, True]
    assert cache.get("other rules", ["a"]) == [None]
    assert 0 < cache.size <= 2400
    cache.put("rules", ["a giant"], [np.arange(1000, dtype=np.int32)])
    assert cache.get("rules", ["a giant"]) == [None]
    assert cache.get("rules", ["a"])[0] is ids
    for number in range(10_000):
        cache.put("rules", [str(number)], [ids])
    assert cache.size <= 2400
    assert len(cache._entries) == 3
    cache.clear()
    assert cache.size == 0


def test_a_book_does_not_push_chunks_out_of_the_cache(cache: TokenCache, bert: HFTokenizer) -> None:
    """Counted whole, kept nowhere."""
    bert.count(["Warm soil helps basil."])
    before = cache.size
    assert bert.count(["basil " * 200_000]) == [400_002 if len(bert.spans("basil")) == 2 else 200_002]
    assert cache.size == before


def test_threads_share_the_cache(cache: TokenCache, bert: HFTokenizer) -> None:
    """Whoever comes first, all get the same, and nothing is lost or counted twice."""
    small = TokenCache(capacity=20_000)
    texts = [f"basil {number} " * (number % 7 + 1) for number in range(200)]
    expected = bert.count(texts)
    cache.clear()
    tokenizer_module._cache = small
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda start: bert.count(texts[start:] + texts[:start]), range(0, 200, 10)))
    for start, result in zip(range(0, 200, 10), results, strict=True):
        assert result == expected[start:] + expected[:start]
    sizes = [tokenizer_module._bytes_of(text, ids) for (_, text), ids in small._entries.items()]
    assert small.size == sum(sizes) <= 20_000


def test_truncation_and_padding_of_the_model_are_ignored_and_kept() -> None:
    """Counting uses a private copy: the model's own tokenizer stays as it is."""
    own = _wordpiece()
    own.enable_truncation(4)
    own.enable_padding(length=8)
    counted = HFTokenizer(own, add_special_tokens=True)
    assert counted.count(["the cats sat " * 10]) == [32]
    assert own.truncation["max_length"] == 4
    assert len(own.encode("the").ids) == 8


def test_the_fingerprint_ignores_truncation_and_padding() -> None:
    """Models that share a vocabulary and its rules share the fingerprint."""
    plain, cut = _wordpiece(), _wordpiece()
    cut.enable_truncation(4)
    cut.enable_padding(length=8)
    fingerprints = {HFTokenizer(own, add_special_tokens=True).fingerprint for own in (plain, cut)}
    assert len(fingerprints) == 1


def test_the_fingerprint_changes_with_rules_vocabulary_and_special_tokens() -> None:
    """Each of these changes what a model sees."""
    larger = _wordpiece()
    larger.add_tokens(["dog"])
    # Rules show in the probe texts only if the vocabulary has their words: take the real one.
    real = read_tokenizer(_file("minilm"))
    cased = read_tokenizer(_file("minilm"))
    cased.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=False)
    fingerprints = [
        HFTokenizer(own, add_special_tokens=special).fingerprint
        for own, special in [
            (_wordpiece(), True),
            (_wordpiece(), False),
            (larger, True),
            (real, True),
            (cased, True),
        ]
    ]
    assert all(one != other for one, other in itertools.combinations(fingerprints, 2))


def test_a_broken_file_is_refused_by_name(tmp_path: Path) -> None:
    """The message names the file."""
    path = tmp_path / "tokenizer.json"
    path.write_text('{"version": "1.0"')
    with pytest.raises(ModelError, match=r"tokenizer\.json: expected a tokenizer"):
        read_tokenizer(path)
    with pytest.raises(ModelError, match=r"absent\.json: expected a tokenizer"):
        read_tokenizer(tmp_path / "absent.json")

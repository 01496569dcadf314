from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, processors

from retriever.errors import ModelError
from retriever.models.packaged import PACKAGED, _locate
from retriever.models.tokenizer import HFTokenizer, read_tokenizer


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

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import ge, gt, le, lt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from retriever.corpus import Corpus
from retriever.errors import InputError
from retriever.llama.filters import to_condition
from retriever.records import Chunk
from retriever.search import Searcher
from retriever.testing import FakeModel

Op = FilterOperator

# Where LlamaIndex's own filter function and Qdrant mean the same.
FILTERS: list[tuple[str, FilterOperator, Any]] = [
    ("lang", Op.EQ, "de"),
    ("lang", Op.EQ, "DE"),
    ("page", Op.EQ, 7),
    ("page", Op.EQ, 7.0),
    ("page", Op.EQ, -1),
    ("weight", Op.EQ, 2),
    ("weight", Op.EQ, 2.25),
    ("remark", Op.EQ, ""),
    ("absent", Op.EQ, "x"),
    ("lang", Op.NE, "de"),
    ("page", Op.NE, 7),
    ("remark", Op.NE, "seen"),
    ("absent", Op.NE, "x"),
    ("page", Op.GT, 20),
    ("page", Op.GTE, 20),
    ("weight", Op.GT, 2.25),
    ("weight", Op.GTE, 2),
    ("page", Op.LT, 3.5),
    ("weight", Op.LTE, 3),
    ("absent", Op.LT, 3),
    ("lang", Op.IN, ["de", "fr"]),
    ("page", Op.IN, [1, 2, 99]),
    ("weight", Op.IN, [0.25, 5.0]),
    ("lang", Op.IN, []),
    ("lang", Op.NIN, ["de", "fr"]),
    ("lang", Op.NIN, []),
    ("absent", Op.NIN, ["x"]),
    ("tags", Op.ANY, ["t1", "basil"]),
    ("tags", Op.ALL, ["t1", "basil"]),
    ("tags", Op.ALL, ["t1"]),
    ("tags", Op.CONTAINS, "t1"),
    ("tags", Op.CONTAINS, "basi"),
    ("title", Op.CONTAINS, "ba"),
    ("remark", Op.CONTAINS, "ee"),
    ("absent", Op.CONTAINS, "x"),
    ("title", Op.TEXT_MATCH, "ba"),
    ("title", Op.TEXT_MATCH, "Ba"),
    ("title", Op.TEXT_MATCH, " s"),
    ("title", Op.TEXT_MATCH, ""),
    ("title", Op.TEXT_MATCH_INSENSITIVE, "ba"),
    ("title", Op.TEXT_MATCH_INSENSITIVE, "BASIL S"),
    ("title", Op.TEXT_MATCH_INSENSITIVE, "never"),
    ("lang", Op.TEXT_MATCH_INSENSITIVE, ""),
    ("two words", Op.EQ, 2),
    ("remark", Op.IS_EMPTY, None),
    ("draft", Op.IS_EMPTY, None),
    ("tags", Op.IS_EMPTY, None),
    ("absent", Op.IS_EMPTY, None),
    ("two words", Op.EQ, 1),
    ("two words", Op.IN, [0, 2]),
    ("Größe", Op.GT, 30),
    ("doc_id", Op.EQ, "doc-3"),
]

LEAVES = st.sampled_from(FILTERS).map(lambda fields: leaf(*fields))
GROUPS = st.recursive(
    LEAVES,
    lambda parts: st.builds(
        MetadataFilters,
        filters=st.lists(parts, min_size=1, max_size=3),
        condition=st.sampled_from([*FilterCondition, None]),
    ),
    max_leaves=8,
).map(lambda part: part if isinstance(part, MetadataFilters) else MetadataFilters(filters=[part]))


def leaf(key: str, operator: FilterOperator, value: Any) -> MetadataFilter:
    return MetadataFilter(key=key, operator=operator, value=value)


def one(key: str, operator: FilterOperator, value: Any) -> MetadataFilters:
    return MetadataFilters(filters=[leaf(key, operator, value)])


def holds(filters: MetadataFilter | MetadataFilters, metadata: Mapping[str, Any]) -> bool:
    """Say what LlamaIndex says of one filter, and combine it for groups, which it does not nest."""
    if isinstance(filters, MetadataFilter):
        group = MetadataFilters(filters=[filters])
        return build_metadata_filter_fn(lambda _: metadata, group)("any id")
    parts = [holds(part, metadata) for part in filters.filters]
    if filters.condition == FilterCondition.OR:
        return any(parts)
    return not any(parts) if filters.condition == FilterCondition.NOT else all(parts)


def selected(corpus: Corpus, filters: MetadataFilters | None, **restrictions: Any) -> set[int]:
    where = to_condition(filters, **restrictions)
    return {chunk.metadata["page"] for batch in corpus.chunks(where) for chunk in batch}


def expected(chunks: tuple[Chunk, ...], predicate: Callable[[Mapping[str, Any]], bool]) -> set[int]:
    fields = ({**chunk.metadata, "doc_id": chunk.doc_id} for chunk in chunks)
    return {metadata["page"] for metadata in fields if predicate(metadata)}


@pytest.mark.parametrize(("key", "operator", "value"), FILTERS, ids=str)
def test_a_filter_selects_what_llama_index_selects(
    shared_corpus: Corpus, chunks: tuple[Chunk, ...], key: str, operator: FilterOperator, value: Any
) -> None:
    filters = one(key, operator, value)
    assert selected(shared_corpus, filters) == expected(chunks, lambda fields: holds(filters, fields))


@pytest.mark.parametrize(
    ("key", "text", "holds"),
    [
        ("author.name", "ANN", lambda fields: fields["author"]["name"] == "Ann"),
        ("tags[]", "T1", lambda fields: "t1" in fields["tags"]),
        ("tags[0]", "BASI", lambda fields: "basi" in fields["tags"][0]),
        ("tags[9]", "", lambda _: False),
        ("tags.name", "", lambda _: False),
        ("author", "ann", lambda _: False),
        ("page", "", lambda _: False),
    ],
)
def test_texts_in_any_case_are_found_where_the_path_leads(
    shared_corpus: Corpus, chunks: tuple[Chunk, ...], key: str, text: str, holds: Callable[..., bool]
) -> None:
    found = selected(shared_corpus, one(key, Op.TEXT_MATCH_INSENSITIVE, text))
    assert found == expected(chunks, holds)
    assert found >= selected(shared_corpus, one(key, Op.TEXT_MATCH, text))


@pytest.mark.parametrize(
    ("written", "text", "is_found"),
    [("STRASSE", "straße", False), ("Straße", "STRASSE", False), ("ÉTÉ", "été", True), ("İzmir", "i̇z", True),
     ("ΟΔΟΣ", "οδος", True), ("two words", "O W", True)],
)  # fmt: skip
def test_cases_are_those_of_small_letters_as_in_llama_index(
    corpus: Corpus,
    chunks: tuple[Chunk, ...],
    written: str,
    text: str,
    is_found: bool,  # noqa: FBT001
) -> None:
    chunk = replace(chunks[0], metadata={**chunks[0].metadata, "two words": written})
    corpus.write_payloads([chunk], document_hash={chunk.doc_id: "h"}, chunk_count={chunk.doc_id: 1})
    filters = one("two words", Op.TEXT_MATCH_INSENSITIVE, text)
    assert selected(corpus, filters) == ({0} if is_found else set())
    assert holds(filters, chunk.metadata) is is_found


def test_a_search_reads_the_texts_of_a_field_anew_for_each_question(
    corpus: Corpus, chunks: tuple[Chunk, ...], searcher_for: Callable[..., Searcher], alpha: FakeModel
) -> None:
    searcher = searcher_for(corpus, {alpha: 1.0})
    where = to_condition(one("title", Op.TEXT_MATCH_INSENSITIVE, "NEWLY"))
    assert searcher.search(["warm soil"], k=40, where=where, explain=True) == [[]]
    chunk = replace(chunks[7], metadata={**chunks[7].metadata, "title": "Written newly."})
    corpus.write_payloads([chunk], document_hash={chunk.doc_id: "h"}, chunk_count={chunk.doc_id: 4})
    ((hit,),) = searcher.search(["warm soil"], k=40, where=where, explain=True)
    assert hit.chunk == chunk
    assert corpus.count_chunks(where) == 1


def test_the_table_has_every_operator_that_can_be_exact() -> None:
    assert {operator for _, operator, _ in FILTERS} == set(Op)


@settings(max_examples=60)
@given(filters=GROUPS)
def test_nested_groups_select_what_their_parts_say(
    shared_corpus: Corpus, chunks: tuple[Chunk, ...], filters: MetadataFilters
) -> None:
    assert selected(shared_corpus, filters) == expected(chunks, lambda fields: holds(filters, fields))


@pytest.mark.parametrize("condition", [*FilterCondition, None])
def test_no_filter_restricts_nothing(
    shared_corpus: Corpus, chunks: tuple[Chunk, ...], condition: FilterCondition | None
) -> None:
    empty = MetadataFilters(filters=[], condition=condition)
    assert len(selected(shared_corpus, empty)) == len(chunks)
    assert to_condition(None) is None


def test_a_list_equals_a_value_if_one_of_its_elements_does(
    shared_corpus: Corpus, chunks: tuple[Chunk, ...]
) -> None:
    with_t1 = expected(chunks, lambda fields: "t1" in fields["tags"])
    assert selected(shared_corpus, one("tags", Op.EQ, "t1")) == with_t1
    assert selected(shared_corpus, one("tags", Op.IN, ["t1", "never"])) == with_t1
    without = set(range(len(chunks))) - with_t1
    assert selected(shared_corpus, one("tags", Op.NE, "t1")) == without


def test_any_and_all_take_a_text_as_one_value(shared_corpus: Corpus, chunks: tuple[Chunk, ...]) -> None:
    german = expected(chunks, lambda fields: fields["lang"] == "de")
    assert selected(shared_corpus, one("lang", Op.ANY, ["de", "d"])) == german
    assert selected(shared_corpus, one("lang", Op.ALL, ["de"])) == german


def _brute(  # noqa: C901, PLR0911  # one case and one return per operator
    operator: FilterOperator, value: Any, stored: Any
) -> bool:
    """Say what our documentation says of one filter: of a list, one element is enough."""
    elements = stored if isinstance(stored, list) else [stored]
    is_empty = stored is None or stored in ([], "")
    match operator:
        case Op.EQ:
            return any(type(one) is not bool and one == value for one in elements)
        case Op.IN | Op.ANY:
            return any(_brute(Op.EQ, one, stored) for one in value)
        case Op.ALL:
            return all(_brute(Op.EQ, one, stored) for one in value)
        case Op.NE:
            return not _brute(Op.EQ, value, stored)
        case Op.NIN:
            return not _brute(Op.IN, value, stored)
        case Op.GT | Op.GTE | Op.LT | Op.LTE:
            compare = {Op.GT: gt, Op.GTE: ge, Op.LT: lt, Op.LTE: le}[operator]
            return any(
                compare(one, value)
                for one in elements
                if isinstance(one, int | float) and type(one) is not bool
            )
        case Op.TEXT_MATCH:
            return any(isinstance(one, str) and value in one for one in elements)
        case Op.TEXT_MATCH_INSENSITIVE:
            return any(isinstance(one, str) and value.lower() in one.lower() for one in elements)
        case Op.CONTAINS if isinstance(stored, str):
            return isinstance(value, str) and value in stored
        case Op.CONTAINS:
            return isinstance(stored, list) and _brute(Op.EQ, value, stored)
        case _:
            return is_empty


KEYS = ["page", "weight", "lang", "tags", "title", "two words", "Größe", "remark", "draft", "absent"]
TEXTS = st.sampled_from(["de", "t1", "basil", "ba", "Ba", "seen", "", "s", " "])
NUMBERS = st.sampled_from([0, 1, 7, 20, -1, 0.25, 2.0, 5.75, 2**53 + 1])
SCALARS = TEXTS | NUMBERS
LISTS = st.lists(TEXTS, max_size=3) | st.lists(st.sampled_from([0, 1, 7, 20]), max_size=3)
VALUES: dict[FilterOperator, st.SearchStrategy[Any]] = {
    **dict.fromkeys([Op.EQ, Op.NE, Op.CONTAINS], SCALARS),
    **dict.fromkeys([Op.GT, Op.GTE, Op.LT, Op.LTE], NUMBERS),
    **dict.fromkeys([Op.IN, Op.NIN, Op.ANY, Op.ALL], LISTS),
    Op.TEXT_MATCH: TEXTS,
    Op.TEXT_MATCH_INSENSITIVE: TEXTS,
    Op.IS_EMPTY: st.none(),
}


@settings(max_examples=150)
@given(data=st.data())
def test_any_filter_on_any_field_selects_what_brute_force_over_the_payloads_does(
    shared_corpus: Corpus, chunks: tuple[Chunk, ...], data: st.DataObject
) -> None:
    operator = data.draw(st.sampled_from(list(VALUES)))
    key, value = data.draw(st.sampled_from(KEYS)), data.draw(VALUES[operator])
    found = selected(shared_corpus, one(key, operator, value))
    assert found == expected(chunks, lambda fields: _brute(operator, value, fields.get(key)))


def test_the_brute_force_knows_every_operator() -> None:
    assert set(VALUES) == set(Op)


def test_dots_in_a_key_reach_into_nested_metadata(shared_corpus: Corpus, chunks: tuple[Chunk, ...]) -> None:
    ann = expected(chunks, lambda fields: fields["author"]["name"] == "Ann")
    assert selected(shared_corpus, one("author.name", Op.EQ, "Ann")) == ann
    assert selected(shared_corpus, one("author.name", Op.TEXT_MATCH, "nn")) == ann


def test_elements_of_a_list_can_be_named_as_qdrant_does(
    shared_corpus: Corpus, chunks: tuple[Chunk, ...]
) -> None:
    first = expected(chunks, lambda fields: fields["tags"][0] == "basil")
    every = expected(chunks, lambda fields: "basil" in fields["tags"])
    assert selected(shared_corpus, one("tags[0]", Op.EQ, "basil")) == first
    assert selected(shared_corpus, one("tags[]", Op.EQ, "basil")) == every
    assert selected(shared_corpus, one("tags[]", Op.CONTAINS, "basil")) == every


def test_node_ids_and_document_ids_restrict_as_well(shared_corpus: Corpus, chunks: tuple[Chunk, ...]) -> None:
    ids = [chunk.chunk_id for chunk in chunks[:20]]
    assert selected(shared_corpus, None, node_ids=ids) == set(range(20))
    assert selected(shared_corpus, None, node_ids=[ids[4].upper().replace("-", "")]) == {4}
    assert selected(shared_corpus, None, doc_ids=["doc-3", "never"]) == {3, 15, 27, 39}
    together = selected(shared_corpus, one("lang", Op.EQ, "en"), node_ids=ids, doc_ids=["doc-3", "doc-4"])
    assert together == {3, 15}
    assert selected(shared_corpus, None, node_ids=["doc-3", ids[4], "never"]) == {3, 15, 27, 39, 4}
    assert selected(shared_corpus, None, node_ids=[]) == set()
    assert selected(shared_corpus, None, doc_ids=[]) == set()


@pytest.mark.parametrize(
    ("key", "operator", "value", "words"),
    [
        ("title", Op.TEXT_MATCH_INSENSITIVE, 5, "a text, got 5"),
        ("lang", Op.EQ, None, "a text or a number to equal, got None"),
        ("lang", Op.NE, None, "to equal, got None"),
        ("lang", Op.EQ, ["de"], r"to equal, got \['de'\]"),
        ("weight", Op.EQ, math.nan, "to equal, got nan"),
        ("page", Op.EQ, 2**64, "to equal, got 18446744073709551616"),
        ("page", Op.GT, "7", "a number to compare with, got '7'"),
        ("page", Op.GT, None, "compare with, got None"),
        ("page", Op.LT, math.inf, "compare with, got inf"),
        ("page", Op.GTE, math.nan, "compare with, got nan"),
        ("lang", Op.IN, "de", "a list of values, got 'de'"),
        ("lang", Op.NIN, 5, "a list of values, got 5"),
        ("tags", Op.ANY, "t1", "a list of values"),
        ("tags", Op.ALL, None, "a list of values"),
        ("weight", Op.IN, [1.0, math.inf], "to equal, got inf"),
        ("tags", Op.CONTAINS, None, "to equal, got None"),
        ("title", Op.TEXT_MATCH, 5, "a text, got 5"),
        ("", Op.EQ, "x", "a key without quotation marks, got ''"),
        ('a"b', Op.EQ, "x", "a key without quotation marks"),
    ],
)
def test_what_qdrant_cannot_say_exactly_is_refused(
    key: str, operator: FilterOperator, value: Any, words: str
) -> None:
    with pytest.raises(InputError, match=f"filter.*{words}"):
        to_condition(one(key, operator, value))


@pytest.mark.parametrize("name", ["node_ids", "doc_ids"])
@pytest.mark.parametrize(
    ("ids", "words"),
    [([""], "got ''"), (["doc-3", None], "got None"), ("doc-3", "a list of ids, got the text")],
)
def test_ids_that_are_none_are_refused(name: str, ids: Any, words: str) -> None:
    with pytest.raises(InputError, match=f"{name}: expected .*{words}"):
        to_condition(None, **{name: ids})

"""The paper's own tables: that its arithmetic holds, and where it does not."""

from __future__ import annotations

import pytest

from analysis.framework import printed
from analysis.framework.printed import COLUMNS, MODELS, printed_correlations

COLLECTIONS = ("nfcorpus", "scifact", "scidocs", "fiqa")


@pytest.mark.parametrize("collection", ["scifact", "scidocs", "fiqa"])
@pytest.mark.parametrize("column", COLUMNS)
def test_printed_means_are_those_of_the_rows(collection: str, column: str) -> None:
    found = printed_correlations(collection)[column]
    assert found.mean_of_rows == pytest.approx(found.mean, abs=1e-3)  # of numbers rounded to three places


def test_printed_means_of_nfcorpus_are_not_those_of_its_rows_and_both_are_kept() -> None:
    found = printed_correlations("nfcorpus")
    assert [round(found[column].mean_of_rows, 3) for column in COLUMNS] == [0.755, 0.834, 0.711, 0.823]
    assert [found[column].mean for column in COLUMNS] == [0.752, 0.841, 0.703, 0.823]


def test_every_column_has_every_model_and_values_in_range() -> None:
    for collection in COLLECTIONS:
        found = printed_correlations(collection)
        assert tuple(found) == COLUMNS
        for column in found.values():
            assert set(column.by_model) == set(MODELS.values())
            assert all(-1 <= value <= 1 for value in (*column.by_model.values(), column.overall))
    assert len(MODELS) == 15
    assert len(MODELS) * (len(MODELS) - 1) // 2 == printed.N_PAIRS


def test_cells_stand_where_the_paper_has_them() -> None:
    # read off Table 2: corners of its two halves, and the highest of all
    assert printed_correlations("nfcorpus")["baseline"].by_model["BAAI/bge-large-en-v1.5"] == 0.579
    assert printed_correlations("scifact")["rank_similarity"].by_model["thenlper/gte-small"] == 0.973
    assert printed_correlations("scidocs")["baseline"].overall == 0.692
    assert printed_correlations("FiQA")["rank_similarity"].overall == 0.884
    assert printed_correlations("fiqa")["cka"].by_model["mixedbread-ai/mxbai-embed-large-v1"] == 0.123


def test_table_1_has_every_two_collections_once_per_measure() -> None:
    for values in printed.CONSISTENCY.values():
        assert {frozenset(pair) for pair in values} == {
            frozenset((a, b)) for a in COLLECTIONS for b in COLLECTIONS if a != b
        }
        assert len(values) == 6
    assert printed.CONSISTENCY["cka"]["nfcorpus", "scifact"] == 0.994
    assert printed.CONSISTENCY["rank_similarity"]["nfcorpus", "scidocs"] == 0.913
    assert printed.CONSISTENCY["jaccard"]["fiqa", "scifact"] == 0.917


def test_a_collection_that_is_not_in_the_paper_has_no_columns() -> None:
    assert printed_correlations("arguana") == {}

"""From vectors to numbers per query, against brute force on the concatenated vectors."""

from __future__ import annotations

import json

import numpy as np
import pytest
import pytrec_eval

from analysis.evaluation import Evaluation, ModelVectors, evaluate
from analysis.evaluation import run as module
from analysis.judgements import Judgements
from analysis.rankings import top_k
from analysis.similarity import cka, debiased_cka, jaccard, rank_similarity
from retriever.combine import concatenate, weigh
from retriever.errors import InputError, ShapeError

N_QUERIES, N_CHUNKS, N_DOCUMENTS = 23, 90, 40
SPREADS = {"A": 0.1, "B": 0.05, "C": 0.2}


def unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    rows = rng.normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def models(*keys: str, n_queries: int = N_QUERIES, n_chunks: int = N_CHUNKS) -> list[ModelVectors]:
    rng = np.random.default_rng(5)
    return [
        ModelVectors(key=key, queries=unit(rng, n_queries, 8 + i), chunks=unit(rng, n_chunks, 8 + i))
        for i, key in enumerate(keys)
    ]


@pytest.fixture
def chunk_documents() -> list[str]:
    every = [*range(N_DOCUMENTS), *np.random.default_rng(6).integers(N_DOCUMENTS, size=N_CHUNKS)][:N_CHUNKS]
    return [f"d{document}" for document in np.random.default_rng(7).permutation(every)]


@pytest.fixture
def judgements() -> Judgements:
    rng = np.random.default_rng(8)
    queries = [f"q{i}" for i in range(N_QUERIES - 1)] + ["d3"]  # one query is a document of the corpus
    return Judgements(
        queries=dict.fromkeys(queries, "text"),
        qrels={
            query: {f"d{document}": int(rng.integers(0, 3)) for document in rng.integers(N_DOCUMENTS, size=9)}
            for query in queries
        },
    )


@pytest.fixture
def evaluation(judgements: Judgements, chunk_documents: list[str]) -> Evaluation:
    return evaluate(
        models("A", "B", "C"), judgements=judgements, chunk_documents=chunk_documents, spreads=SPREADS
    )


def brute_force(
    vectors: list[ModelVectors],
    weights: tuple[float, ...],
    judgements: Judgements,
    chunk_documents: list[str],
    *,
    drop_own: bool = False,
) -> list[float]:
    """Search the stored concatenation with the weighted query, let trec_eval measure the run."""
    queries = weigh([model.queries for model in vectors], weights)
    scores = queries @ concatenate([model.chunks for model in vectors]).T
    run: dict[str, dict[str, float]] = {}
    for query, row in zip(judgements.query_ids, scores.tolist(), strict=True):
        hits = run[query] = {}
        for document, score in zip(chunk_documents, row, strict=True):
            if not (drop_own and document == query):
                hits[document] = max(score, hits.get(document, -9.0))
    results = pytrec_eval.RelevanceEvaluator(judgements.qrels, {"ndcg_cut.10"}).evaluate(run)
    return [results[query]["ndcg_cut_10"] for query in judgements.query_ids]


def test_every_candidate_equals_a_search_on_its_concatenated_vectors(
    evaluation: Evaluation, judgements: Judgements, chunk_documents: list[str]
) -> None:
    vectors = {model.key: model for model in models("A", "B", "C")}
    for candidate in (*evaluation.singles, *evaluation.pairs):
        halves = [vectors[key] for key in candidate.models]
        expected = brute_force(halves, candidate.weights, judgements, chunk_documents)
        assert candidate.ndcg.tolist() == pytest.approx(expected, abs=1e-9)
        assert candidate.mean == pytest.approx(np.mean(expected))


def test_candidates_are_all_models_and_all_pairs_in_both_weightings(evaluation: Evaluation) -> None:
    assert [candidate.label for candidate in evaluation.singles] == ["A", "B", "C"]
    assert [candidate.label for candidate in evaluation.pairs] == [
        "A+B (equal)",
        "A+B (calibrated)",
        "A+C (equal)",
        "A+C (calibrated)",
        "B+C (equal)",
        "B+C (calibrated)",
    ]
    # one over the spread: A 10, B 20, C 5
    assert [candidate.weights for candidate in evaluation.pairs] == [
        (0.5, 0.5),
        pytest.approx((1 / 3, 2 / 3)),
        (0.5, 0.5),
        pytest.approx((2 / 3, 1 / 3)),
        (0.5, 0.5),
        pytest.approx((4 / 5, 1 / 5)),
    ]
    assert (evaluation.n_chunks, evaluation.n_documents) == (N_CHUNKS, N_DOCUMENTS)


def test_the_similarity_of_each_pair_is_over_its_chunks(evaluation: Evaluation) -> None:
    a, b, _ = models("A", "B", "C")
    tops = [top_k(model.queries @ model.chunks.T, 10) for model in (a, b)]
    first = evaluation.similarities[0]
    assert [similarity.models for similarity in evaluation.similarities] == [
        ("A", "B"),
        ("A", "C"),
        ("B", "C"),
    ]
    assert first.k == 10
    assert first.cka == pytest.approx(cka(a.chunks, b.chunks))
    assert first.cka_debiased == pytest.approx(debiased_cka(a.chunks, b.chunks))
    assert first.jaccard == pytest.approx(jaccard(*tops).mean())
    assert first.rank_similarity == pytest.approx(rank_similarity(*tops).mean())


@pytest.mark.parametrize("order", [["a", "b", "c"], ["c", "b", "a"]])
def test_equal_documents_rank_by_id_descending_in_whatever_order_they_are_stored(order: list[str]) -> None:
    axis = np.array([[1.0, 0.0]], dtype=np.float32)
    found = evaluate(
        [ModelVectors(key="A", queries=axis, chunks=np.repeat(axis, 3, axis=0))],
        judgements=Judgements(queries={"q": "t"}, qrels={"q": {"c": 1}}),
        chunk_documents=order,
        spreads={},
    )
    assert found.singles[0].mean == 1.0  # c comes first


def test_blocks_of_queries_have_no_effect(
    evaluation: Evaluation,
    judgements: Judgements,
    chunk_documents: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4 * N_CHUNKS * 7 * 5)  # five queries at a time
    blocks = evaluate(
        models("A", "B", "C"), judgements=judgements, chunk_documents=chunk_documents, spreads=SPREADS
    )
    assert blocks.to_json() == evaluation.to_json()


def test_a_query_that_is_a_document_can_be_kept_from_finding_itself(
    judgements: Judgements, chunk_documents: list[str]
) -> None:
    both = models("A", "B")
    found = evaluate(
        both, judgements=judgements, chunk_documents=chunk_documents, spreads=SPREADS, drop_own=True
    )
    for candidate, halves in zip(found.singles, ([both[0]], [both[1]]), strict=True):
        expected = brute_force(halves, (1.0,), judgements, chunk_documents, drop_own=True)
        assert candidate.ndcg.tolist() == pytest.approx(expected, abs=1e-9)


def test_chosen_pairs_only_in_the_order_of_the_models(
    judgements: Judgements, chunk_documents: list[str]
) -> None:
    found = evaluate(
        models("A", "B", "C"),
        judgements=judgements,
        chunk_documents=chunk_documents,
        spreads={"A": 0.1, "C": 0.2},  # no pair needs the spread of B
        pairs=[("C", "A"), ("A", "C")],
    )
    assert [candidate.name for candidate in found.singles] == ["A", "B", "C"]
    assert [candidate.name for candidate in found.pairs] == ["A+C", "A+C"]
    assert [similarity.models for similarity in found.similarities] == [("A", "C")]


def test_one_model_alone_has_no_pairs(judgements: Judgements, chunk_documents: list[str]) -> None:
    found = evaluate(models("A"), judgements=judgements, chunk_documents=chunk_documents, spreads={})
    assert len(found.singles) == 1
    assert found.pairs == found.similarities == ()


def test_k_beyond_the_corpus_is_lowered_and_tiny_corpora_have_no_debiased_cka() -> None:
    found = evaluate(
        models("A", "B", n_queries=1, n_chunks=3),
        judgements=Judgements(queries={"q": "t"}, qrels={"q": {"d": 1}}),
        chunk_documents=["d", "e", "d"],
        spreads=SPREADS,
    )
    assert found.similarities[0].k == 3
    assert found.similarities[0].jaccard == 1.0
    assert found.similarities[0].cka_debiased is None


def test_k_is_the_cutoff_of_the_similarities(judgements: Judgements, chunk_documents: list[str]) -> None:
    found = evaluate(
        models("A", "B"), judgements=judgements, chunk_documents=chunk_documents, spreads=SPREADS, k=1
    )
    first = [np.argmax(model.queries @ model.chunks.T, axis=1) for model in models("A", "B")]
    assert found.similarities[0].jaccard == pytest.approx((first[0] == first[1]).mean())
    assert "jaccard@1" in found.similarities[0].to_json()


def test_the_gain_of_the_paper_is_over_the_better_half(evaluation: Evaluation) -> None:
    means = {candidate.name: candidate.mean for candidate in evaluation.singles}
    pair = evaluation.pairs[2]
    assert pair.name == "A+C"
    assert evaluation.improvement(pair) == pytest.approx(pair.mean - max(means["A"], means["C"]))
    assert evaluation.best_single.mean == max(means.values())


def test_json_holds_every_number_and_results_cannot_be_edited(evaluation: Evaluation) -> None:
    read = json.loads(json.dumps(evaluation.to_json()))
    for candidate in read["candidates"]:
        for measure, values in candidate["per_query"].items():
            assert np.mean(values) == pytest.approx(candidate[measure])
    assert len(read["candidates"]) == 9
    with pytest.raises(ValueError, match="read-only"):
        evaluation.singles[0].ndcg[0] = 1.0


def broken(vectors: np.ndarray, defect: str) -> np.ndarray:
    if defect == "nan":
        vectors = vectors.copy()
        vectors[0, 0] = np.nan
    changed = {"long": vectors * 2, "float64": vectors.astype(np.float64), "short": vectors[:-1]}
    return changed.get(defect, vectors)


@pytest.mark.parametrize(
    ("defect", "reason"),
    [
        ("nan", "chunks of A: expected finite"),
        ("long", r"chunks of A: expected rows of length 1, got 2\.0000 in row"),
        ("float64", "chunks of A: expected float32"),
        ("short", "chunks of A: expected 90 rows, one per chunk, got 89"),
    ],
)
def test_unusable_vectors_are_refused_with_the_reason(
    judgements: Judgements, chunk_documents: list[str], defect: str, reason: str
) -> None:
    (model,) = models("A")
    bad = ModelVectors(key="A", queries=model.queries, chunks=broken(model.chunks, defect))
    with pytest.raises(ShapeError, match=reason):
        evaluate([bad], judgements=judgements, chunk_documents=chunk_documents, spreads={})


def test_queries_and_chunks_of_different_models_are_refused(
    judgements: Judgements, chunk_documents: list[str]
) -> None:
    a, b = models("A", "B")
    mixed = ModelVectors(key="A", queries=a.queries, chunks=b.chunks)
    with pytest.raises(ShapeError, match="vectors of A: expected queries and chunks of equal dimensions"):
        evaluate([mixed], judgements=judgements, chunk_documents=chunk_documents, spreads={})


@pytest.mark.parametrize(
    ("keys", "pairs", "spreads", "reason"),
    [
        ((), None, SPREADS, "at least one model and each once, got none"),
        (("A", "A"), None, SPREADS, "each once, got A, A"),
        (("A", "B"), [("A", "X")], SPREADS, r"two different models of A, B, got A\+X"),
        (("A", "B"), [("A", "A")], SPREADS, r"got A\+A"),
        (("A", "B"), None, {"A": 0.1}, "measured spread of every model, got none of B"),
    ],
)
def test_unusable_choices_are_refused_with_the_reason(
    judgements: Judgements, chunk_documents: list[str], keys: tuple, pairs: list, spreads: dict, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        evaluate(
            models(*keys),
            judgements=judgements,
            chunk_documents=chunk_documents,
            spreads=spreads,
            pairs=pairs,
        )

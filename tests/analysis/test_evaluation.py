"""From vectors to numbers per query, against brute force on the concatenated vectors."""

from __future__ import annotations

import json

import numpy as np
import pytest
import pytrec_eval

from analysis.evaluation import Evaluation, ModelVectors, compare, evaluate
from analysis.evaluation import search as module
from analysis.judgements import Judgements
from analysis.rankings import top_k
from analysis.similarity import cka, debiased_cka, jaccard, kendall_tau, rank_biased_overlap, rank_similarity
from retriever.combine import concatenate, weigh
from retriever.errors import InputError, JudgementsError, ShapeError

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


def test_many_chunks_are_measured_like_few() -> None:
    """Of more than a few hundred, sums are formed of the first chunks of each model alone."""
    rng = np.random.default_rng(9)
    documents = [f"d{document}" for document in rng.integers(600, size=1500)]
    query_ids = [f"q{query}" for query in range(N_QUERIES)]
    many = Judgements(
        queries=dict.fromkeys(query_ids, "text"),
        qrels={query: {f"d{place}": 1 for place in rng.integers(600, size=40)} for query in query_ids},
    )
    vectors = models("A", "B", "C", n_chunks=1500)
    found = evaluate(vectors, judgements=many, chunk_documents=documents, spreads=SPREADS)
    by_key = {model.key: model for model in vectors}
    for candidate in (*found.singles, *found.pairs):
        halves = [by_key[key] for key in candidate.models]
        expected = brute_force(halves, candidate.weights, many, documents)
        assert candidate.ndcg.tolist() == pytest.approx(expected, abs=1e-9)


def test_explicit_weights_come_after_the_others_in_ascending_order(
    judgements: Judgements, chunk_documents: list[str]
) -> None:
    both = models("A", "B")
    found = evaluate(
        both,
        judgements=judgements,
        chunk_documents=chunk_documents,
        spreads=SPREADS,
        grid=[0.8, 0.25, 0.0, 1.0],
    )
    assert [candidate.label for candidate in found.pairs] == [
        "A+B (equal)",
        "A+B (calibrated)",
        "A+B (0.00)",
        "A+B (0.25)",
        "A+B (0.80)",
        "A+B (1.00)",
    ]
    for candidate in found.pairs:
        expected = brute_force(both, candidate.weights, judgements, chunk_documents)
        assert candidate.ndcg.tolist() == pytest.approx(expected, abs=1e-9), candidate.label
    assert found.pairs[2].ndcg.tolist() == found.singles[1].ndcg.tolist()
    assert found.pairs[5].ndcg.tolist() == found.singles[0].ndcg.tolist()


@pytest.mark.parametrize("m", [1, 2, 3, 100])
@pytest.mark.parametrize("n_chunks", [N_CHUNKS, 1200])
def test_a_document_can_score_as_the_mean_of_its_best_chunks(
    judgements: Judgements, n_chunks: int, m: int
) -> None:
    a, b = models("A", "B", n_chunks=n_chunks)
    chunk_documents = [f"d{place}" for place in np.random.default_rng(4).integers(N_DOCUMENTS, size=n_chunks)]
    found = evaluate(
        [a, b], judgements=judgements, chunk_documents=chunk_documents, spreads=SPREADS, aggregate=m
    )
    scores = (a.queries @ a.chunks.T + b.queries @ b.chunks.T) / 2
    run: dict[str, dict[str, float]] = {}
    for query, row in zip(judgements.query_ids, scores.tolist(), strict=True):
        of: dict[str, list[float]] = {}
        for document, score in zip(chunk_documents, row, strict=True):
            of.setdefault(document, []).append(score)
        run[query] = {document: float(np.mean(sorted(of[document])[-m:])) for document in of}
    results = pytrec_eval.RelevanceEvaluator(judgements.qrels, {"ndcg_cut.10"}).evaluate(run)
    expected = [results[query]["ndcg_cut_10"] for query in judgements.query_ids]
    assert found.pairs[0].ndcg.tolist() == pytest.approx(expected, abs=1e-9)


def test_vectors_kept_in_float16_give_the_numbers_of_the_same_in_float32(
    judgements: Judgements, chunk_documents: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CONVERTED_ROWS", 32)
    half = [
        ModelVectors(key=model.key, queries=model.queries, chunks=model.chunks.astype(np.float16))
        for model in models("A", "B")
    ]
    whole = [
        ModelVectors(key=model.key, queries=model.queries, chunks=model.chunks.astype(np.float32))
        for model in half
    ]
    found, expected = (
        evaluate(vectors, judgements=judgements, chunk_documents=chunk_documents, spreads=SPREADS)
        for vectors in (half, whole)
    )
    for candidate, other in zip(found.pairs, expected.pairs, strict=True):
        assert candidate.ndcg.tolist() == other.ndcg.tolist()
    assert found.similarities[0].cka == pytest.approx(expected.similarities[0].cka)


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
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4 * N_CHUNKS * 3 * 5)  # five queries at a time
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


def test_what_is_kept_from_being_found_is_no_likeness_either(
    judgements: Judgements, chunk_documents: list[str]
) -> None:
    both = models("A", "B")
    chunk_documents[:2] = ["d3", "d3"]
    for model in both:
        model.queries[-1] = model.chunks[0]  # the question d3 is this chunk of d3
    given = {"chunk_documents": chunk_documents, "ks": [5], "drop_own": True}
    judged = evaluate(both, judgements=judgements, spreads=SPREADS, **given)
    asked = compare(both, query_ids=judgements.query_ids, **given)
    own = np.array(judgements.query_ids)[:, None] == np.array(chunk_documents)
    tops = [top_k(np.where(own, -9, model.queries @ model.chunks.T), 5) for model in both]
    expected = jaccard(*tops).tolist()
    for found in (judged, asked):
        assert found.similarities[0].overlaps[0].jaccard.tolist() == pytest.approx(expected)


def test_a_cutoff_counts_the_chunks_that_a_query_that_is_a_document_may_find(
    judgements: Judgements, chunk_documents: list[str]
) -> None:
    given = {"query_ids": judgements.query_ids, "chunk_documents": chunk_documents, "drop_own": True}
    most = N_CHUNKS - chunk_documents.count("d3")
    assert compare(models("A", "B"), ks=[most], **given).similarities[0].overlaps[0].jaccard.tolist()[-1] == 1
    with pytest.raises(InputError, match=f"at most {most}, the number of chunks that every query may find"):
        compare(models("A", "B"), ks=[most + 1], **given)
    with pytest.raises(InputError, match="documents beside the query's own, got d3 alone"):
        compare(models("A", "B"), **{**given, "chunk_documents": ["d3"] * N_CHUNKS})


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
        models("A", "B"), judgements=judgements, chunk_documents=chunk_documents, spreads=SPREADS, ks=[1]
    )
    first = [np.argmax(model.queries @ model.chunks.T, axis=1) for model in models("A", "B")]
    assert found.similarities[0].jaccard == pytest.approx((first[0] == first[1]).mean())
    assert "jaccard@1" in found.similarities[0].to_json()


def test_the_first_of_several_cutoffs_stands_for_a_pair(
    judgements: Judgements, chunk_documents: list[str]
) -> None:
    a, b = models("A", "B")
    found = evaluate(
        [a, b], judgements=judgements, chunk_documents=chunk_documents, spreads=SPREADS, ks=[5, 20, 1]
    )
    (similarity,) = found.similarities
    assert [overlap.k for overlap in similarity.overlaps] == [5, 20, 1]
    assert similarity.k == 5
    for overlap in similarity.overlaps:
        tops = [top_k(model.queries @ model.chunks.T, overlap.k) for model in (a, b)]
        assert overlap.jaccard.tolist() == jaccard(*tops).tolist()
        assert overlap.rank_similarity == pytest.approx(rank_similarity(*tops))
        assert overlap.rank_biased_overlap == pytest.approx(rank_biased_overlap(*tops))
        assert overlap.kendall_tau == pytest.approx(kendall_tau(*tops), nan_ok=True)


def test_without_judgements_models_are_compared_all_the_same(
    evaluation: Evaluation, judgements: Judgements, chunk_documents: list[str]
) -> None:
    found = compare(
        models("A", "B", "C"), query_ids=judgements.query_ids, chunk_documents=chunk_documents, ks=[10]
    )
    assert found.singles == found.pairs == ()
    assert found.query_ids == judgements.query_ids
    assert [one.to_json() for one in found.similarities] == [one.to_json() for one in evaluation.similarities]


def test_without_queries_vectors_alone_are_compared(
    evaluation: Evaluation, chunk_documents: list[str]
) -> None:
    vectors = models("A", "B", "C", n_queries=0)
    chunks = {model.key: model.chunks for model in models("A", "B", "C")}
    same_chunks = [
        ModelVectors(key=model.key, queries=model.queries, chunks=chunks[model.key]) for model in vectors
    ]
    found = compare(same_chunks, query_ids=[], chunk_documents=chunk_documents, pairs=[("A", "C")])
    (similarity,) = found.similarities
    assert similarity.overlaps == ()
    assert similarity.cka == pytest.approx(evaluation.similarities[1].cka)


@pytest.mark.parametrize(
    ("keys", "query_ids", "ks", "reason"),
    [
        (("A",), ["q"], None, "expected at least two for pairs, got A"),
        (("A", "B"), [], [10], "expected no cutoffs without queries, got 10"),
        (("A", "B"), ["q", "q"], None, "expected each query once, got one twice"),
    ],
)
def test_comparisons_without_sense_are_refused(
    chunk_documents: list[str], keys: tuple[str, ...], query_ids: list[str], ks: list[int], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        compare(
            models(*keys, n_queries=len(query_ids)),
            query_ids=query_ids,
            chunk_documents=chunk_documents,
            ks=ks,
        )


def test_a_model_that_gives_every_chunk_the_same_vector_is_refused_by_name(
    judgements: Judgements, chunk_documents: list[str]
) -> None:
    a, b = models("A", "B")
    broken_b = ModelVectors(key="B", queries=b.queries, chunks=np.repeat(b.chunks[:1], N_CHUNKS, axis=0))
    with pytest.raises(ShapeError, match="chunks of B: expected different vectors, got 90 equal ones"):
        evaluate([a, broken_b], judgements=judgements, chunk_documents=chunk_documents, spreads=SPREADS)
    alone = evaluate([broken_b], judgements=judgements, chunk_documents=chunk_documents, spreads=SPREADS)
    assert len(alone.singles) == 1


def test_judgements_of_other_documents_are_refused(chunk_documents: list[str]) -> None:
    strangers = Judgements(queries={"q": "t"}, qrels={"q": {"x": 1}})
    with pytest.raises(JudgementsError, match=r"got only others: 1 \(x\)"):
        evaluate(models("A", n_queries=1), judgements=strangers, chunk_documents=chunk_documents, spreads={})


def test_a_corpus_without_chunks_is_refused() -> None:
    empty = ModelVectors(
        key="A", queries=np.ones((1, 1), dtype=np.float32), chunks=np.empty((0, 1), dtype=np.float32)
    )
    with pytest.raises(ShapeError, match="chunks of A: expected numbers in 2 dimension"):
        evaluate(
            [empty],
            judgements=Judgements(queries={"q": "t"}, qrels={"q": {"d": 1}}),
            chunk_documents=[],
            spreads={},
        )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"ks": [91]}, "at most 90, the number of chunks that every query may find, got 91"),
        ({"ks": [0]}, "cutoff of at least 1, got 0"),
        ({"ks": []}, "at least one cutoff and each once, got none"),
        ({"ks": [3, 3]}, "each once, got 3, 3"),
        ({"grid": [1.1]}, r"from 0 to 1, got 1\.1"),
        ({"grid": [float("nan")]}, "from 0 to 1, got nan"),
        ({"grid": [0.5, 0.501]}, r"differ in two decimals, got 0\.5, 0\.501"),
        ({"aggregate": 0}, "at least 1, the best chunk of a document, got 0"),
    ],
)
def test_options_out_of_range_are_refused_with_the_reason(
    judgements: Judgements, chunk_documents: list[str], options: dict, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        evaluate(
            models("A", "B"),
            judgements=judgements,
            chunk_documents=chunk_documents,
            spreads=SPREADS,
            **options,
        )


@pytest.mark.parametrize("options", [{"grid": [0.5]}, {"pairs": [("A", "B")]}])
def test_pairs_of_one_model_are_refused(
    judgements: Judgements, chunk_documents: list[str], options: dict
) -> None:
    with pytest.raises(InputError, match="expected at least two for pairs, got A"):
        evaluate(
            models("A"), judgements=judgements, chunk_documents=chunk_documents, spreads=SPREADS, **options
        )


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

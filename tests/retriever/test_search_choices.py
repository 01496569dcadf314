"""What may be asked of a search beyond the deployment: weights, legs, fusion, explanations, context."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from retriever import lexical
from retriever.combine import calibrated_weights
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.deployments import planned
from retriever.errors import InputError, StoreCorruptError
from retriever.records import Chunk, Deployment, Hit
from retriever.search import Searcher, mean_query
from retriever.search.fusion import distribution_scores, fuse, reciprocal_ranks
from retriever.search.wish import Found, Wish
from retriever.store.filters import equals
from retriever.store.protocol import Point
from retriever.testing import FakeModel

QUERIES = ("warm soil and basil", "the ferry at noon", "Interest of a bank account!", "nothing known here")
Models = dict[str, FakeModel]


@pytest.fixture
def models(alpha: FakeModel, beta: FakeModel) -> Models:
    return {"alpha": alpha, "beta": beta}


@pytest.fixture
def serve(corpus: Corpus, models: Models) -> Callable[..., Searcher]:
    """Return what deploys legs of the corpus and serves them."""

    def served(*legs: str, **options: Any) -> Searcher:
        deployment = deploy(corpus, legs, **options)
        keys = deployment.combination.keys
        return Searcher(corpus, deployment, models={key: models[key] for key in keys})

    return served


def cosines(corpus: Corpus, models: Models, query: str) -> dict[str, dict[str, float]]:
    """Return each chunk's cosine under each model, by brute force in float64."""
    stored = corpus.read_vectors(list(models))
    found: dict[str, dict[str, float]] = {}
    for key, model in models.items():
        row = model.embed_queries([query])[0].astype(np.float64)
        scores = stored.by_model[key].astype(np.float64) @ row
        found[key] = dict(zip(stored.chunk_ids, scores.tolist(), strict=True))
    return found


def bm25(chunks: tuple[Chunk, ...], query: str, corpus: Corpus) -> dict[str, float]:
    """Return each chunk's BM25 score from the formula, over the tokens of the encoder."""
    spec = corpus.manifest.lexical
    assert spec is not None
    rows = {
        chunk.chunk_id: vector
        for chunk, vector in zip(chunks, lexical.encode_chunks([c.text for c in chunks], spec), strict=True)
    }
    tokens = lexical.encode_query(query, spec)
    total = len(chunks)
    scores = dict.fromkeys(rows, 0.0)
    for token in tokens.indices:
        holders = {
            name: float(v.values[v.indices == token][0]) for name, v in rows.items() if token in v.indices
        }
        idf = math.log(1 + (total - len(holders) + 0.5) / (len(holders) + 0.5))
        for name, value in holders.items():
            scores[name] += idf * value
    return scores


def order(hits: list[Hit]) -> list[str]:
    return [hit.chunk.chunk_id for hit in hits]


def best(scores: dict[str, float], k: int) -> list[str]:
    return sorted(scores, key=lambda name: (-scores[name], name))[:k]


# ── weights ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("weights", ["equal", "calibrated", {"acme/beta": 0.9, "alpha": 0.1}])
def test_weights_of_a_query_are_what_counts_and_nothing_stored_changes(
    corpus: Corpus, serve: Callable[..., Searcher], models: Models, weights: Any
) -> None:
    searcher = serve("alpha", "beta", weighting={"alpha": 0.3, "beta": 0.7})
    given = {
        "equal": {"alpha": 0.5, "beta": 0.5},
        "calibrated": calibrated_weights(["alpha", "beta"], corpus.manifest.spreads),
    }
    shares = given[weights] if isinstance(weights, str) else {"alpha": 0.1, "beta": 0.9}
    for query in QUERIES:
        under = cosines(corpus, models, query)
        scores = {name: sum(shares[key] * under[key][name] for key in shares) for name in under["alpha"]}
        (hits,) = searcher.search([query], k=7, weights=weights)
        assert order(hits) == best(scores, 7)
        for hit in hits:
            assert hit.score == pytest.approx(scores[hit.chunk.chunk_id], abs=1e-6)
            assert math.fsum(hit.contributions.values()) == pytest.approx(hit.score, abs=1e-9)


def test_all_the_weight_on_one_model_finds_what_that_model_alone_finds(
    corpus: Corpus, serve: Callable[..., Searcher], models: Models
) -> None:
    both = serve("alpha", "beta")
    alone = Searcher(corpus, planned(corpus, ["beta"]), models={"beta": models["beta"]})
    for query in QUERIES:
        (some,) = both.search([query], k=9, weights={"beta": 1.0, "alpha": 0.0})
        (other,) = alone.search([query], k=9)
        assert order(some) == order(other)
        assert [hit.score for hit in some] == pytest.approx([hit.score for hit in other], abs=1e-6)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"alpha": 1.0}, "one for each of alpha, beta"),
        ({"alpha": 0.9, "beta": 0.2}, "sum to 1"),
        ({"alpha": -1, "beta": 2}, "at least 0"),
        ("tuned", "expected 'calibrated', 'equal' or numbers, got 'tuned'"),
    ],
)
def test_weights_that_are_none_are_refused(serve: Callable[..., Searcher], weights: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        serve("alpha", "beta").search(["basil"], k=1, weights=weights)


def test_three_models_are_served_as_two_are(
    corpus: Corpus, chunks: tuple[Chunk, ...], models: Models, gamma: FakeModel
) -> None:
    corpus.add_models([gamma.spec])
    rows = gamma.embed_chunks([chunk.text for chunk in chunks])
    corpus.write_vectors("gamma", [chunk.chunk_id for chunk in chunks], rows)
    three = {**models, "gamma": gamma}
    searcher = Searcher(corpus, deploy(corpus, ["gamma", "alpha", "beta"], weighting="equal"), models=three)
    under = cosines(corpus, three, QUERIES[0])
    scores = {name: sum(under[key][name] for key in three) / 3 for name in under["alpha"]}
    (hits,) = searcher.search([QUERIES[0]], k=40)
    assert order(hits) == best(scores, 40)
    assert set(hits[0].contributions) == set(three)


# ── storage and dimensions ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("storage", ["float16", "int8", "binary"])
def test_scores_are_exact_however_the_combination_is_stored(
    corpus: Corpus, serve: Callable[..., Searcher], storage: str
) -> None:
    exact = serve("alpha", "beta")
    spared = serve("alpha", "beta", storage=storage)
    assert spared.deployment.vector == f"alpha+beta~{storage}"
    for query in QUERIES:
        (expected,) = exact.search([query], k=40)
        (hits,) = spared.search([query], k=40)  # as many candidates as there are chunks
        assert order(hits) == order(expected)
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-9)
        assert not any(hit.approximate for hit in hits)
    loss = spared.deployment.evidence["loss"]
    assert loss["kept"] == 1.0
    assert loss["bytes_per_chunk"] < loss["bytes_whole"] == 40 * 4
    assert corpus.served == spared.deployment


def test_half_precision_is_proven_and_fewer_bits_are_called_approximate(
    make_corpus: Callable[..., Corpus], any_store: Any, alpha: FakeModel
) -> None:
    many = tuple(_numbered(i) for i in range(300))
    with make_corpus(any_store, "many", [alpha], chunks=many) as corpus:
        exact = Searcher(corpus, planned(corpus, ["alpha"]), models={"alpha": alpha})
        (expected,) = exact.search(["River 7 meets 11 and 13"], k=5)
        half = Searcher(corpus, deploy(corpus, ["alpha"], storage="float16"), models={"alpha": alpha})
        (hits,) = half.search(["River 7 meets 11 and 13"], k=5)
        assert order(hits) == order(expected)
        assert not any(hit.approximate for hit in hits)
        bits = Searcher(corpus, deploy(corpus, ["alpha"], storage="binary"), models={"alpha": alpha})
        (hits,) = bits.search(["River 7 meets 11 and 13"], k=5)
        assert all(hit.approximate for hit in hits)


def test_what_words_find_is_approximate_beside_models_in_fewer_bits(
    make_corpus: Callable[..., Corpus], any_store: Any, alpha: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retriever.search.lexical_leg._FEWEST", 10)  # so that few chunks are many
    weights = {"alpha": 0.01, "bm25": 0.99}
    many = [_numbered(i) for i in range(100)]
    with make_corpus(any_store, "many", [alpha], chunks=many) as corpus:
        rows = alpha.embed_chunks([chunk.text for chunk in reversed(many)])  # a model that finds others
        corpus.write_vectors("alpha", [chunk.chunk_id for chunk in many], rows)
        for storage, is_approximate in (("float16", False), ("int8", True)):
            deployment = deploy(corpus, list(weights), storage=storage, weighting=weights)
            (hits,) = Searcher(corpus, deployment, models={"alpha": alpha}).search(["River 7"], k=2)
            assert [hit.approximate for hit in hits] == [is_approximate] * 2


def _numbered(i: int) -> Chunk:
    import uuid

    text = f"River {i} meets {i * 7 % 31} and {i * 11 % 37}."
    return Chunk(
        chunk_id=str(uuid.uuid5(uuid.NAMESPACE_OID, text)),
        doc_id=f"d{i}",
        index=0,
        text=text,
        start_char=0,
        end_char=len(text),
        token_count=8,
    )


def test_the_first_dimensions_of_a_model_score_as_its_cut_vectors_do(
    corpus: Corpus, serve: Callable[..., Searcher], models: Models
) -> None:
    searcher = serve("alpha@8", "beta", weighting={"alpha@8": 0.4, "beta": 0.6})
    assert searcher.deployment.vector == "alpha@8+beta"
    stored = corpus.read_vectors(["alpha", "beta"])
    query = models["alpha"].embed_queries([QUERIES[0]])[0].astype(np.float64)[:8]
    rows = stored.by_model["alpha"].astype(np.float64)[:, :8]
    cut = rows @ query / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))
    other = stored.by_model["beta"].astype(np.float64) @ models["beta"].embed_queries([QUERIES[0]])[0]
    scores = dict(zip(stored.chunk_ids, (0.4 * cut + 0.6 * other).tolist(), strict=True))
    (hits,) = searcher.search([QUERIES[0]], k=9)
    assert order(hits) == best(scores, 9)
    assert hits[0].score == pytest.approx(scores[hits[0].chunk.chunk_id], abs=1e-6)
    assert corpus.manifest.spreads.keys() == {"alpha", "beta", "alpha@8"}
    assert 0 < searcher.deployment.evidence["loss"]["kept"] <= 1


def test_a_vector_that_something_else_has_changed_is_told(
    corpus: Corpus, serve: Callable[..., Searcher], chunks: tuple[Chunk, ...]
) -> None:
    searcher = serve("alpha", "beta")
    row = np.zeros(40, dtype=np.float32)
    row[3] = 1.0
    corpus._collection.update_vectors([Point(point_id=chunks[0].chunk_id, vectors={"alpha+beta": row})])
    with pytest.raises(StoreCorruptError, match=r"alpha\+beta of chunk .* made of alpha, beta beside it"):
        searcher.search(QUERIES, k=40)


# ── BM25 ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("k", [1, 5, 40])
def test_models_and_words_together_are_exact(
    corpus: Corpus,
    serve: Callable[..., Searcher],
    models: Models,
    chunks: tuple[Chunk, ...],
    monkeypatch: pytest.MonkeyPatch,
    k: int,
) -> None:
    monkeypatch.setattr("retriever.search.lexical_leg._FEWEST", 2)  # so that the rankings have to grow
    monkeypatch.setattr("retriever.search.lexical_leg._STEP", 2)
    shares = {"alpha": 0.25, "beta": 0.35, "bm25": 0.4}
    searcher = serve("alpha", "bm25", "beta", weighting=shares)
    assert searcher.deployment.name == "alpha+beta+bm25"
    scale = corpus.manifest.lexical_scale
    for query in QUERIES:
        under = cosines(corpus, models, query)
        words = bm25(chunks, query, corpus)
        scores = {
            name: 0.25 * under["alpha"][name] + 0.35 * under["beta"][name] + 0.4 * words[name] / scale
            for name in words
        }
        (hits,) = searcher.search([query], k=k)
        assert [scores[name] for name in order(hits)] == pytest.approx(
            sorted(scores.values(), reverse=True)[:k], abs=1e-5
        )
        for hit in hits:
            assert hit.score == pytest.approx(scores[hit.chunk.chunk_id], abs=1e-5)
            assert hit.contributions["bm25"] == pytest.approx(
                0.4 * words[hit.chunk.chunk_id] / scale, abs=1e-5
            )
            assert math.fsum(hit.contributions.values()) == pytest.approx(hit.score, abs=1e-9)
            assert not hit.approximate
        (german,) = searcher.search([query], k=k, where=equals("lang", "de"))
        assert {hit.chunk.metadata["lang"] for hit in german} == {"de"}
        among = {c.chunk_id: scores[c.chunk_id] for c in chunks if c.metadata["lang"] == "de"}
        assert german[0].score == pytest.approx(max(among.values()), abs=1e-5)


def test_calibrated_weights_of_words_make_its_best_hits_stand_out_as_those_of_models_do(
    corpus: Corpus, serve: Callable[..., Searcher]
) -> None:
    deployment = serve("alpha", "beta", "bm25").deployment
    assert deployment.weighting == "calibrated"
    assert math.fsum(deployment.shares.values()) == pytest.approx(1)
    assert set(deployment.shares) == {"alpha", "beta", "bm25"}
    assert all(share > 0.05 for share in deployment.shares.values())
    assert corpus.manifest.lexical_scale > 0


def test_words_alone_are_no_deployment(corpus: Corpus) -> None:
    with pytest.raises(InputError, match="at least one model beside bm25"):
        deploy(corpus, ["bm25"])
    assert corpus.manifest.lexical is None


def test_a_query_without_words_is_answered_by_the_models(serve: Callable[..., Searcher]) -> None:
    searcher = serve("alpha", "bm25", weighting={"alpha": 0.5, "bm25": 0.5})
    (hits,) = searcher.search(["the of and"], k=3)
    assert [hit.contributions["bm25"] for hit in hits] == [0.0, 0.0, 0.0]


# ── fusion ───────────────────────────────────────────────────────────────────────────────────────────────


def test_reciprocal_ranks_are_those_of_the_paper() -> None:
    # Cormack, Clarke and Büttcher 2009: Σ 1 / (60 + rank).
    assert reciprocal_ranks([9.0, 3.0, 3.0]) == [1 / 61, 1 / 62, 1 / 63]


def test_distribution_scores_are_placed_between_three_spreads_of_the_mean() -> None:
    # Mean 2, standard deviation 1 (n - 1): 2 is in the middle, 5 would be 1 and -1 would be 0.
    assert distribution_scores([3.0, 2.0, 1.0]) == pytest.approx([0.5 + 1 / 6, 0.5, 0.5 - 1 / 6])
    assert distribution_scores([4.0, 4.0]) == [0.5, 0.5]
    assert distribution_scores([4.0]) == [0.5]
    assert distribution_scores([]) == []


def test_fusing_two_rankings_by_hand() -> None:
    def found(name: str, score: float) -> Found:
        return Found(point_id=name, score=score, payload={}, contributions={})

    rankings = {"a": [found("x", 0.9), found("y", 0.8)], "b": [found("y", 0.3), found("z", 0.2)]}
    fused = fuse(rankings, "rrf", k=2)
    assert [one.point_id for one in fused] == ["y", "x"]
    assert fused[0].contributions == {"a": 1 / 62, "b": 1 / 61}
    assert fused[1].contributions == {"a": 1 / 61, "b": 0.0}
    assert fused[0].score == pytest.approx(1 / 61 + 1 / 62)


@pytest.mark.parametrize("fusion", ["rrf", "dbsf"])
def test_fused_rankings_are_those_of_the_legs_and_say_that_they_are_approximate(
    corpus: Corpus, serve: Callable[..., Searcher], models: Models, chunks: tuple[Chunk, ...], fusion: Any
) -> None:
    searcher = serve("alpha", "beta", "bm25")
    worth = {"rrf": reciprocal_ranks, "dbsf": distribution_scores}[fusion]
    for query in QUERIES[:3]:
        legs: dict[str, dict[str, float]] = cosines(corpus, models, query)
        legs["bm25"] = {name: score for name, score in bm25(chunks, query, corpus).items() if score > 0}
        expected = dict.fromkeys(legs["alpha"], 0.0)
        for scores in legs.values():
            names = best(scores, 100)
            for name, value in zip(names, worth([scores[name] for name in names]), strict=True):
                expected[name] += value
        (hits,) = searcher.search([query], k=8, fusion=fusion)
        assert [hit.score for hit in hits] == pytest.approx(
            sorted(expected.values(), reverse=True)[:8], abs=1e-4
        )
        assert all(hit.approximate for hit in hits)
        assert set(hits[0].contributions) == {"alpha", "beta", "bm25"}


@pytest.mark.parametrize("fusion", ["rrf", "dbsf"])
def test_weights_beside_a_fusion_that_has_none_are_refused(
    serve: Callable[..., Searcher], fusion: Any
) -> None:
    with pytest.raises(InputError, match=f"weights: expected none beside fusion '{fusion}'"):
        serve("alpha", "beta").search(["basil"], k=1, fusion=fusion, weights="equal")


def test_an_unknown_fusion_is_refused(serve: Callable[..., Searcher]) -> None:
    with pytest.raises(InputError, match="expected one of sum, rrf, dbsf, got 'max'"):
        serve("alpha").search(["basil"], k=1, fusion="max")  # type: ignore[arg-type]


# ── explanations and context ─────────────────────────────────────────────────────────────────────────────


def test_a_rank_is_that_of_the_leg_alone(
    corpus: Corpus, serve: Callable[..., Searcher], models: Models, chunks: tuple[Chunk, ...]
) -> None:
    searcher = serve("alpha", "beta", "bm25")
    query = QUERIES[0]
    legs: dict[str, dict[str, float]] = {
        **cosines(corpus, models, query),
        "bm25": bm25(chunks, query, corpus),
    }
    (plain,) = searcher.search([query], k=40)
    assert plain[0].ranks == {}
    (hits,) = searcher.search([query], k=40, explain=True)
    assert order(hits) == order(plain)
    for hit in hits:
        for leg, scores in legs.items():
            own = scores[hit.chunk.chunk_id]
            assert hit.ranks[leg] == 1 + sum(score > own + 1e-5 for score in scores.values()), leg
    german = {chunk.chunk_id for chunk in chunks if chunk.metadata["lang"] == "de"}
    (some,) = searcher.search([query], k=3, explain=True, where=equals("lang", "de"))
    among = sorted((legs["alpha"][name] for name in german), reverse=True)
    assert some[0].ranks["alpha"] == 1 + sum(
        score > legs["alpha"][some[0].chunk.chunk_id] + 1e-6 for score in among
    )


def test_ranks_of_a_cut_model_are_told_too(serve: Callable[..., Searcher]) -> None:
    (hits,) = serve("alpha@8", "beta").search([QUERIES[0]], k=40, explain=True)
    assert sorted(hit.ranks["alpha@8"] for hit in hits) == list(range(1, 41))


@pytest.mark.parametrize("storage", ["float32", "float16", "int8", "binary"])
def test_ranks_of_a_cut_model_are_exact_however_it_is_searched(
    corpus: Corpus, serve: Callable[..., Searcher], models: Models, chunks: tuple[Chunk, ...], storage: str
) -> None:
    searcher = serve("alpha@8", "beta", storage=storage, weighting="equal")
    stored = corpus.read_vectors(["alpha"])
    rows = stored.by_model["alpha"].astype(np.float64)[:, :8]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    german = {chunk.chunk_id for chunk in chunks if chunk.metadata["lang"] == "de"}
    for query in QUERIES:
        row = models["alpha"].embed_queries([query])[0].astype(np.float64)[:8]
        scores = dict(zip(stored.chunk_ids, rows @ row / np.linalg.norm(row), strict=True))
        for where, among in ((None, set(scores)), (equals("lang", "de"), german)):
            (hits,) = searcher.search([query], k=10, explain=True, where=where)
            for hit in hits:
                own = scores[hit.chunk.chunk_id]
                assert hit.ranks["alpha@8"] == 1 + sum(scores[name] > own + 1e-6 for name in among)


def test_a_hit_that_is_deleted_before_it_is_explained_is_left_out(
    corpus: Corpus, serve: Callable[..., Searcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher = serve("alpha", "beta", "bm25")
    (expected,) = searcher.search([QUERIES[0]], k=4)
    points = corpus.points

    def late(chunk_ids: Sequence[str], **options: Any) -> dict[str, Point]:
        corpus.delete_chunks(chunk_ids[1:2])  # an ingest beside it
        return points(chunk_ids, **options)

    monkeypatch.setattr(corpus, "points", late)
    (hits,) = searcher.search([QUERIES[0]], k=4, explain=True)
    assert order(hits) == [order(expected)[place] for place in (0, 2, 3)]
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert all(set(hit.ranks) == {"alpha", "beta", "bm25"} for hit in hits)


def test_chunks_that_are_deleted_while_a_loss_is_measured_do_not_count(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = corpus.points

    def late(chunk_ids: Sequence[str], **options: Any) -> dict[str, Point]:
        monkeypatch.setattr(corpus, "points", points)
        corpus.delete_chunks(chunk_ids[:1])
        return points(chunk_ids, **options)

    monkeypatch.setattr(corpus, "points", late)
    assert 0 < deploy(corpus, ["alpha", "beta"], storage="int8").evidence["loss"]["kept"] <= 1


@pytest.mark.parametrize("k", [1, 3, 12, 20])
def test_per_document_the_best_chunk_of_the_best_documents_is_found(
    serve: Callable[..., Searcher], k: int
) -> None:
    searcher = serve("alpha", "beta")
    (every,) = searcher.search([QUERIES[0]], k=40)
    expected: dict[str, Hit] = {}
    for hit in every:
        expected.setdefault(hit.chunk.doc_id, hit)
    (hits,) = searcher.search([QUERIES[0]], k=k, per_document=True)
    assert order(hits) == order(list(expected.values())[:k])
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


@pytest.mark.parametrize("reach", [1, 2, 9])
def test_neighbours_are_the_chunks_before_and_after_in_the_document(
    serve: Callable[..., Searcher], chunks: tuple[Chunk, ...], reach: int
) -> None:
    by_place = {(chunk.doc_id, chunk.index): chunk for chunk in chunks}
    (hits,) = serve("alpha").search([QUERIES[0]], k=40, neighbours=reach, where=equals("lang", "en"))
    for hit in hits:
        place = hit.chunk.index
        before = [by_place.get((hit.chunk.doc_id, i)) for i in range(place - reach, place)]
        after = [by_place.get((hit.chunk.doc_id, i)) for i in range(place + 1, place + reach + 1)]
        assert list(hit.before) == [chunk for chunk in before if chunk]
        assert list(hit.after) == [chunk for chunk in after if chunk]


def test_negative_neighbours_are_refused(serve: Callable[..., Searcher]) -> None:
    with pytest.raises(InputError, match="neighbours: expected 0 or more, got -1"):
        serve("alpha").search(["basil"], k=1, neighbours=-1)


# ── texts that stand for one query ───────────────────────────────────────────────────────────────────────


def test_the_mean_of_queries_scores_with_the_mean_of_scores(serve: Callable[..., Searcher]) -> None:
    searcher = serve("alpha@8", "beta", "bm25")
    queries = searcher.embed(QUERIES[:3])
    wish = Wish(k=40)
    (mean,) = searcher.find([mean_query(queries)], wish)
    single = searcher.find(queries, wish)
    sums: dict[str, float] = {}
    for found in itertools.chain.from_iterable(single):
        sums[found.point_id] = sums.get(found.point_id, 0.0) + found.score / 3
    assert {one.point_id: one.score for one in mean} == pytest.approx(sums, abs=1e-5)
    with pytest.raises(InputError, match="got an empty one"):
        mean_query([])


def test_a_planned_deployment_is_that_which_would_be_recorded(corpus: Corpus) -> None:
    plan = planned(corpus, ["beta", "alpha"], weighting="equal")
    assert corpus.served is None
    done: Deployment = deploy(corpus, ["beta", "alpha"], weighting="equal")
    assert (plan.models, plan.weights, plan.name) == (done.models, done.weights, "alpha+beta")

"""The scores of legs are those that the retriever gives, and rankings of options those that it serves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from analysis.judgements import read_queries
from analysis.rankings import NO_DOCUMENT
from analysis.selection.record import Option
from analysis.selection.scoring.candidates import enumerate_options, fused, weighted
from analysis.selection.scoring.legs import CorpusLegs, DenseLeg, chunk_legs, corpus_legs
from analysis.selection.scoring.scoreboard import rank
from ingest import ChunkSettings, ingest, open_source
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.deployments import planned
from retriever.errors import InputError, ModelMismatchError, ShapeError
from retriever.lexical import measured
from retriever.models import load_model
from retriever.models.protocol import EmbeddingModel
from retriever.records import LEXICAL, Document
from retriever.search import Searcher
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import VectorStore
from retriever.testing import FakeModel

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
MODELS: dict[str, EmbeddingModel] = {
    name: FakeModel(f"acme/{name}", dimensions=size) for name, size in (("a", 24), ("b", 16), ("c", 12))
}
KEYS = tuple(MODELS)
WORDS = [f"word{i}" for i in range(120)]
N_DOCUMENTS, N_QUERIES = 60, 12
CLOSE = 2e-6
"""The store adds up in float32, in another order."""


def text(rng: np.random.Generator, words: int) -> str:
    return " ".join(str(word) for word in rng.choice(WORDS, size=words))


def documents() -> list[Document]:
    """Of one to eight chunks each."""
    rng = np.random.default_rng(12)
    return [Document(doc_id=f"d{i}", text=text(rng, int(rng.integers(5, 60)))) for i in range(N_DOCUMENTS)]


def asked() -> list[str]:
    rng = np.random.default_rng(11)
    return [*(text(rng, 5) for _ in range(N_QUERIES - 2)), "nothing of that", "word1 word1 word2"]


def filled(store: VectorStore, *, keys: tuple[str, ...] = KEYS) -> None:
    models = [MODELS[key] for key in keys]
    ingest(documents(), store, "c", models=models, chunks=ChunkSettings(max_tokens=12))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    """Everything deployed with BM25: all pairs, all three."""
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    filled(store)
    with Corpus.open(store, "c") as corpus:
        for keys in (*combinations(KEYS, 2), KEYS):
            deploy(corpus, [*keys, LEXICAL])
        yield corpus


@pytest.fixture(scope="module")
def legs(corpus: Corpus) -> Iterator[CorpusLegs]:
    with corpus_legs(corpus, KEYS, asked(), with_lexical=True, models=MODELS) as found:
        yield found


def served(corpus: Corpus, option: Option, models: dict[str, EmbeddingModel]) -> Searcher:
    deployment = planned(corpus, option.legs, weighting=dict(option.weights))
    return Searcher(corpus, deployment, models={key: models[key] for key in option.models})


def columns(corpus: Corpus) -> dict[str, int]:
    ids = [point.point_id for points in corpus.complete_blocks([]) for point in points]
    return {point_id: column for column, point_id in enumerate(ids)}


def test_the_scores_of_a_leg_are_the_contributions_of_a_search_at_weight_one(
    corpus: Corpus, legs: CorpusLegs
) -> None:
    column = columns(corpus)
    assert legs.keys == (*KEYS, LEXICAL)
    for leg in legs.legs:
        other = "a" if leg.key != "a" else "b"
        option = Option(weights={leg.key: 1.0, other: 0.0})
        rankings = served(corpus, option, MODELS).search(asked(), k=40)
        scores = leg.scores(slice(None))
        assert scores.dtype == np.float32
        assert scores.shape == (N_QUERIES, len(column))
        for row, hits in enumerate(rankings):
            for hit in hits:
                expected = hit.contributions[leg.key]
                assert scores[row, column[hit.chunk.chunk_id]] == pytest.approx(expected, abs=CLOSE)
        assert np.allclose(leg.scores(slice(3, 99)), scores[3:], atol=CLOSE)
        assert leg.scores(slice(99, 200)).shape == (0, len(column))


def test_every_option_ranks_documents_as_the_retriever_serves_them(corpus: Corpus, legs: CorpusLegs) -> None:
    options = [
        *enumerate_options(KEYS, legs.spreads, lexical=True),
        weighted(KEYS, "calibrated", legs.spreads),
        weighted((*KEYS, LEXICAL), "calibrated", legs.spreads),
        Option(weights=dict.fromkeys((*KEYS, LEXICAL), 0.25), fusion="rrf"),
        Option(weights=dict.fromkeys(("a", "b", LEXICAL), 1 / 3), fusion="dbsf"),
    ]
    found = rank(legs.legs, options, legs.documents, k=5)
    for option, tops in zip(options, found, strict=True):
        if not option.models:
            continue
        rankings = served(corpus, option, MODELS).search(
            asked(), k=5, per_document=True, fusion=option.fusion
        )
        for query, (top, hits) in enumerate(zip(tops, rankings, strict=True)):
            ids = [legs.documents.ids[column] for column in top if column != NO_DOCUMENT]
            assert ids == [hit.chunk.doc_id for hit in hits], (option.label, query)


def test_spreads_and_scale_are_those_that_deploying_would_measure(
    any_store: VectorStore, corpus: Corpus, legs: CorpusLegs
) -> None:
    filled(any_store)
    with Corpus.open(any_store, "c") as fresh:
        before = fresh.manifest
        with corpus_legs(fresh, KEYS, asked(), with_lexical=True, models=MODELS) as found:
            assert fresh.manifest == before
            assert before.lexical is None
            assert found.spreads == pytest.approx(legs.spreads, rel=1e-6)
            for mine, stored in zip(found.legs, legs.legs, strict=True):
                assert np.abs(mine.scores(slice(None)) - stored.scores(slice(None))).max() < CLOSE
        deploy(fresh, ["a", LEXICAL])
        assert fresh.manifest.spreads == pytest.approx(found.spreads, rel=1e-6)
    assert set(corpus.manifest.spreads) == {*KEYS, LEXICAL}


def test_parts_of_models_that_are_deployed_count_for_the_spread_of_bm25(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    filled(store)
    with Corpus.open(store, "c") as corpus:
        deploy(corpus, ["a@8", "b"])
        with corpus_legs(corpus, KEYS, asked(), with_lexical=True, models=MODELS) as found:
            deploy(corpus, ["a", LEXICAL])
            assert corpus.manifest.spreads[LEXICAL] == pytest.approx(found.spreads[LEXICAL], rel=1e-6)


def test_vectors_that_are_stored_without_a_scale_are_read_and_measured(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    filled(store)
    with Corpus.open(store, "c") as corpus:
        corpus.add_lexical(measured(corpus.texts(), b=0.3))
        with corpus_legs(corpus, ("a",), asked(), with_lexical=True, models={"a": MODELS["a"]}) as found:
            scores = found.legs[-1].scores(slice(None))
            corpus.measure_spreads()
            assert found.spreads[LEXICAL] == pytest.approx(corpus.manifest.spreads[LEXICAL])
        with corpus_legs(corpus, ("a",), asked(), with_lexical=True, models={"a": MODELS["a"]}) as again:
            assert np.abs(again.legs[-1].scores(slice(None)) - scores).max() < CLOSE


def test_real_models_and_bm25_rank_as_they_are_served(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    models = {model.spec.key: model for model in (load_model("minilm"), load_model("wordllama"))}
    ingest(open_source(EXAMPLES / "handbook"), store, "handbook", models=list(models.values()))
    queries = list(read_queries(EXAMPLES / "handbook-queries.jsonl").values())[:8]
    with Corpus.open(store, "handbook") as corpus:
        keys = corpus.manifest.keys
        deploy(corpus, [*keys, LEXICAL])
        with corpus_legs(corpus, keys, queries, with_lexical=True, models=models) as found:
            options = [
                *(weighted(keys, how, found.spreads) for how in ("equal", "calibrated")),
                weighted((*keys, LEXICAL), "calibrated", found.spreads),
                *fused(keys),
            ]
            tops = rank(found.legs, options, found.documents, k=5)
            for option, of_option in zip(options, tops, strict=True):
                rankings = served(corpus, option, models).search(
                    queries, k=5, per_document=True, fusion=option.fusion
                )
                assert [[found.documents.ids[column] for column in top] for top in of_option] == [
                    [hit.chunk.doc_id for hit in hits] for hits in rankings
                ], option.label


def test_halved_vectors_score_like_whole_ones() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(9000, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    halved = rows.astype(np.float16)
    leg = DenseLeg(key="a", queries=rows[:3], chunks=halved)
    assert np.allclose(leg.scores(slice(1, 3)), rows[1:3] @ halved.astype(np.float32).T, atol=1e-6)


def test_what_gives_no_legs_is_refused(tmp_path: Path) -> None:
    rows = np.ones((2, 4), dtype=np.float32) / 2
    with pytest.raises(ShapeError, match=r"leg a: expected rows .* got shapes \(2, 4\) and \(2, 3\)"):
        DenseLeg(key="a", queries=rows, chunks=rows[:, :3])
    store = EmbeddedStore(tmp_path)
    filled(store)

    def enter(corpus: Corpus, keys: tuple[str, ...], queries: list[str], **models: EmbeddingModel) -> None:
        with corpus_legs(corpus, keys, queries, with_lexical=False, models=models or None):
            pass

    with Corpus.open(store, "c") as corpus:
        with pytest.raises(InputError, match="queries: expected at least one, got none"):
            enter(corpus, ("a",), [])
        with pytest.raises(InputError, match="got 'd'"):
            enter(corpus, ("a", "d"), asked())
        with pytest.raises(ModelMismatchError, match="other/a"):
            enter(corpus, ("a",), asked(), a=FakeModel("other/a", dimensions=24))


def test_files_of_vectors_are_removed(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with corpus_legs(corpus, ("b", "a"), asked(), with_lexical=False, models=MODELS) as found:
        assert found.keys == ("a", "b")
        assert set(found.spreads) == {"a", "b"}
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_chunks_in_the_place_of_queries_are_their_stored_vectors_and_must_not_find_themselves(
    corpus: Corpus,
) -> None:
    keys = corpus.manifest.keys
    rng = np.random.default_rng(3)
    with chunk_legs(corpus, keys, n=5, rng=rng, with_lexical=True) as (legs, own):
        assert [leg.key for leg in legs.legs] == [*keys, LEXICAL]
        for leg in legs.legs[:-1]:
            assert isinstance(leg, DenseLeg)
            scores = leg.scores(slice(None))
            nearest = scores.argmax(axis=1)
            assert np.allclose(scores.max(axis=1), 1, atol=1e-5)  # each finds itself, or its double
            assert [legs.chunk_documents[row] for row in nearest] == [legs.documents.ids[i] for i in own]
        lexical_scores = legs.legs[-1].scores(slice(None))
        assert [legs.chunk_documents[row] for row in lexical_scores.argmax(axis=1)] == [
            legs.documents.ids[i] for i in own
        ]
    with chunk_legs(corpus, keys, n=10**6, rng=rng, with_lexical=False) as (legs, own):
        assert len(own) == len(legs.chunk_documents)

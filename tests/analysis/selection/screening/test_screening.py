"""A screening keeps the best models, embeds no text twice, and says how sure it is."""

from __future__ import annotations

import gc
import json
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from analysis.selection.screening.record import Screening, ScreeningProgress
from analysis.selection.screening.run import screen
from analysis.selection.screening.table import screening_table
from analysis.stored import compare_corpus
from ingest import ChunkSettings, ingest, open_source
from retriever.corpus import Corpus
from retriever.errors import EmbeddingError, InputError, ModelError, ModelNotFoundError
from retriever.models import load_model
from retriever.models.protocol import FloatArray
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
STORED = FakeModel("acme/stored", dimensions=24)
GOOD = tuple(FakeModel(f"acme/good{i}", dimensions=48) for i in range(3))
POOR = FakeModel("acme/poor", dimensions=3)
"""Three dimensions tell few words apart."""

QUERIES = [f"word{i} word{i + 7} word{3 * i}" for i in range(60)]


class Counted(FakeModel):
    """Counts what it embeds."""

    def __init__(self, name: str, *, dimensions: int = 48, max_tokens: int | None = 512) -> None:
        super().__init__(name, dimensions=dimensions, max_tokens=max_tokens)
        self.queries: Counter[str] = Counter()
        self.chunks: Counter[str] = Counter()

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        self.queries.update(texts)
        return super().embed_queries(texts)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        self.chunks.update(texts)
        return super().embed_chunks(texts)


class Failing(Counted):
    """Embeds so many chunks, and fails on the next."""

    def __init__(self, name: str, *, after: int) -> None:
        super().__init__(name)
        self._after = after

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        if self.chunks.total() + len(texts) > self._after:
            raise EmbeddingError(f"model {self.spec.name!r}: out of memory")
        return super().embed_chunks(texts)


class Constant(FakeModel):
    """Gives every chunk one vector."""

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        return super().embed_chunks(["the same"] * len(texts))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    """Return a corpus of about 300 chunks, embedded with one model."""
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    ingest(documents(), store, "c", models=[STORED], chunks=ChunkSettings(max_tokens=12))
    with Corpus.open(store, "c") as opened:
        yield opened


def documents() -> list[Document]:
    rng = np.random.default_rng(5)
    return [
        Document(doc_id=f"d{i}", text=" ".join(f"word{word}" for word in rng.integers(120, size=40)))
        for i in range(70)
    ]


def screened(
    corpus: Corpus,
    models: Sequence[FakeModel | str],
    queries: Sequence[str] | None = QUERIES,
    *,
    seed: int = 1,
    **options: object,
) -> Screening:
    chosen = {"smallest": 64, "largest": 128, **options}
    return screen(corpus, models, queries, rng=np.random.default_rng(seed), **chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize("queries", [QUERIES, None], ids=["queries", "chunks that ask"])
def test_good_models_are_kept_and_a_poor_one_is_not(corpus: Corpus, queries: list[str] | None) -> None:
    found = screened(corpus, [STORED, POOR, *GOOD], queries)
    assert found.kept == found.last.order[:3]
    assert found.to_embed == tuple(key for key in found.kept if key != "stored")
    assert found.last.order[-1] == "poor"
    assert found.risk <= 0.05
    assert found.is_stable


def test_a_sample_of_the_whole_corpus_says_what_the_corpus_says(corpus: Corpus, tmp_path: Path) -> None:
    models = [STORED, *GOOD, POOR]
    found = screened(corpus, models, smallest=2048, largest=2048, keep=2)
    assert found.last.chunks == corpus.count_chunks()
    assert found.last.queries == len(QUERIES)
    assert found.stored == ("stored",)
    assert found.embedded == dict.fromkeys(("good0", "good1", "good2", "poor"), corpus.count_chunks())
    store = EmbeddedStore(tmp_path)
    ingest(documents(), store, "c", models=models, chunks=ChunkSettings(max_tokens=12))
    with Corpus.open(store, "c") as whole:
        compared = compare_corpus(
            whole,
            queries={f"q{place}": query for place, query in enumerate(QUERIES)},
            models={model.spec.key: model for model in models},
        )
    expected = {one.models: one for one in compared.similarities}
    for similarity in found.similarities:
        whole_similarity = expected[similarity.models]
        assert similarity.jaccard == pytest.approx(whole_similarity.jaccard)
        assert similarity.cka_debiased == pytest.approx(whole_similarity.cka_debiased, abs=1e-6)


def test_no_text_is_embedded_twice_and_stored_vectors_are_reused(corpus: Corpus) -> None:
    stored, fresh = Counted("acme/stored", dimensions=24), Counted("acme/fresh")
    found = screened(corpus, [stored, fresh, *GOOD, POOR], keep=2, risk=1e-6)
    assert [one.chunks for one in found.rounds] == [64, 128]
    assert not stored.chunks
    assert fresh.chunks.total() == found.embedded["fresh"] == 128
    assert set(fresh.queries.values()) == set(stored.queries.values()) == {1}
    assert fresh.queries.keys() <= stored.queries.keys() <= set(QUERIES)


def test_a_seed_repeats_a_screening(corpus: Corpus) -> None:
    def told(seed: int) -> list[object]:
        found = screened(corpus, [STORED, POOR, *GOOD], seed=seed, keep=2, risk=1e-6)
        return [(one.quality, one.risk, one.pair_risk) for one in found.rounds]

    assert told(1) == told(1)
    assert told(1) != told(2)


def test_the_sample_grows_until_the_risk_is_low_enough(corpus: Corpus) -> None:
    easy = screened(corpus, [STORED, POOR, *GOOD], keep=4)
    assert len(easy.rounds) == 1
    hard = screened(corpus, [STORED, POOR, *GOOD], keep=2, risk=1e-6)
    assert [one.chunks for one in hard.rounds] == [64, 128]
    assert hard.risk > 1e-6
    assert not hard.is_stable
    assert "more than the 0%" in hard.sentence
    assert hard.last.pair_risk >= hard.risk


def test_no_sample_is_begun_that_would_take_too_long(corpus: Corpus) -> None:
    assert len(screened(corpus, [STORED, POOR, *GOOD], keep=2, risk=1e-6, seconds=0.0).rounds) == 1
    assert len(screened(corpus, [STORED, POOR, *GOOD], keep=2, risk=1e-6, seconds=1e6).rounds) == 2


def test_one_model_is_in_memory_at_a_time(corpus: Corpus) -> None:
    alive: list[weakref.ref[FakeModel]] = []

    def load(name: str) -> FakeModel:
        gc.collect()
        assert [one for one in alive if one() is not None] == []
        model = FakeModel(f"acme/{name}", dimensions=3 if name == "poor" else 48)
        alive.append(weakref.ref(model))
        return model

    found = screened(corpus, ["poor", "good0", "good1", "good2"], None, load=load, keep=2, risk=1e-6)
    assert len(alive) == 8
    assert found.last.order[-1] == "poor"


def test_models_that_cannot_be_screened_are_named_with_the_reason(corpus: Corpus) -> None:
    short = FakeModel("acme/short", max_tokens=6)
    twin = FakeModel("other/good0", dimensions=16)
    foreign = FakeModel("other/stored", dimensions=16)
    gone = Failing("acme/gone", after=100)
    constant = Constant("acme/constant")
    models = [short, "./nowhere", twin, foreign, gone, constant, STORED, POOR, *GOOD[1:], GOOD[0]]
    found = screened(corpus, models, keep=2, risk=1e-6)
    reasons = {one.name: one.reason for one in found.unscreened}
    assert reasons.keys() == {
        "acme/short",
        "./nowhere",
        "other/stored",
        "acme/gone",
        "acme/constant",
        "acme/good0",
    }
    assert "expected chunks of at most 6 tokens, got one of 13" in reasons["acme/short"]
    assert "no such folder" in reasons["./nowhere"]
    assert "vectors 'stored'" in reasons["other/stored"]
    assert "out of memory" in reasons["acme/gone"]
    assert "the same for all" in reasons["acme/constant"]
    assert "which one of them has" in reasons["acme/good0"]
    assert "gone" in found.rounds[0].order
    assert set(found.last.order) == {"stored", "good0", "good1", "good2", "poor"}
    assert len(found.kept) == 2


def test_another_model_under_the_key_of_a_stored_one_is_left_out_though_it_has_nothing_to_embed(
    corpus: Corpus,
) -> None:
    found = screened(corpus, [FakeModel("other/stored", dimensions=24), POOR, *GOOD], None)
    assert [one.name for one in found.unscreened] == ["other/stored"]
    assert "vectors 'stored'" in found.unscreened[0].reason
    assert found.stored == ()


def test_fewer_than_two_models_are_no_screening(corpus: Corpus) -> None:
    with pytest.raises(ModelError, match=r"expected at least two .* got 1. ./nowhere: .*no such folder"):
        screened(corpus, [STORED, "./nowhere"])


def test_chunks_that_ask_need_no_stored_model(corpus: Corpus) -> None:
    found = screened(corpus, ["stored", POOR, *GOOD], None)
    assert "stored" in found.last.order
    assert found.unscreened == ()


def test_queries_need_one_model_of_the_corpus_that_can_be_loaded(corpus: Corpus) -> None:
    with pytest.raises(ModelNotFoundError, match="fake:acme/stored"):
        screened(corpus, ["stored", POOR, *GOOD], QUERIES)


def test_progress_is_told(corpus: Corpus) -> None:
    told: list[ScreeningProgress] = []
    screened(corpus, [STORED, POOR, *GOOD], largest=64, on_progress=told.append)
    last = {one.model: one for one in told if one.sample == 64}
    assert last["acme/poor"] == ScreeningProgress(sample=64, model="acme/poor", done=64, total=64)
    assert [one.done for one in told if one.model == "acme/poor"] == [0, 32, 64]


def test_a_screening_is_shown_and_written(corpus: Corpus) -> None:
    found = screened(corpus, [STORED, POOR, *GOOD, "./nowhere"])
    value = json.loads(json.dumps(found.to_json()))
    assert value["kept"] == list(found.kept)
    assert value["rounds"][-1]["order"] == list(found.last.order)
    assert value["unscreened"][0]["name"] == "./nowhere"
    assert len(value["similarities"]) == 10
    assert screening_table(found).row_count == 6
    assert found.sentence.startswith(f"Of 5 models keep {', '.join(found.kept)}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 1}, "keep: expected at least 2"),
        ({"risk": 0.0}, "risk: expected a chance between 0 and 1"),
        ({"smallest": 16}, "sample: expected sizes from 32 chunks on"),
        ({"smallest": 256, "largest": 128}, "the smallest first, got 256 and 128"),
    ],
)
def test_options_out_of_range_are_refused(corpus: Corpus, options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        screened(corpus, [POOR, *GOOD], **options)


def test_a_model_twice_or_one_alone_is_refused(corpus: Corpus) -> None:
    for models in ([POOR], [POOR, POOR]):
        with pytest.raises(InputError, match="models: expected at least two different ones"):
            screened(corpus, models)


def test_real_models_are_screened(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    stored = load_model("wordllama")
    ingest(
        open_source(EXAMPLES / "handbook"),
        store,
        "handbook",
        models=[stored],
        chunks=ChunkSettings(max_tokens=24),
    )
    with Corpus.open(store, "handbook") as corpus:
        found = screen(
            corpus,
            [stored.spec.key, "minilm", FakeModel(dimensions=8)],
            None,
            rng=np.random.default_rng(1),
            smallest=32,
            largest=32,
            keep=2,
        )
    assert found.unscreened == ()
    assert set(found.last.order) == {stored.spec.key, "all-MiniLM-L6-v2", "fake"}
    assert found.embedded == {"all-MiniLM-L6-v2": 32 + found.last.queries, "fake": 32 + found.last.queries}
    assert found.seconds_per_1000_chunks["all-MiniLM-L6-v2"] > 0
    real, *with_fake = sorted(found.similarities, key=lambda pair: "fake" in pair.models)
    assert real.jaccard > max(pair.jaccard for pair in with_fake)

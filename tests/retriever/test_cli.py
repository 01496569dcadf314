"""deploy, query and status, run as in a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.models import load_model
from retriever.records import Chunk, ChunkerSpec
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel

Command = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, make_corpus: Callable[..., Corpus], alpha: FakeModel, beta: FakeModel) -> Path:
    """Return a store with a corpus `guide` of alpha and beta."""
    with make_corpus(EmbeddedStore(tmp_path / "store"), "guide", [alpha, beta]):
        return tmp_path / "store"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, chunks: tuple[Chunk, ...]) -> Path:
    """Return a store with a deployed corpus of a real model, which a command can load by itself."""
    folder = tmp_path_factory.mktemp("real")
    model = load_model("wordllama")
    key = model.spec.key
    with Corpus.create(EmbeddedStore(folder), "guide", chunker=ChunkerSpec(), models=[model.spec]) as corpus:
        corpus.write(
            chunks,
            {key: model.embed_chunks([chunk.text for chunk in chunks])},
            document_hash={chunk.doc_id: "h" for chunk in chunks},
            chunk_count={chunk.doc_id: 1 for chunk in chunks},
        )
        deploy(corpus, [key])
    return folder


def test_deploying_is_told_in_words_and_as_json(command: Command, folder: Path) -> None:
    ran = command("deploy", "beta+alpha", "-c", "guide", "--store", folder, "--weights", "equal")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == ("Corpus 'guide' now serves alpha+beta with equal weights (alpha 0.500, beta 0.500).\n")
    ran = command("deploy", "beta", "-c", "guide", "--store", folder)
    assert ran.out == "Corpus 'guide' now serves beta alone.\n"
    ran = command("deploy", "alpha+beta", "-c", "guide", "--store", folder, "--json")
    assert ran.json["weighting"] == "calibrated"
    with Corpus.open(EmbeddedStore(folder), "guide") as corpus:
        assert [one.weighting for one in corpus.deployments] == ["equal", "calibrated", "calibrated"]
        assert ran.json == json.loads(json.dumps(corpus.deployments[-1].to_json()))


def test_weights_belong_to_the_models_in_the_order_given(command: Command, folder: Path) -> None:
    ran = command(
        "deploy", "beta+acme/alpha", "-c", "guide", "--store", folder, "--weights", "0.75, 0.25", "--json"
    )
    assert dict(zip(ran.json["models"], ran.json["weights"], strict=True)) == {"alpha": 0.25, "beta": 0.75}
    assert ran.json["weighting"] == "explicit"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["alpha+delta"], "expected one of its models (alpha, beta), got 'delta'"),
        (["alpha+"], "names separated by '+'"),
        (["alpha+alpha"], "expected different models"),
        (["alpha+beta", "--weights", "0.5"], "'equal' or 2 numbers separated by commas, got '0.5'"),
        (["alpha+beta", "--weights", "a,b"], "2 numbers"),
        (["alpha+beta", "--weights", "0.5,0.6"], "sum to 1"),
        (["alpha+beta", "--weights", "nan,1"], "sum to 1"),
        (["alpha+beta", "--weights", ""], "names separated by ','"),
        (["alpha", "-c", "other"], "expected a corpus 'other', found guide"),
        (["alpha", "--url", "http://127.0.0.1:1"], "expected a folder or a URL, got both"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_deployed_is_a_usage_error(
    command: Command, folder: Path, arguments: list[str], words: str
) -> None:
    ran = command("deploy", "-c", "guide", "--store", folder, *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert words in ran.err


def test_a_question_is_answered_with_its_explanation(command: Command, real: Path) -> None:
    ran = command("query", "basil and soil", "-c", "guide", "--store", real, "-k", "2")
    assert (ran.status, ran.err) == (0, "")
    first, place, *_ = ran.out.splitlines()
    key = "word-llama-l2-supercat-256"
    rank, score, equals, share, name = first.split()
    assert (rank, equals, name) == ("1.", "=", key)
    assert float(score) == float(share) > 0.3
    assert place.strip().startswith("doc-")
    assert ran.out.count(f" {key}") == 2

    answer = command("query", "basil and soil", "-c", "guide", "--store", real, "-k", "2", "--json").json
    assert answer["question"] == "basil and soil"
    assert answer["deployment"]["models"] == [key]
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2]
    for hit in answer["hits"]:
        assert hit["contributions"] == {key: pytest.approx(hit["score"], abs=1e-6)}
    assert f"{answer['hits'][0]['score']:.3f}" == score
    assert answer["hits"][0]["chunk"]["text"] in ran.out


def test_nothing_is_shown_where_nothing_is_asked_for(command: Command, real: Path) -> None:
    assert command("query", "basil", "-c", "guide", "--store", real, "-k", "0").out == "Nothing found.\n"
    assert command("query", "basil", "-c", "guide", "--store", real, "-k", "0", "--json").json["hits"] == []
    assert command("query", "basil", "-c", "guide", "--store", real, "-k", "-1").status == 2
    empty = command("query", " ", "-c", "guide", "--store", real)
    assert (empty.status, empty.out) == (2, "")
    assert "question: expected a text to search for, got an empty one." in empty.err


def test_a_question_before_any_deployment_says_what_to_do(command: Command, folder: Path) -> None:
    ran = command("query", "basil", "-c", "guide", "--store", folder)
    assert (ran.status, ran.out) == (2, "")
    assert "Make one with `tandem deploy alpha+beta`" in ran.err


def test_a_question_to_a_model_that_is_not_here_is_status_4(
    command: Command, tmp_path: Path, make_corpus: Callable[..., Corpus]
) -> None:
    with make_corpus(EmbeddedStore(tmp_path), "guide", [FakeModel("solo")]) as corpus:
        deploy(corpus, ["solo"])
    ran = command("query", "basil", "-c", "guide", "--store", tmp_path)
    assert ran.status == 4
    assert "'fake:solo'" in ran.err


def test_a_question_with_another_model_at_the_place_of_the_stored_one_is_status_4(
    command: Command, tmp_path: Path, make_corpus: Callable[..., Corpus]
) -> None:
    class Moved(FakeModel):
        """A fake that says it can be loaded as wordllama."""

        @property
        def spec(self) -> Any:
            from dataclasses import replace

            return replace(super().spec, source="wordllama")

    name = load_model("wordllama").spec.name
    with make_corpus(EmbeddedStore(tmp_path), "guide", [Moved(name, dimensions=256)]) as corpus:
        deploy(corpus, [name])
    ran = command("query", "basil", "-c", "guide", "--store", tmp_path)
    assert ran.status == 4
    assert "revision 'fake', got 'sha256:" in ran.err


def test_a_server_that_does_not_answer_is_status_3(command: Command) -> None:
    for arguments in (["status"], ["query", "basil", "-c", "guide"], ["deploy", "a", "-c", "guide"]):
        ran = command(*arguments, "--url", "http://127.0.0.1:1")
        assert (ran.status, ran.out) == (3, "")
        assert "http://127.0.0.1:1: expected an answer" in ran.err


def test_the_status_of_a_store_tells_models_sizes_and_what_is_served(command: Command, folder: Path) -> None:
    ran = command("status", "--store", folder)
    assert (ran.status, ran.err) == (0, "")
    for words in (
        "corpus guide",
        "12",
        "40 of at most 256 tokens",
        "model alpha",
        "acme/beta, 16 dimensions",
    ):
        assert words in ran.out
    assert "nothing yet: `tandem deploy`" in ran.out
    command("deploy", "alpha+beta", "-c", "guide", "--store", folder, "--weights", "equal")
    assert "alpha+beta with equal weights" in command("status", "--store", folder).out
    (one,) = command("status", "--store", folder, "--json").json["corpora"]
    assert (one["documents"], one["chunks"]) == (12, 40)
    assert one["missing"] == {"alpha": 0, "beta": 0, "alpha+beta": 0}
    assert one["deployment"]["models"] == ["alpha", "beta"]
    assert one["manifest"]["models"][0]["name"] == "acme/alpha"


def test_the_status_tells_what_an_interrupted_ingest_left_out(
    command: Command, folder: Path, gamma: FakeModel
) -> None:
    with Corpus.open(EmbeddedStore(folder), "guide") as corpus:
        corpus.add_models([gamma.spec])
    assert "missing for 40 chunks" in command("status", "--store", folder).out
    ran = command("deploy", "alpha+gamma", "-c", "guide", "--store", folder)
    assert ran.status == 3
    assert "Run the same `ingest run` again" in ran.err


def test_the_status_of_no_corpus_says_how_to_make_one(command: Command, tmp_path: Path) -> None:
    place = tmp_path / "a [b] store"
    ran = command("status", "--store", place)
    assert ran.out.replace("\n", " ") == f"No corpus in {place}. Make one with `ingest run`. "
    assert command("status", "--store", place, "--json").json == {
        "store": str(place),
        "corpora": [],
        "unfinished": {},
        "in_use": {},
    }
    assert command("status", "--store", place, "-c", "guide").status == 2


def test_names_are_shown_as_they_are(
    command: Command, tmp_path: Path, make_corpus: Callable[..., Corpus]
) -> None:
    odd = FakeModel("odd[/b]acme/odd[i]model", dimensions=8)
    with make_corpus(EmbeddedStore(tmp_path / "s"), "guide", [odd]):
        pass
    ran = command("deploy", odd.spec.name, "-c", "guide", "--store", tmp_path / "s")
    assert ran.out == "Corpus 'guide' now serves odd[i]model alone.\n"
    shown = command("status", "--store", tmp_path / "s").out
    assert "odd[/b]acme/odd[i]model, 8 dimensions" in shown
    assert "odd[i]model alone" in shown


def test_settings_of_the_store_serve_all_commands(command: Command, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tandem.toml").write_text(
        f'store = "{folder}"\ncorpus = "guide"\n[deploy]\nweights = "equal"\n'
    )
    assert "with equal weights" in command("deploy", "alpha+beta").out
    assert "alpha+beta with equal weights" in command("status").out


def test_a_copy_that_is_not_whole_hides_no_other_corpus(
    command: Command, folder: Path, make_corpus: Callable[..., Corpus], alpha: FakeModel
) -> None:
    with make_corpus(EmbeddedStore(folder), "half", [alpha]) as corpus:
        corpus._save(copied_from="elsewhere")
    ran = command("status", "--store", folder)
    assert (ran.status, ran.err) == (0, "")
    assert "corpus guide" in ran.out
    assert "found a copy" in ran.out
    assert set(command("status", "--store", folder, "--json").json["unfinished"]) == {"half"}
    assert command("status", "--store", folder, "-c", "half").status == 3


# ── more than one deployment ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, chunks: tuple[Chunk, ...]) -> Path:
    """Return a store with a deployed corpus of two real models."""
    folder = tmp_path_factory.mktemp("pair")
    models = [load_model("minilm"), load_model("wordllama")]
    specs = [model.spec for model in models]
    with Corpus.create(EmbeddedStore(folder), "guide", chunker=ChunkerSpec(), models=specs) as corpus:
        corpus.write(
            chunks,
            {model.spec.key: model.embed_chunks([chunk.text for chunk in chunks]) for model in models},
            document_hash={chunk.doc_id: "h" for chunk in chunks},
            chunk_count={chunk.doc_id: 1 for chunk in chunks},
        )
        corpus.measure_spreads()
        deploy(corpus, [*corpus.manifest.keys, "bm25"])
    return folder


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("alpha,beta", "Join models with '+': alpha+beta."),
        ("alpah+beta", "Did you mean 'alpha'?"),
        ("zzz+beta", "Add the model with `ingest run`."),
    ],
)
def test_a_name_that_no_model_has_comes_with_advice(
    command: Command, folder: Path, given: str, advice: str
) -> None:
    ran = command("deploy", given, "-c", "guide", "--store", folder)
    assert (ran.status, advice in ran.err) == (2, True), ran.err


def test_deployments_are_listed_and_gone_back_to(command: Command, folder: Path) -> None:
    here = ("-c", "guide", "--store", folder)
    assert "has served nothing yet" in command("deployments", *here).out
    for combination in ("alpha", "alpha+beta", "beta+bm25"):
        assert command("deploy", combination, *here).status == 0
    ran = command("deployments", *here)
    assert (ran.status, ran.err) == (0, "")
    for words in ("1 │ alpha alone", "2 │ alpha+beta with calibrated", "3 │ beta+bm25 with calibrated"):
        assert words in ran.out
    assert ran.out.count("served") == 1
    ran = command("rollback", *here)
    assert ran.out.startswith("Corpus 'guide' serves alpha+beta with calibrated weights")
    assert command("deployments", *here, "--json").json["served"] == 2
    assert command("rollback", *here, "--to", "1").out == "Corpus 'guide' serves alpha alone again.\n"
    ran = command("rollback", *here)
    assert (ran.status, ran.out) == (2, "")
    assert "expected a deployment before the one that is served" in ran.err
    ran = command("drop", "beta+alpha", *here)  # as `deploy` takes it, in any order
    assert ran.out == "Dropped beta+alpha. Left: bm25.\n"
    found = command("deployments", *here, "--json").json
    assert [one["models"] for one in found["deployments"]] == [["alpha"], ["beta"]]
    ran = command("drop", "alpha", *here)
    assert (ran.status, ran.out) == (2, "")
    assert "expected a vector that was made for a deployment (bm25), got 'alpha'" in ran.err


def test_what_fewer_bits_cost_is_told(command: Command, folder: Path) -> None:
    ran = command("deploy", "alpha@8+beta", "--storage", "int8", "-c", "guide", "--store", folder)
    assert (ran.status, ran.err) == (0, "")
    first, second = ran.out.splitlines()
    assert first.endswith("stored as int8.")
    assert "24 bytes a chunk are searched instead of 160" in second
    assert "% are kept" in second
    ran = command("deploy", "alpha", "--storage", "int3", "-c", "guide", "--store", folder)
    assert (ran.status, ran.out) == (2, "")
    assert "'int3'" in ran.err


def test_an_explanation_is_a_table_of_legs(command: Command, pair: Path) -> None:
    here = ("-c", "guide", "--store", pair)
    ran = command("query", "basil and soil", *here, "--explain", "-k", "2")
    assert (ran.status, ran.err) == (0, "")
    answer = command("query", "basil and soil", *here, "--explain", "-k", "2", "--json").json
    for hit in answer["hits"]:
        assert f"{hit['score']:.4f}" in ran.out
        assert set(hit["contributions"]) == set(hit["ranks"])
        assert sum(hit["contributions"].values()) == pytest.approx(hit["score"], abs=1e-6)
        assert hit["chunk"]["doc_id"] in ran.out
    assert ran.out.count("rank") == 3


def test_a_comparison_shows_each_model_beside_all(command: Command, pair: Path) -> None:
    here = ("-c", "guide", "--store", pair, "-k", "3")
    ran = command("query", "basil and soil", *here, "--compare")
    assert (ran.status, ran.err) == (0, "")
    answer = command("query", "basil and soil", *here, "--compare", "--json").json
    minilm, wordllama, both = answer["compared"]
    assert both == f"{minilm}+{wordllama}+bm25"
    assert answer["compared"][both] == answer["hits"]
    for name, hits in answer["compared"].items():
        assert len(hits) == 3
        if name != both:
            assert {leg for hit in hits for leg in hit["contributions"]} == {name}
        for hit in hits:
            assert f"{hit['score']:.3f}" in ran.out


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands load models that are fakes."""
    monkeypatch.setattr(
        "retriever.search.models.load_stored", lambda spec: FakeModel(spec.name, dimensions=spec.dimensions)
    )


@pytest.mark.usefixtures("loading")
def test_weights_of_a_query_belong_to_the_models_in_the_order_given(command: Command, folder: Path) -> None:
    here = ("-c", "guide", "--store", folder)
    assert command("deploy", "beta+alpha", *here).status == 0
    asked = ("query", "basil", *here, "-k", "1", "--json")
    for more in (("--serve", "beta+alpha", "--weights", "0,1"), ("--weights", "1,0")):
        (hit,) = command(*asked, *more).json["hits"]
        assert hit["contributions"] == {"alpha": hit["score"], "beta": 0}
    ran = command(*asked, "--weights", "1,0", "--fusion", "rrf")
    assert (ran.status, ran.out) == (2, "")
    assert "expected none beside fusion 'rrf'" in ran.err


def test_what_is_served_is_deployed_anew_where_that_is_asked_for(command: Command, folder: Path) -> None:
    deployed = ("deploy", "alpha+beta", "-c", "guide", "--store", folder, "--json")
    first, same, anew = (command(*deployed, *more).json for more in ((), (), ("--anew",)))
    assert same == first
    assert anew["created"] > first["created"]
    assert {**anew, "created": first["created"]} == first


@pytest.mark.usefixtures("loading")
def test_the_time_of_deployment_is_that_of_what_is_deployed_also_by_its_name(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    here = ("-c", "guide", "--store", folder)
    assert command("deploy", "alpha+beta", *here, "--weights", "equal").status == 0
    (tmp_path / "queries.jsonl").write_text('{"text": "basil"}\n')
    baseline = ("watch", *here, "--baseline", tmp_path / "queries.jsonl", "--json")
    deployed = command(*baseline).json["deployment"]
    assert command(*baseline, "--serve", "beta+alpha").json["deployment"] == deployed
    assert command(*baseline, "--serve", "alpha").json["deployment"] != deployed


@pytest.mark.parametrize("since", ["999999d", "0001-01-01", "yesterday"])
def test_a_time_that_cannot_be_is_a_usage_error(command: Command, since: str) -> None:
    ran = command("watch", "-c", "guide", "--since", since)
    assert (ran.status, ran.out) == (2, "")
    assert f"--since: expected 7d, 24h, 30m or a time such as 2026-11-22T09:00, got '{since}'" in ran.err


def test_a_query_can_be_asked_otherwise(command: Command, pair: Path) -> None:
    here = ("-c", "guide", "--store", pair, "-k", "2", "--json")
    alone = command("query", "basil", *here, "--serve", "wordllama").json
    (key,) = alone["deployment"]["models"]
    weighted = command("query", "basil", *here, "--weights", "0,1,0").json
    assert [hit["chunk"]["chunk_id"] for hit in weighted["hits"]] == [
        hit["chunk"]["chunk_id"] for hit in alone["hits"]
    ]
    assert weighted["hits"][0]["contributions"][key] == pytest.approx(alone["hits"][0]["score"], abs=1e-6)
    fused = command("query", "basil", *here, "--fusion", "rrf").json
    assert all(hit["approximate"] for hit in fused["hits"])
    near = command("query", "basil", *here, "--neighbours", "1", "--per-document").json
    assert any(hit["before"] or hit["after"] for hit in near["hits"])
    assert len({hit["chunk"]["doc_id"] for hit in near["hits"]}) == 2
    ran = command("query", "basil", "-c", "guide", "--store", pair, "--fusion", "max")
    assert (ran.status, ran.out) == (2, "")
    assert "--fusion: expected one of sum, rrf, dbsf, got 'max'" in ran.err

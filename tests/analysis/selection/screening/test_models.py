"""What may be named as a candidate: a model of the corpus, or one that can be loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.selection.screening.models import check_candidates
from ingest import ingest
from retriever.corpus import Corpus
from retriever.errors import InputError, ModelNotFoundError
from retriever.models import load_model
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    models = [FakeModel(f"acme/{name}", dimensions=8) for name in ("plain-model", "other-model")]
    ingest([Document(doc_id="d", text="word1 word2")], store, "c", models=models)
    with Corpus.open(store, "c") as opened:
        yield opened


def test_stored_models_and_those_that_can_be_loaded_are_candidates(corpus: Corpus, tmp_path: Path) -> None:
    hub = ["publisher/model", "publisher/model.v2@main", "_under/score-d"]
    check_candidates(corpus, ["plain-model", "acme/other-model", "minilm", str(tmp_path), *hub])


NOTHING = ["nothing", "./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "publisher/", "llama-index:a/b"]


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_neither_is_refused_as_the_loader_would_refuse_it(corpus: Corpus, name: str) -> None:
    with pytest.raises(InputError) as refused:
        check_candidates(corpus, ["plain-model", name])
    assert str(refused.value) == (
        "candidates: expected models of corpus 'c' (plain-model, other-model) or others that can be loaded "
        f"(minilm, wordllama, a folder, or a hub name 'publisher/model'), got {name!r}. Correct the name, or "
        "leave it out."
    )
    if name != "publisher/":  # which only the hub would refuse
        with pytest.raises(ModelNotFoundError):
            load_model(name)


def test_a_file_is_no_model(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "model.onnx").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"got 'some/model\.onnx'"):
        check_candidates(corpus, ["some/model.onnx"])


@pytest.mark.parametrize(
    ("name", "meant"),
    [("plain-modell", "plain-model"), ("acme.other-model", "acme/other-model"), ("minlm", "minilm")],
)
def test_a_slip_of_the_pen_is_recognised(corpus: Corpus, name: str, meant: str) -> None:
    with pytest.raises(InputError, match=rf"got '{name}'\. Did you mean '{meant}'\?"):
        check_candidates(corpus, [name])

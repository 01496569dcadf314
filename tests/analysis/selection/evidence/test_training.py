"""Who was trained on what is said where it is known, with its source."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from analysis.selection.evidence import training_warnings


def test_a_model_that_was_trained_on_the_collection_is_named_with_the_source() -> None:
    names = ["intfloat/e5-small-v2", "BAAI/bge-small-en-v1.5", "acme/unknown", "all-MiniLM-L6-v2"]
    (warning,) = training_warnings(names, "hotpotqa-hipporag")
    assert (warning.model, warning.collection) == ("BAAI/bge-small-en-v1.5", "hotpotqa")
    assert "FlagEmbedding" in warning.source
    assert str(warning).startswith("BAAI/bge-small-en-v1.5 was trained on hotpotqa: ")
    assert warning.to_json()["message"] == str(warning)
    assert [one.model for one in training_warnings(names, "MS MARCO")] == [names[0], names[1], names[3]]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("nq", True),
        ("BeIR/nq", True),
        ("nq-utd", True),
        ("Natural_Questions.v2", True),
        ("fever", True),
        ("climate-fever", False),
        ("hotpot", False),
        ("acme-nqx", False),
        ("my documents", False),
        ("", False),
        (None, False),
    ],
)
def test_a_collection_is_known_by_whole_words_of_its_name(name: str | None, known: bool) -> None:  # noqa: FBT001  # a parameter
    assert bool(training_warnings(["bge-small-en-v1.5"], name)) is known


def test_every_entry_has_a_source_and_collections_that_are_known() -> None:
    text = files("analysis.selection").joinpath("data", "trained_on.json").read_text(encoding="utf-8")
    known = json.loads(text)
    models = [model for entry in known["entries"] for model in entry["models"]]
    assert len(models) == len(set(models))
    assert all("/" not in model for model in models)
    for entry in known["entries"]:
        assert entry["source"].strip()
        assert set(entry["collections"]) <= set(known["collections"])
        assert entry["collections"] == sorted(set(entry["collections"]))
    aliases = [alias for written in known["collections"].values() for alias in written]
    assert len(aliases) == len(set(aliases))

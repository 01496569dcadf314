from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from retriever.errors import InputError, StoreCorruptError
from retriever.records import (
    FORMAT_VERSION,
    ChunkerSpec,
    Combination,
    CorpusManifest,
    Deployment,
    Document,
    Heading,
    ModelSpec,
    check_corpus_name,
    fingerprint_of,
)

SPEC = ModelSpec(
    name="acme/alpha",
    revision="sha256:1",
    dimensions=24,
    max_tokens=512,
    query_prompt="query: ",
    document_prompt="passage: ",
    pooling="mean",
    backend="torch",
    dtype="float32",
    tokenizer="t1",
    source="somewhere",
)
MANIFEST = CorpusManifest(
    corpus="c",
    chunker=ChunkerSpec(tokenizers=("t1", "t2")),
    models=(SPEC, replace(SPEC, name="acme/beta"), replace(SPEC, name="gamma")),
    combinations=(Combination(("alpha", "beta")),),
    spreads={"alpha": 0.1},
)
DEPLOYMENT = Deployment(
    corpus="c",
    models=("alpha", "beta"),
    weights=(0.25, 0.75),
    weighting="explicit",
    fingerprints=("1", "2"),
    evidence={"gain": [0.1, {"p": None}]},
    created="2026-01-02T03:04:05+00:00",
)


def test_records_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        SPEC.dimensions = 5  # type: ignore[misc]


def test_a_fingerprint_ignores_the_order_of_keys_and_sees_every_value() -> None:
    assert fingerprint_of({"a": 1, "b": 2}) == fingerprint_of({"b": 2, "a": 1})
    assert len({fingerprint_of({"a": value}) for value in (1, 1.5, "1", None, True, [1], {"b": 1})}) == 7


def test_a_fingerprint_is_the_same_in_every_release() -> None:
    # printf '{"a":"\xc3\xa4","b":1}' | sha256sum | cut -c1-16
    assert fingerprint_of({"b": 1, "a": "ä"}) == "507aab815f2bdfce"


def test_the_hash_of_a_document_changes_with_text_and_metadata_but_not_with_its_name() -> None:
    document = Document(doc_id="d", text="t", metadata={"k": 1})
    assert document.content_hash == replace(document, doc_id="e").content_hash
    assert document.content_hash != replace(document, text="u").content_hash
    assert document.content_hash != replace(document, metadata={"k": 2}).content_hash


@pytest.mark.parametrize(
    "change",
    [
        {"name": "acme/other"},
        {"revision": "sha256:2"},
        {"dimensions": 25},
        {"max_tokens": None},
        {"query_prompt": ""},
        {"document_prompt": ""},
        {"pooling": "cls"},
        {"backend": "onnx"},
        {"dtype": "int8"},
        {"tokenizer": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_a_vector_changes_the_fingerprint_of_the_model(change: dict[str, object]) -> None:
    assert replace(SPEC, **change).fingerprint != SPEC.fingerprint


def test_where_a_model_lies_does_not_change_its_fingerprint() -> None:
    assert replace(SPEC, source="elsewhere").fingerprint == SPEC.fingerprint


@pytest.mark.parametrize(
    ("name", "key"),
    [("acme/alpha", "alpha"), ("alpha", "alpha"), ("a/b/c", "c"), ("x/a+b", "a-b"), ("x/a,b", "a-b")],
)
def test_a_key_can_be_joined_by_plus_and_by_comma(name: str, key: str) -> None:
    assert replace(SPEC, name=name).key == key


@pytest.mark.parametrize("name", ["a", "A1", "my-corpus_2.old", "x" * 128])
def test_a_plain_name_names_a_corpus(name: str) -> None:
    assert check_corpus_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a b", "a/b", "a\\b", "a\n", "ä", "x" * 129])
def test_a_name_that_is_no_folder_everywhere_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="corpus name"):
        check_corpus_name(name)


def test_a_combination_is_in_the_order_of_the_manifest_however_its_models_are_called() -> None:
    assert MANIFEST.ordered(["gamma", "acme/alpha"]) == ("alpha", "gamma")


@pytest.mark.parametrize("names", [[], ["alpha", "acme/alpha"], ["alpha", "delta"], ["alpha+beta"]])
def test_a_combination_of_none_or_equal_or_unknown_models_is_refused(names: list[str]) -> None:
    with pytest.raises(InputError):
        MANIFEST.ordered(names)


def test_an_unknown_model_is_answered_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"alpha, beta, gamma.*'delta'.*ingest run"):
        MANIFEST.model("delta")


def test_a_manifest_survives_json() -> None:
    assert CorpusManifest.from_json(json.loads(json.dumps(MANIFEST.to_json()))) == MANIFEST


def test_a_deployment_survives_json() -> None:
    assert Deployment.from_json(json.loads(json.dumps(DEPLOYMENT.to_json()))) == DEPLOYMENT
    assert DEPLOYMENT.vector == "alpha+beta"


def test_a_manifest_of_a_newer_release_is_refused_by_its_version() -> None:
    value = {**MANIFEST.to_json(), "format_version": FORMAT_VERSION + 1, "unheard_of": 1}
    with pytest.raises(
        StoreCorruptError, match=rf"version {FORMAT_VERSION}, got {FORMAT_VERSION + 1}.*pgrade"
    ):
        CorpusManifest.from_json(value)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        "manifest",
        {},
        {**MANIFEST.to_json(), "models": None},
        {**MANIFEST.to_json(), "models": [{"name": "acme/alpha"}]},
        {**MANIFEST.to_json(), "chunker": "words"},
        {**MANIFEST.to_json(), "chunker": {"tokenizers": [], "unheard_of": 1}},
        {**MANIFEST.to_json(), "spreads": 3},
        {**MANIFEST.to_json(), "combinations": [3]},
    ],
)
def test_what_is_no_manifest_is_refused(broken: object) -> None:
    with pytest.raises(StoreCorruptError, match="manifest"):
        CorpusManifest.from_json(broken)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "broken", [None, 3, "deployment", [], {}, {**DEPLOYMENT.to_json(), "weights": 1}, {"unheard_of": 1}]
)
def test_what_is_no_deployment_is_refused(broken: object) -> None:
    with pytest.raises(StoreCorruptError, match="deployment"):
        Deployment.from_json(broken)  # type: ignore[arg-type]


def test_a_setting_at_its_default_leaves_fingerprints_as_they_were_before_it_existed() -> None:
    # Computed by release 0.1.0 as it was before `title_prefix`, `parser`, `over_length` and `agreement`.
    assert ChunkerSpec(tokenizers=("a", "b")).fingerprint == "745ccb99e0f8ae36"
    assert replace(ChunkerSpec(), title_prefix=True).fingerprint != ChunkerSpec().fingerprint
    assert replace(ChunkerSpec(), parser="{}").fingerprint != ChunkerSpec().fingerprint


def test_headings_count_for_the_content_of_a_document() -> None:
    plain = Document(doc_id="d", text="A\n\nb")
    headed = replace(plain, headings=(Heading(start_char=0, level=1, title="A"),))
    assert headed.content_hash != plain.content_hash


def test_a_dropped_model_goes_on_counting_only_where_no_other_has_its_tokenizer() -> None:
    shared = MANIFEST.without("alpha")  # all three have t1
    assert (shared.keys, shared.combinations, shared.spreads, shared.counting) == (
        ("beta", "gamma"),
        (),
        {},
        (),
    )
    other = replace(MANIFEST.models[0], tokenizer="t2")
    manifest = replace(MANIFEST, models=(other, *MANIFEST.models[1:]))
    assert manifest.without("alpha").counting == (other,)
    assert CorpusManifest.from_json(manifest.without("alpha").to_json()) == manifest.without("alpha")
    assert (
        replace(other, tokenizer="t9")
        not in replace(MANIFEST, models=(replace(other, tokenizer="t9"), *MANIFEST.models[1:]))
        .without("alpha")
        .counting
    )

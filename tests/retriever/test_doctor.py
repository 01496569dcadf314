"""A doctor finds what is wrong with a model, and nothing with one that is well."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retriever.doctor import Diagnosis, Verdict, examine, together
from retriever.doctor.cost import Cost, memory
from retriever.doctor.texts import PARAPHRASES, chunk_texts
from retriever.errors import EmbeddingError, InputError
from retriever.models import load_model
from retriever.models.protocol import FloatArray
from retriever.models.windows import windowed
from retriever.records import ModelSpec
from retriever.testing import FakeModel, WhitespaceTokenizer

Command = Callable[..., Any]


def _words(diagnosis: Diagnosis) -> dict[str, tuple[str, str]]:
    return {one.check: (one.verdict.name, one.text) for one in diagnosis.findings}


@pytest.fixture(scope="module")
def shared_models() -> Path:
    folder = Path(os.environ.get("TANDEM_SHARED", Path(__file__).parents[3] / "shared")) / "models"
    if not folder.is_dir():
        pytest.skip(f"needs the test models in {folder}; set TANDEM_SHARED to the folder that holds them")
    return folder


class _Patched(FakeModel):
    """A fake with one symptom."""

    changes: dict[str, Any] = {}  # noqa: RUF012

    @property
    def spec(self) -> ModelSpec:
        return replace(super().spec, **self.changes)


class _Constant(_Patched):
    def _embed(self, texts: list[str], prompt: str) -> FloatArray:
        return np.tile(np.eye(1, 64, dtype=np.float32), (len(texts), 1))


class _Wide(_Patched):
    def _embed(self, texts: list[str], prompt: str) -> FloatArray:
        return np.hstack([super()._embed(texts, prompt)] * 2)


class _BatchScaled(_Patched):
    """As dynamic quantisation does: the longest text of a batch changes the others."""

    def _embed(self, texts: list[str], prompt: str) -> FloatArray:
        rows = super()._embed(texts, prompt)
        rows = rows + 0.001 * max(map(len, texts)) * np.ones(64, dtype=np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


class _Forgetful(_Patched):
    """Reads less than it says."""

    def _read(self, text: str) -> list[str]:
        return super()._read(text)[:20]


class _Endless(_Patched):
    """Reads more than it says."""

    def _read(self, text: str) -> list[str]:
        return text.split()


class _NotNormal(_Patched):
    def _embed(self, texts: list[str], prompt: str) -> FloatArray:
        rows = super()._embed(texts, prompt)
        return np.array(
            [row * (np.nan if "🤖" in text else 1) for row, text in zip(rows, texts, strict=True)]
        )


class _Picky(_Patched):
    def _embed(self, texts: list[str], prompt: str) -> FloatArray:
        if any("日本" in text for text in texts if len(text) < 40):
            raise EmbeddingError("no")
        return super()._embed(texts, prompt)


class _Unprompted(_Patched):
    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        return self.embed_chunks(texts)


class _Moody(_Patched):
    calls = 0

    def _embed(self, texts: list[str], prompt: str) -> FloatArray:
        self.calls += 1
        return super()._embed(texts, f"{prompt}{'x' * self.calls} ")


class _Remote(_Patched):
    changes = {"max_tokens": None, "tokenizer": None, "backend": "llama-index"}  # noqa: RUF012

    @property
    def tokenizer(self) -> None:  # type: ignore[override]
        return None


def test_a_model_that_is_well_has_no_failing_check() -> None:
    """A fake knows no paraphrases, and nobody knows its prompts' origin but its files."""
    diagnosis = examine(FakeModel(), chunk_tokens=100, seconds=0.05)
    findings = _words(diagnosis)
    assert {name: verdict for name, (verdict, _) in findings.items() if verdict != "OK"} == {
        "meaning": "WARN"
    }
    assert diagnosis.verdict is Verdict.WARN
    assert findings["dimensions"][1] == "64, as promised"
    assert findings["truncation"][1] == "reads 512 tokens and no more"
    assert "'passage: ' before chunks, as the model's own files say" in findings["prompts"][1]
    assert findings["symmetric"][1].startswith("no: query and chunk")
    assert diagnosis.cost is not None
    assert diagnosis.cost.chunks_per_second > 1
    assert (diagnosis.cost.chunk_tokens, diagnosis.cost.bytes_per_chunk) == (100, 256)


@pytest.mark.parametrize(
    ("model", "check", "verdict", "words"),
    [
        (_Wide(), "dimensions", "FAIL", "promises 64 for each of 6 texts, gives (6, 128)"),
        (FakeModel(max_tokens=64), "maximum tokens", "FAIL", "64, of which the prompt leaves 63"),
        (_Remote(), "maximum tokens", "WARN", "unknown"),
        (_Forgetful(max_tokens=64), "truncation", "FAIL", "but the last of them changes nothing"),
        (_Forgetful(max_tokens=None), "truncation", "FAIL", "the end of a text of 256 tokens changes"),
        (_Endless(max_tokens=64), "truncation", "WARN", "says it reads 64 tokens, but reads on"),
        (_NotNormal(), "unusual texts", "FAIL", "no unit vector for '👩"),
        (_Picky(), "unusual texts", "WARN", "no vector for '日本語"),
        (_Unprompted(), "symmetric", "FAIL", "its prompts change nothing"),
        (_BatchScaled(), "same in any batch", "FAIL", "interrupted and resumed stores other vectors"),
        (_Moody(), "same when repeated", "WARN", "two calls differ"),
        (_Constant(), "meaning", "WARN", "1 of 12 English questions"),
        (_Remote(), "prompts", "OK", "its own business"),
        (
            FakeModel("intfloat/e5-small-v2"),
            "prompts",
            "OK",
            "as the model card of intfloat/e5-small-v2 says",
        ),
        (FakeModel("BAAI/bge-small-en-v1.5"), "prompts", "WARN", "Check the model's files"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, FakeModel) else None,
)
def test_each_symptom_is_found_by_its_check(model: FakeModel, check: str, verdict: str, words: str) -> None:
    """And said with its reason."""
    found = _words(examine(model, seconds=0))[check]
    assert found[0] == verdict, found
    assert words in found[1]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"dtype": "int8", "agreement": 0.9993}, "OK"),
        ({"dtype": "int8", "agreement": 0.97}, "WARN"),
        ({"dtype": "int8", "agreement": 0.74}, "FAIL"),
        ({"dtype": "int8"}, "WARN"),
        ({"dtype": "float32"}, "OK"),
    ],
)
def test_a_quantised_model_is_judged_by_its_agreement(changes: dict[str, Any], verdict: str) -> None:
    """As measured when it was made; 0.74 was a real case of bad 8-bit weights."""
    model = _Patched()
    model.changes = changes
    assert _words(examine(model, seconds=0))["agreement"][0] == verdict


def test_prompts_that_nobody_knows_are_a_warning() -> None:
    """A model that was trained with some is worse without them, in silence."""
    model = _Patched("acme/new")
    model.changes = {"query_prompt": "", "document_prompt": ""}
    assert _words(examine(model, seconds=0))["prompts"][0] == "WARN"


def test_windows_make_a_short_model_fit() -> None:
    """Chunks of any length, read to their end."""
    findings = _words(examine(windowed(FakeModel(max_tokens=64)), seconds=0))
    assert findings["maximum tokens"][0] == findings["truncation"][0] == "OK"
    assert "embedded in windows" in findings["maximum tokens"][1]
    assert findings["truncation"][1] == "reads 256 tokens to their end"


def test_a_model_that_raises_is_a_finding_and_costs_nothing() -> None:
    """The other checks go on, and the report is whole."""

    class Broken(FakeModel):
        def _embed(self, texts: list[str], prompt: str) -> FloatArray:
            raise RuntimeError("out of memory")

    diagnosis = examine(Broken(), chunk_tokens=64)
    assert diagnosis.cost is None
    assert diagnosis.verdict is Verdict.FAIL
    assert _words(diagnosis)["dimensions"] == ("FAIL", "RuntimeError: out of memory")
    assert json.dumps(diagnosis.to_json())


def test_a_chunk_without_room_for_a_word_is_a_usage_error() -> None:
    with pytest.raises(InputError, match="chunk tokens: expected 16 or more, got 15"):
        examine(FakeModel(), chunk_tokens=15)


def test_models_of_one_vocabulary_are_told_from_others() -> None:
    """By hand: 10 and 40 chunks a second are 8 a second one after the other."""
    diagnoses = []
    for name, dimensions, rate in (("a", 8, 10.0), ("b", 16, 40.0), ("c", 8, 1e12)):
        model = _Patched(name, dimensions=dimensions)
        model.changes = {"tokenizer": None} if name == "c" else {}
        cost = Cost(
            chunk_tokens=256,
            chunks_per_second=rate,
            peak_bytes=0,
            bytes_per_chunk=4 * dimensions,
            loading=None,
        )
        diagnoses.append(Diagnosis(spec=model.spec, findings=(), cost=cost))
    all_of_them = together(diagnoses)
    assert all_of_them.vocabularies == (("a", "b"), ("c",))
    assert all_of_them.chunks_per_second == pytest.approx(8)
    assert all_of_them.bytes_per_chunk == 128
    assert diagnoses[0].cost is not None
    assert diagnoses[0].cost.seconds_for(1000) == 100
    assert together([replace(diagnoses[0], cost=None)]).chunks_per_second is None


def test_the_chunks_are_of_the_length_asked_for() -> None:
    """Measured by the model's own tokenizer; no two alike, the same in each process."""
    texts = chunk_texts(4, tokens=100, tokenizer=WhitespaceTokenizer(), seed=1)
    assert WhitespaceTokenizer().count(texts) == [100] * 4
    assert len(set(texts)) == 4
    assert texts == chunk_texts(4, tokens=100, tokenizer=WhitespaceTokenizer(), seed=1)
    assert len(chunk_texts(1, tokens=100, tokenizer=None, seed=1)[0].split()) == 75


def test_the_paraphrases_share_hardly_a_word() -> None:
    """So a model without meaning cannot find them."""
    for question, answer in PARAPHRASES:
        shared = {word.strip("?.,").lower() for word in question.split()} & set(answer.lower().split())
        assert len(shared - {"the", "to", "of", "a", "in", "on", "for"}) <= 1


def test_memory_is_that_of_this_process() -> None:
    """Python and numpy take more than 10 MB, and a new block shows.

    It is asked of the system: an allocator may have as much left over from what others gave back.
    """
    before = memory()
    assert before > 10_000_000
    with mmap.mmap(-1, 80_000_000) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        assert memory() - before > 40_000_000


def test_a_real_model_is_well(command: Command) -> None:
    """wordllama is a static model: no limit, no prompts."""
    ran = command("doctor", "wordllama", "--json")
    assert (ran.status, ran.err) == (0, "")
    (one,) = ran.json["models"]
    assert one["model"]["name"] == "dleemiller/word-llama-l2-supercat-256"
    assert one["model"]["fingerprint"] == load_model("wordllama").spec.fingerprint
    assert {finding["verdict"] for finding in one["findings"]} == {"ok"}
    assert one["cost"]["chunks_per_second"] > 1


def test_a_table_is_shown_and_a_failing_model_is_status_4(command: Command, shared_models: Path) -> None:
    """A model of 128 tokens does not read chunks of 256."""
    short = shared_models / "paraphrase-MiniLM-L3-v2"
    ran = command("doctor", short, "wordllama", "--chunk-tokens", "256")
    assert (ran.status, ran.err) == (4, "")
    for words in (
        "model paraphrase-MiniLM-L3-v2",
        "│ fail │ 128",
        "chunks of 128 tokens a second",
        "100,000 in",
    ):
        assert words in ran.out
    assert "No two of them share a vocabulary." in ran.out


def test_what_is_no_model_is_status_4(command: Command) -> None:
    ran = command("doctor", "./absent")
    assert (ran.status, ran.out) == (4, "")
    assert "expected a folder with a model" in ran.err
    assert command("doctor").status == 2

"""`tandem` from a folder of documents to an answer, and how it ends where it cannot go on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from ingest import ingest, open_source
from retriever.corpus import Corpus
from retriever.models import load_model
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import VectorStore

ROOT = Path(__file__).resolve().parents[2]
HANDBOOK = ROOT / "examples" / "handbook"
A, B = "all-MiniLM-L6-v2", "word-llama-l2-supercat-256"

Command = Callable[..., Any]
Contents = Callable[[VectorStore, str], Any]


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the handbook in it by two models, nothing deployed; it is only copied."""
    folder = tmp_path_factory.mktemp("ingested")
    models = [load_model("minilm"), load_model("wordllama")]
    ingest(open_source(HANDBOOK), EmbeddedStore(folder), "handbook", models=models)
    return folder


@pytest.fixture
def handbook(ingested: Path, tmp_path: Path) -> None:
    """The default store of the folder in which commands run has the handbook."""
    shutil.copytree(ingested, tmp_path / "tandem-store")


def test_help_names_every_command(command: Command) -> None:
    shown = command("--help")
    assert shown.status == 0
    for name in ("demo", "ingest", "evaluate", "deploy", "query", "status"):
        assert f"│ {name} " in shown.out


def test_the_version_is_that_of_the_distribution(command: Command) -> None:
    assert command("--version").out == f"tandem-rag {version('tandem-rag')}\n"


@pytest.mark.usefixtures("handbook")
def test_the_path_from_a_deployment_to_an_answer(command: Command) -> None:
    on = ("--corpus", "handbook")
    deployed = command("deploy", "minilm+wordllama", *on)
    assert deployed.status == 0, deployed.err
    assert f"now serves {A}+{B} with calibrated weights" in deployed.out

    asked = command("query", "How do I rotate a key?", *on, "-k", "2", "--json")
    assert asked.status == 0, asked.err
    best, second = asked.json["hits"]
    assert best["chunk"]["doc_id"] == "access-keys.md"
    assert best["score"] >= second["score"]
    for hit in (best, second):
        assert sum(hit["contributions"].values()) == pytest.approx(hit["score"], abs=1e-6)
        assert list(hit["contributions"]) == [A, B]

    shown = command("query", "How do I rotate a key?", *on)
    shares = " + ".join(f"{share:.3f} {key}" for key, share in best["contributions"].items())
    assert f"1. {best['score']:.3f} = {shares}" in shown.out
    assert best["chunk"]["text"] in shown.out

    (status,) = command("status", "--json").json["corpora"]
    assert status["deployment"]["models"] == [A, B]
    assert f"combined │ {A}+{B}" in " ".join(command("status").out.replace("\n", " ").split())


@pytest.mark.usefixtures("handbook")
def test_weights_are_a_rule_or_numbers_in_the_order_given(command: Command) -> None:
    on = ("--corpus", "handbook", "--json")
    equal = command("deploy", f"{A}+{B}", *on, "--weights", "equal").json
    assert equal["weights"] == [0.5, 0.5]
    explicit = command("deploy", "wordllama+minilm", *on, "--weights", "0.25, 0.75").json
    assert dict(zip(explicit["models"], explicit["weights"], strict=True)) == {B: 0.25, A: 0.75}
    alone = command("deploy", "wordllama", *on).json
    assert (alone["models"], alone["weights"]) == ([B], [1.0])


REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no such corpus to ask": (("query", "x", "-c", "none"), 2, "expected a corpus 'none', found handbook"),
    "no such corpus to serve": (("deploy", A, "-c", "none"), 2, "expected a corpus 'none', found handbook"),
    "no such corpus to show": (("status", "-c", "none"), 2, "expected a corpus 'none', found handbook"),
    "no such store": (("query", "x", "-c", "handbook", "--store", "none"), 2, "found no corpus"),
    "nothing deployed": (("query", "x", "-c", "handbook"), 2, f"Make one with `tandem deploy {A}+{B}"),
    "no such model": (("deploy", "minilm+other", "-c", "handbook"), 2, "got 'other'"),
    "a model twice": (("deploy", f"minilm+{A}", "-c", "handbook"), 2, "expected different models"),
    "an unknown rule": (("deploy", A, "-c", "handbook", "--weights", "best"), 2, "--weights: expected"),
    "too few weights": (("deploy", f"{A}+{B}", "-c", "handbook", "--weights", "1"), 2, "2 numbers"),
    "weights beyond 1": (("deploy", f"{A}+{B}", "-c", "handbook", "--weights", "1,1"), 2, "sum to 1"),
    "two stores": (("status", "--store", "x", "--url", "http://127.0.0.1:9"), 2, "got both"),
    "no server": (("status", "--url", "http://127.0.0.1:9"), 3, "expected an answer"),
    "no corpus named": (("query", "x"), 2, "Missing option '--corpus'"),
    "less than no hits": (("query", "x", "-c", "handbook", "-k", "-1"), 2, "Invalid value"),
    "no such command": (("combine",), 2, "No such command 'combine'"),
}


@pytest.mark.usefixtures("handbook")
@pytest.mark.parametrize(("arguments", "status", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_in_words_and_nothing_is_harmed(
    command: Command, contents: Contents, arguments: tuple[str, ...], status: int, message: str
) -> None:
    store = EmbeddedStore("tandem-store")
    before = contents(store, "handbook")
    ran = command(*arguments)
    assert ran.status == status, ran.err
    assert message in " ".join(ran.err.split())
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert not Path("none").exists()
    assert contents(store, "handbook").differences(before) == []


@pytest.mark.usefixtures("handbook")
def test_a_model_that_is_not_where_it_was_is_4_and_says_where_that_was(command: Command) -> None:
    on = ("--corpus", "handbook")
    assert command("deploy", "wordllama", *on).status == 0
    record = Path("tandem-store/handbook/tandem.json")
    record.write_text(record.read_text().replace('"wordllama"', '"/another/machine/wordllama"'))
    for arguments in (("query", "keys", *on), ("ingest", "run", HANDBOOK, *on)):
        ran = command(*arguments)
        assert ran.status == 4
        assert "model '/another/machine/wordllama': expected a folder with a model" in ran.err
    given = command("ingest", "run", HANDBOOK, *on, "--models", "wordllama")  # where it is now
    assert given.status == 0, given.err


@pytest.mark.usefixtures("handbook")
def test_what_an_ingest_that_was_cut_short_has_left_out_is_shown_and_refused(command: Command) -> None:
    with Corpus.open(EmbeddedStore("tandem-store"), "handbook") as corpus:
        spec = load_model("wordllama").spec
        corpus.add_models([type(spec)(**{**_fields(spec), "name": "other/late"})])
    shown = " ".join(command("status").out.replace("│", " ").split())
    assert "missing for 8 chunks" in shown
    refused = command("deploy", "minilm+late", "--corpus", "handbook")
    assert refused.status == 3
    assert "Run the same `ingest run` again" in refused.err


def _fields(spec: Any) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__dataclass_fields__}


@pytest.mark.usefixtures("handbook")
def test_settings_come_from_the_file_then_the_environment_then_flags(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("tandem-store").rename("elsewhere")
    Path("tandem.toml").write_text('store = "elsewhere"\ncorpus = "nonesuch"\n[deploy]\nweights = "equal"\n')
    assert "expected a corpus 'nonesuch', found handbook" in command("query", "keys").err
    monkeypatch.setenv("TANDEM_CORPUS", "handbook")
    assert command("deploy", f"{A}+{B}", "--json").json["weighting"] == "equal"
    assert (
        command("deploy", f"{A}+{B}", "--weights", "calibrated", "--json").json["weighting"] == "calibrated"
    )
    assert command("query", "keys").status == 0
    assert command("query", "keys", "--corpus", "nonesuch").status == 2
    Path("tandem.toml").write_text('stroe = "elsewhere"')
    misspelt = command("status")
    assert misspelt.status == 2
    assert "stroe" in misspelt.err


def test_a_traceback_is_printed_with_debug_and_not_without(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import tandem.cli; tandem.cli.main()"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )

    quiet = run("status", "--corpus", "none")
    assert quiet.returncode == 2
    assert "Traceback" not in quiet.stderr
    assert quiet.stderr.startswith("error: store ")
    loud = run("status", "--corpus", "none", "--debug")
    assert loud.returncode == 2
    assert "Traceback" in loud.stderr
    assert "CorpusNotFoundError" in loud.stderr


@pytest.mark.usefixtures("handbook")
def test_every_command_speaks_json(command: Command) -> None:
    judged = ("--queries", ROOT / "examples/handbook-queries.jsonl")
    judged += ("--qrels", ROOT / "examples/handbook-qrels.tsv")
    for arguments in (
        ("ingest", "run", HANDBOOK, "--quiet"),
        ("ingest", "status"),
        ("status",),
        ("evaluate", *judged, "--models", "wordllama"),
        ("deploy", "wordllama"),
        ("query", "What happens when a key leaks?"),
    ):
        ran = command(*arguments, "--corpus", "handbook", "--json")
        assert ran.status == 0, ran.err
        assert isinstance(json.loads(ran.out), dict)
        assert ran.err == ""

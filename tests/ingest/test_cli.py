"""`ingest run` and `ingest status` as a user meets them: what they print, where, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest import ingest, open_source
from retriever.models import load_model
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import VectorStore

ROOT = Path(__file__).resolve().parents[2]
HANDBOOK = ROOT / "examples" / "handbook"
KEY = "word-llama-l2-supercat-256"

Command = Callable[..., Any]
Contents = Callable[[VectorStore, str], Any]


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the handbook in it, which no test may change."""
    folder = tmp_path_factory.mktemp("handbook")
    ingest(open_source(HANDBOOK), EmbeddedStore(folder), "handbook", models=[load_model("wordllama")])
    return folder


@pytest.fixture
def unharmed(handbook: Path, contents: Contents) -> Iterator[Path]:
    """The store of the handbook, which has changed in nothing when the test is over."""
    store = EmbeddedStore(handbook)
    before = contents(store, "handbook")
    yield handbook
    assert store.names() == ["handbook"]
    assert contents(store, "handbook").differences(before) == []


def corpus_file(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def line(doc_id: str, text: str) -> str:
    return json.dumps({"_id": doc_id, "text": text})


# ── what it does ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_says_what_it_stored_and_a_second_one_that_nothing_was_new(command: Command) -> None:
    first = command("ingest", "run", HANDBOOK, "--corpus", "handbook", "--models", "wordllama")
    assert first.status == 0, first.err
    assert "Corpus 'handbook' in " in first.out
    assert "8 chunks. Documents: 8 new, 0 changed, 0 unchanged, 0 failed. Written: 8 chunks, " in first.out
    assert "chunks per second" in first.out
    assert KEY in first.out
    assert Path("tandem-store/handbook/tandem.json").is_file()

    again = command("ingest", "run", HANDBOOK, "--corpus", "handbook")  # with the models it has
    assert again.status == 0, again.err
    assert "Documents: 0 new, 0 changed, 8 unchanged, 0 failed. Written: 0 chunks, 0 tokens" in again.out
    assert "chunks per second" not in again.out


def test_json_is_one_object_and_nothing_is_said_beside_it(command: Command, tmp_path: Path) -> None:
    source = tmp_path / "documents"
    shutil.copytree(HANDBOOK, source)
    (source / "scan.pdf").write_bytes(b"%PDF")
    (source / "Makefile").write_text("all:")
    arguments = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama", "--json", "--quiet")
    ran = command(*arguments)
    assert (ran.status, ran.err) == (0, "")
    assert ran.json["new"] == ran.json["chunks"] == 8
    assert ran.json["failed"] == []
    assert ran.json["skipped"] == {".pdf": 1, "": 1}
    assert ran.json["models"][KEY]["texts"] == 8
    assert ran.json["models"][KEY]["chunks_per_second"] > 0
    assert command(*arguments).json["unchanged"] == 8


def test_files_left_aside_and_documents_elsewhere_are_noted(command: Command, tmp_path: Path) -> None:
    source = tmp_path / "documents"
    source.mkdir()
    (source / "a.txt").write_text("Basil wants sun.")
    (source / "scan.pdf").write_bytes(b"%PDF")
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama")
    assert "note: files of other kinds were left aside: 1 .pdf." in command(*run).err
    (source / "a.txt").rename(source / "b.txt")
    assert "note: documents of the corpus that are not in this source, and stay: 1." in command(*run).err
    assert command(*run, "--quiet").err == ""


def test_progress_is_shown_on_a_terminal_alone(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = corpus_file(tmp_path / "c.jsonl", line("a", "Basil wants sun."))
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama")
    assert command(*run).err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    hidden_cursor = "\x1b[?25l"  # how a bar begins
    assert hidden_cursor in command(*run).err
    assert hidden_cursor not in command(*run, "--quiet").err
    assert hidden_cursor not in command(*run, "--json").err


def test_models_and_combinations_can_be_given_by_any_of_their_names(command: Command, tmp_path: Path) -> None:
    shared = shared_models()
    small = shared / "paraphrase-MiniLM-L3-v2"
    source = corpus_file(tmp_path / "c.jsonl", line("a", "Basil wants sun."), line("b", "Ferries leave."))
    run = ("ingest", "run", source, "-c", "c", "--chunk-tokens", "64")
    ran = command(*run, "-m", f"wordllama, {small}", "--combine", f"wordllama+{small.name}")
    assert ran.status == 0, ran.err
    ran = command(*run, "--combine", f"{small}+wordllama")
    assert ran.status == 0, ran.err
    (status,) = command("ingest", "status", "--json").json["corpora"]
    assert status["manifest"]["combinations"] == [[KEY, small.name]]
    assert set(status["missing"].values()) == {0}


def test_the_settings_file_and_the_environment_give_defaults(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = corpus_file(tmp_path / "c.jsonl", line("a", "Basil wants sun. " * 20))
    settings = (
        'store = "from-file"\ncorpus = "from-file"\n[ingest.run]\nmodels = "wordllama"\nchunk_tokens = 40'
    )
    (tmp_path / "tandem.toml").write_text(settings)
    assert command("ingest", "run", source).status == 0
    monkeypatch.setenv("TANDEM_CORPUS", "from-environment")
    assert command("ingest", "run", source).status == 0
    assert command("ingest", "run", source, "--corpus", "from-flag").status == 0
    store = EmbeddedStore(tmp_path / "from-file")
    assert store.names() == ["from-environment", "from-file", "from-flag"]
    monkeypatch.delenv("TANDEM_CORPUS")
    (status,) = command("ingest", "status", "--json").json["corpora"]
    assert status["manifest"]["chunker"]["max_tokens"] == 40


# ── some documents fail: 5 ───────────────────────────────────────────────────────────────────────────────


def test_an_undecodable_file_fails_alone_and_is_named_with_the_way_out(
    command: Command, tmp_path: Path
) -> None:
    source = tmp_path / "documents"
    shutil.copytree(HANDBOOK, source)
    (source / "menu.txt").write_bytes("Café crème".encode("latin-1"))
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama")
    ran = command(*run)
    assert ran.status == 5
    assert "Documents: 8 new, 0 changed, 0 unchanged, 1 failed." in ran.out
    assert f"failed: {source / 'menu.txt'}: not UTF-8 at byte 3 (0xe9)" in ran.err
    assert "iconv -f LATIN1" in ran.err
    assert "error: 1 document failed; all others are stored." in ran.err
    assert "Traceback" not in ran.err

    (source / "menu.txt").write_text("Café crème", encoding="utf-8")
    assert "Documents: 1 new, 0 changed, 8 unchanged, 0 failed." in command(*run).out


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ('{"_id": "b", "text": ', "broken JSON"),
        ('{"_id": "a", "text": "once more"}', "duplicate id 'a': line 1 has it too"),
        ('{"_id": "b", "text": "t", "metadata": {"doc_id": "x"}}', "doc_id"),
        ('["b", "text"]', "expected a JSON object, got a list"),
    ],
)
def test_a_broken_line_fails_alone_and_is_named(
    command: Command, tmp_path: Path, second: str, reason: str
) -> None:
    source = corpus_file(tmp_path / "corpus.jsonl", line("a", "Basil."), second, line("c", "Ferry."))
    ran = command("ingest", "run", source, "--corpus", "c", "--models", "wordllama")
    assert ran.status == 5
    where = "b" if reason == "doc_id" else f"{source}:2"
    assert f"failed: {where}: " in ran.err
    assert reason in ran.err
    assert "2 new, 0 changed, 0 unchanged, 1 failed" in ran.out


def test_of_many_failures_some_are_shown_and_json_lists_all(command: Command, tmp_path: Path) -> None:
    source = corpus_file(tmp_path / "c.jsonl", *["{"] * 12, line("a", "Basil."))
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama")
    ran = command(*run)
    assert ran.status == 5
    assert ran.err.count("failed: ") == 10
    assert "… and 2 more: --json lists all." in ran.err
    assert "error: 12 documents failed" in ran.err
    ran = command(*run, "--json")
    assert ran.status == 5
    assert [failed["where"] for failed in ran.json["failed"]] == [f"{source}:{i}" for i in range(1, 13)]


# ── refused, and nothing is harmed ───────────────────────────────────────────────────────────────────────

REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no such path": (("nowhere", "-m", "wordllama"), 2, "nowhere: expected a folder"),
    "an empty folder": (("empty", "-m", "wordllama"), 2, "empty: expected files of type"),
    "a folder of pictures": (("pictures", "-m", "wordllama"), 2, "files found: 1 (.png)"),
    "an empty corpus": (("empty.jsonl", "-m", "wordllama"), 2, "got an empty file"),
    "a picture": (("pictures/a.png", "-m", "wordllama"), 2, "expected a file of type .jsonl"),
    "no model": (("good.jsonl",), 2, "expected at least one model for a new corpus, got none"),
    "no name between commas": (("good.jsonl", "-m", "wordllama,"), 2, "expected names separated by ','"),
    "no such short name": (("good.jsonl", "-m", "nonesuch"), 4, "expected one of minilm, wordllama"),
    "no such hub name": (("good.jsonl", "-m", "no-one/nonesuch"), 4, "no-one/nonesuch"),
    "no such model folder": (("good.jsonl", "-m", "./models/none"), 4, "got no such folder"),
    "a file as model": (("good.jsonl", "-m", "./good.jsonl"), 4, "got a file"),
    "two stores": (("good.jsonl", "-m", "wordllama", "--url", "http://127.0.0.1:9"), 2, "got both"),
    "a combination of one": (
        ("good.jsonl", "-m", "wordllama", "--combine", "wordllama"),
        2,
        "expected two models or more",
    ),
    "an unknown combination": (
        ("good.jsonl", "-m", "wordllama", "--combine", "wordllama+minilm"),
        2,
        "got 'minilm'",
    ),
    "chunks of nothing": (("good.jsonl", "-m", "wordllama", "--chunk-tokens", "0"), 2, "chunk tokens"),
    "too much overlap": (("good.jsonl", "-m", "wordllama", "--chunk-overlap", "200"), 2, "chunk overlap"),
    "a name that is a path": (("good.jsonl", "-m", "wordllama", "-c", "../c"), 2, "corpus name: expected"),
    "other chunks": (
        ("good.jsonl", "-m", "wordllama", "-c", "handbook", "--chunk-tokens", "99"),
        4,
        "expected 256, as it was made with, got 99",
    ),
    "no number": (("good.jsonl", "--chunk-tokens", "many"), 2, "Invalid value"),
    "no such option": (("good.jsonl", "--fast"), 2, "No such option"),
}


@pytest.mark.parametrize(("arguments", "status", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_in_words_and_nothing_is_harmed(
    command: Command,
    unharmed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # no network
    for folder in ("empty", "pictures"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"\x89PNG")
    corpus_file(tmp_path / "good.jsonl", line("a", "Basil."))
    corpus_file(tmp_path / "empty.jsonl", "", " ")
    corpus = () if "-c" in arguments else ("--corpus", "new")
    ran = command("ingest", "run", *arguments, *corpus, "--store", unharmed)
    assert ran.status == status, ran.err
    assert message in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    if "Usage" not in ran.err:
        assert len(ran.err.splitlines()) == 1
        assert ran.err.startswith("error: ")


def test_a_server_that_does_not_answer_is_3(command: Command, tmp_path: Path) -> None:
    source = corpus_file(tmp_path / "c.jsonl", line("a", "Basil."))
    for arguments in (("run", source, "-m", "wordllama", "-c", "c"), ("status",)):
        ran = command("ingest", *arguments, "--url", "http://127.0.0.1:9")
        assert ran.status == 3
        assert "error: Qdrant server http://127.0.0.1:9: expected an answer" in ran.err
        assert "Check that the server runs" in ran.err


def test_a_model_like_the_stored_one_but_with_another_prompt_is_refused(
    command: Command, tmp_path: Path, contents: Contents
) -> None:
    original = shared_models() / "e5-small-v2"
    source = corpus_file(tmp_path / "c.jsonl", line("a", "Basil wants sun."), line("b", "Ferries leave."))
    run = ("ingest", "run", source, "--corpus", "c")
    assert command(*run, "-m", original).status == 0
    store = EmbeddedStore(tmp_path / "tandem-store")
    before = contents(store, "c")

    copy = tmp_path / "e5-small-v2"
    copy.mkdir()
    for file in original.iterdir():
        (copy / file.name).symlink_to(file)
    card = json.loads((original / "card.json").read_text(encoding="utf-8"))
    given = json.dumps(card).replace("passage: ", "text: ")
    assert given != json.dumps(card)
    (copy / "card.json").unlink()
    (copy / "card.json").write_text(given, encoding="utf-8")

    corpus_file(source, line("a", "Basil wants sun."), line("new", "More."))
    ran = command(*run, "-m", copy)
    assert ran.status == 4
    assert "document_prompt 'passage: ', got 'text: '" in ran.err
    assert "or ingest into a corpus of another name" in ran.err
    assert contents(store, "c").differences(before) == []


HOLD = """
import sys
from retriever.store.embedded import EmbeddedStore
collection = EmbeddedStore(sys.argv[1]).open("handbook")
print("open", flush=True)
sys.stdin.read()
"""


def test_a_store_that_another_process_has_open_is_3_and_unharmed(command: Command, unharmed: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, unharmed], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        run = ("ingest", "run", HANDBOOK, "--corpus", "handbook", "-m", "wordllama")
        others = (
            ("status",),
            ("deploy", KEY, "--corpus", "handbook"),
            ("query", "keys", "--corpus", "handbook"),
        )
        for arguments in (run, *others):
            ran = command(*arguments, "--store", unharmed)
            assert ran.status == 3, ran.err
            assert "expected to be the only process that has it open" in ran.err
        holder.communicate(input="")


# ── status ───────────────────────────────────────────────────────────────────────────────────────────────


def test_status_shows_what_a_store_holds(command: Command, unharmed: Path) -> None:
    shown = command("ingest", "status", "--store", unharmed)
    assert shown.status == 0
    for words in ("corpus handbook", "8 of at most 256 tokens", "dleemiller/word-llama", "nothing yet"):
        assert words in shown.out
    told = command("ingest", "status", "--store", unharmed, "--json").json
    assert told["store"] == str(unharmed)
    (corpus,) = told["corpora"]
    assert (corpus["documents"], corpus["chunks"], corpus["deployment"]) == (8, 8, None)
    assert corpus["missing"] == {KEY: 0}


def test_status_of_an_empty_store_says_how_to_fill_it(command: Command, tmp_path: Path) -> None:
    shown = command("ingest", "status")
    assert shown.status == 0
    assert "No corpus in" in shown.out
    assert "ingest run" in shown.out
    assert not (tmp_path / "tandem-store").exists()


def test_status_of_an_unknown_corpus_is_2(command: Command, unharmed: Path) -> None:
    ran = command("ingest", "status", "--store", unharmed, "--corpus", "hanbdook")
    assert ran.status == 2
    assert "expected a corpus 'hanbdook', found handbook" in ran.err


def shared_models() -> Path:
    folder = Path(os.environ.get("TANDEM_SHARED", ROOT.parent / "shared")) / "models"
    if not folder.is_dir():
        pytest.skip(f"no models at {folder}: TANDEM_SHARED names the folder that has them")
    return folder

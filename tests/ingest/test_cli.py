"""`ingest run` and `ingest status` as a user meets them: what they print, where, and how they end."""

from __future__ import annotations

import io
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
from ingest.reports import read_failures
from retriever.corpus import Corpus
from retriever.models import load_model
from retriever.models.threads import THREADS
from retriever.records import Document
from retriever.store.embedded import EmbeddedStore
from retriever.store.protocol import VectorStore
from retriever.testing import FakeModel

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
    assert "texts per second" in first.out
    assert KEY in first.out
    assert Path("tandem-store/handbook/tandem.json").is_file()

    again = command("ingest", "run", HANDBOOK, "--corpus", "handbook")  # with the models it has
    assert again.status == 0, again.err
    assert "Documents: 0 new, 0 changed, 8 unchanged, 0 failed. Written: 0 chunks, 0 tokens" in again.out
    assert "texts per second" not in again.out


def test_json_is_one_object_and_nothing_is_said_beside_it(command: Command, tmp_path: Path) -> None:
    source = tmp_path / "documents"
    shutil.copytree(HANDBOOK, source)
    (source / "scan.png").write_bytes(b"\x89PNG")
    (source / "Makefile").write_text("all:")
    arguments = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama", "--json", "--quiet")
    ran = command(*arguments)
    assert (ran.status, ran.err) == (0, "")
    assert ran.json["new"] == ran.json["chunks"] == 8
    assert ran.json["failed"] == []
    assert ran.json["skipped"] == {".png": 1, "": 1}
    assert ran.json["models"][KEY]["texts"] == 8
    assert ran.json["models"][KEY]["chunks_per_second"] > 0
    assert command(*arguments).json["unchanged"] == 8


def test_files_left_aside_and_documents_elsewhere_are_noted(command: Command, tmp_path: Path) -> None:
    source = tmp_path / "documents"
    source.mkdir()
    (source / "a.txt").write_text("Basil wants sun.")
    (source / "scan.png").write_bytes(b"\x89PNG")
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama")
    assert "note: files of other kinds were left aside: 1 .png." in command(*run).err
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
    assert status["manifest"]["combinations"] == [{"parts": [KEY, small.name], "storage": "float32"}]
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


def test_quiet_is_quiet_whatever_there_is_to_tell(command: Command, tmp_path: Path) -> None:
    source = tmp_path / "documents"
    source.mkdir()
    for name in ("a.txt", "b.txt"):
        (source / name).write_text("Basil wants sun.")
    (source / "scan.png").write_bytes(b"\x89PNG")
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama")
    told = command(*run)
    assert told.err.count("note: ") >= 2, told.err
    shutil.rmtree(tmp_path / "tandem-store")
    for _ in range(2):
        ran = command(*run, "--quiet")
        assert (ran.status, ran.err) == (0, "")
        (source / "b.txt").unlink(missing_ok=True)
    assert command(*run, "--quiet", "--dry-run").err == ""


# ── pruning, dry runs, made anew ─────────────────────────────────────────────────────────────────────────


def documents_of(folder: Path, corpus: str = "c") -> set[str]:
    with Corpus.open(EmbeddedStore(folder), corpus) as opened:
        return opened.document_ids()


def test_prune_removes_what_the_source_no_longer_has(command: Command, tmp_path: Path) -> None:
    source = corpus_file(tmp_path / "c.jsonl", line("a", "Basil wants sun."), line("b", "Ferries leave."))
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama")
    assert command(*run).status == 0
    corpus_file(source, line("b", "Ferries leave."), line("c", "More."))
    assert "1 new, 0 changed, 1 unchanged, 0 failed" in command(*run).out  # not asked for, nothing removed
    ran = command(*run, "--prune")
    assert ran.status == 0, ran.err
    assert "Documents: 0 new, 0 changed, 2 unchanged, 1 removed, 0 failed." in ran.out
    assert documents_of(tmp_path / "tandem-store") == {"b", "c"}


def test_prune_says_why_nothing_was_removed(command: Command, tmp_path: Path) -> None:
    source = corpus_file(tmp_path / "c.jsonl", line("a", "Basil wants sun."), line("b", "Ferries leave."))
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama", "--prune")
    assert command(*run).status == 0
    corpus_file(source, line("a", "Basil wants sun."), "{")
    ran = command(*run)
    assert ran.status == 5
    assert f"note: nothing was pruned: {source}:2 could not be read" in ran.err
    ran = command(*run, "--dry-run")
    assert f"note: nothing would be pruned: {source}:2 could not be read" in ran.err
    assert command(*run, "--json").json["prune_refused"].startswith(f"{source}:2")
    assert documents_of(tmp_path / "tandem-store") == {"a", "b"}


def test_a_dry_run_says_what_would_be_done_and_leaves_no_trace(
    command: Command, unharmed: Path, tmp_path: Path
) -> None:
    source = tmp_path / "documents"
    shutil.copytree(HANDBOOK, source)
    first, second, third, *_ = sorted(path.name for path in source.iterdir())
    (source / first).unlink()
    (source / second).write_text("Something else altogether.")
    (source / "new.txt").write_text("A new page.")
    (source / "bad.md").write_bytes(b"\xff\x00\xfe broken")
    before = sorted(tmp_path.iterdir())
    run = ("ingest", "run", source, "--corpus", "handbook", "--store", unharmed, "--dry-run")
    ran = command(*run, "--prune", "--summary", "s.json", "--failed", "f.jsonl")
    assert ran.status == 0, ran.err
    assert ran.out.startswith("Nothing was written. Corpus 'handbook' in ")
    assert "is there. Documents: 1 new, 1 changed, 6 unchanged, 1 to remove, 1 that fail." in ran.out
    assert "Chunks: 2 to write, 0 of them with vectors of equal text; 2 to remove." in ran.out
    assert f"new: new.txt\nchanged: {second}\nto remove: {first}\n" in ran.out
    assert f"failed: {source / 'bad.md'}: " in ran.err
    for words in ("texts to embed", KEY, "under 1 s", "estimated from 2 texts"):
        assert words in ran.out
    assert third not in ran.out

    told = command(*run, "--json").json
    assert (told["new"], told["changed"], told["removed"]) == (["new.txt"], [second], [])
    assert (told["unchanged"], told["elsewhere"], len(told["failed"])) == (6, 1, 1)
    work = told["embed"][KEY]
    assert (work["texts"], work["tokens"] > 2, work["seconds"] > 0) == (2, True, True)
    assert told["seconds"] == pytest.approx(work["seconds"])
    assert sorted(tmp_path.iterdir()) == before  # no summary, no list, no store


def test_a_dry_run_for_a_new_corpus_creates_nothing(command: Command, tmp_path: Path) -> None:
    ran = command("ingest", "run", HANDBOOK, "--corpus", "c", "--models", "wordllama", "--dry-run")
    assert ran.status == 0, ran.err
    assert "would be created. Documents: 8 new, 0 changed, 0 unchanged, 0 to remove, 0 that fail." in ran.out
    assert ", … and 8 more" not in ran.out
    assert list(tmp_path.iterdir()) == []


def test_recreate_makes_one_corpus_anew_and_leaves_the_others(
    command: Command, tmp_path: Path, contents: Contents
) -> None:
    source = corpus_file(tmp_path / "c.jsonl", line("a", "Basil wants sun."), line("b", "Ferries leave."))
    run = ("ingest", "run", source, "--models", "wordllama", "--chunk-tokens")
    for name in ("one", "other"):
        assert command(*run, "64", "--corpus", name).status == 0
    assert command("deploy", KEY, "--corpus", "one").status == 0
    store = EmbeddedStore(tmp_path / "tandem-store")
    other = contents(store, "other")
    corpus_file(source, line("c", "Something new."))
    plan = command(*run, "32", "--corpus", "one", "--recreate", "--dry-run")
    assert "would be deleted with all it holds and made anew. Documents: 1 new" in plan.out
    ran = command(*run, "32", "--corpus", "one", "--recreate")
    assert ran.status == 0, ran.err
    assert "1 chunks. Documents: 1 new, 0 changed, 0 unchanged, 0 failed." in ran.out
    record = contents(store, "one").record
    assert record["manifest"]["chunker"]["max_tokens"] == 32
    assert record["deployments"] == []
    assert documents_of(tmp_path / "tandem-store", "one") == {"c"}
    assert contents(store, "other").differences(other) == []


# ── what failed, and again ───────────────────────────────────────────────────────────────────────────────


def test_what_failed_is_listed_and_can_be_run_alone(command: Command, tmp_path: Path) -> None:
    good = [line(f"g{i}", f"Page {i}.") for i in range(3)]
    source = corpus_file(tmp_path / "c.jsonl", *good, line("x", " "), line("y", ""))
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama")
    listed = tmp_path / "c.failed.jsonl"
    assert command(*run).status == 5
    assert [one.doc_id for one in read_failures(listed)] == ["x", "y"]

    corpus_file(source, line("g0", "Changed, and not retried."), *good[1:], line("x", "Now."), line("y", ""))
    ran = command(*run, "--retry-failed", listed, "--json")
    assert (ran.status, ran.json["new"], ran.json["changed"], ran.json["unchanged"]) == (5, 1, 0, 0)
    assert ran.json["models"][KEY]["texts"] == 1
    assert [one.doc_id for one in read_failures(listed)] == ["y"]  # rewritten

    corpus_file(source, *good, line("x", "Now."), line("y", "And now."))
    ran = command(*run, "--retry-failed", listed, "--json")
    assert (ran.status, ran.json["new"], ran.json["models"][KEY]["texts"]) == (0, 1, 1)
    assert not listed.exists()
    assert command(*run, "--json").json["unchanged"] == 5


def test_the_list_lies_where_it_was_asked_for(command: Command, tmp_path: Path) -> None:
    source = corpus_file(tmp_path / "c.jsonl", line("a", "Basil."), line("x", " "))
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama")
    listed = tmp_path / "mine.jsonl"
    ran = command(*run, "--failed", listed)
    assert f"The list is in {listed}." in ran.err
    assert f"--retry-failed {listed}" in ran.err
    assert not (tmp_path / "c.failed.jsonl").exists()
    assert command(*run, "--retry-failed", listed).status == 5
    assert not (tmp_path / "c.failed.jsonl").exists()  # what still fails is in the list that was given
    corpus_file(source, line("a", "Basil."), line("x", "Now."))
    assert command(*run, "--retry-failed", listed).status == 0
    assert not listed.exists()


def test_where_nobody_knows_what_failed_all_is_read_again(command: Command, tmp_path: Path) -> None:
    source = corpus_file(tmp_path / "c.jsonl", line("a", "Basil."), "{")
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama")
    assert command(*run).status == 5
    corpus_file(source, line("a", "Basil."), line("b", "Ferries."))
    ran = command(*run, "--retry-failed", "c.failed.jsonl", "--json")
    assert (ran.status, ran.json["new"], ran.json["unchanged"]) == (0, 1, 1)


# ── for programs: the summary and the log ────────────────────────────────────────────────────────────────


def test_the_summary_says_how_the_run_ended(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = corpus_file(tmp_path / "c.jsonl", line("a", "Basil."))
    run = ("ingest", "run", source, "--corpus", "c", "--summary", "s.json")

    def summary() -> Any:
        return json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))

    ran = command(*run, "-m", "nonesuch")
    assert (ran.status, summary()["outcome"], summary()["exit_status"]) == (4, "error", 4)
    assert summary()["error"] in ran.err
    assert command(*run, "-m", "wordllama").status == 0
    assert (summary()["outcome"], summary()["exit_status"], summary()["new"]) == ("done", 0, 1)
    assert summary()["started"] < summary()["finished"]
    corpus_file(source, line("a", "Basil."), line("x", " "))
    ran = command(*run, "--json")
    assert (ran.status, summary()["outcome"], summary()["exit_status"]) == (5, "done", 5)
    assert summary()["failed"] == ran.json["failed"]

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ingest.run.ingest", interrupt)
    monkeypatch.setattr("retriever.console._leave", lambda _: None)  # it would end the tests as well
    assert command(*run).status == 130
    assert (summary()["outcome"], summary()["exit_status"]) == ("interrupted", 130)
    assert sorted(path.name for path in tmp_path.glob("*s*")) == [
        "c.failed.jsonl",
        "c.jsonl",
        "s.json",
        "tandem-store",
    ]


def entries_of(ran: Any) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [json.loads(line) for line in ran.err.splitlines()]
    assert all({"time", "level", "event"} <= set(entry) for entry in entries)
    return entries


def test_with_a_json_log_every_line_is_an_object(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retriever.models import packaged

    load = packaged.load_packaged

    def noisily(*arguments: Any, **options: Any) -> Any:
        import logging
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("this is old", FutureWarning, stacklevel=1)
        logging.getLogger("some.library").error("this is\ntwo lines")
        sys.stderr.write("Loading weights:  50%\rLoading weights: 100%\n")
        return load(*arguments, **options)

    monkeypatch.setattr("retriever.models.catalog.load_packaged", noisily)
    monkeypatch.setattr("retriever.models.catalog._loaded", {})
    source = tmp_path / "documents"
    shutil.copytree(HANDBOOK, source)
    (source / "scan.png").write_bytes(b"\x89PNG")
    (source / "empty.txt").write_text(" ")
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama", "--log", "json", "--json")
    ran = command(*run)
    assert (ran.status, ran.json["new"]) == (5, 8)
    entries = entries_of(ran)
    said = [entry["message"] for entry in entries if entry["event"] == "message"]
    assert "FutureWarning: this is old" in said[0]
    assert said[1:] == ["this is\ntwo lines", "Loading weights: 100%"]
    events = [entry["event"] for entry in entries if entry["event"] != "message"]
    assert events[0] == "started"
    assert set(events[1:-2]) == {"progress", "failed"}
    assert events[-2:] == ["finished", "error"]
    started, finished, error = entries[len(said)], entries[-2], entries[-1]
    assert (started["corpus"], started["documents"]) == ("c", 9)
    assert (finished["new"], finished["failed"], finished["skipped"]) == (8, 1, {".png": 1})
    (failed,) = (entry for entry in entries if entry["event"] == "failed")
    assert (failed["doc_id"], failed["level"]) == ("empty.txt", "warning")
    assert (error["level"], error["message"].startswith("1 document failed")) == ("error", True)


def test_with_a_json_log_errors_are_objects_and_end_as_ever(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = corpus_file(tmp_path / "c.jsonl", line("a", "Basil."))
    run = ("ingest", "run", source, "--corpus", "c", "--log", "json")
    *_, entry = entries_of(command(*run))
    assert (entry["event"], entry["level"]) == ("error", "error")
    assert entry["message"].startswith("corpus 'c': expected at least one model")

    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("ingest.run.ingest", crash)
    ran = command("--debug", *run, "-m", "wordllama")
    entries = entries_of(ran)
    assert ran.status == 1
    assert any(entry["message"].startswith("Traceback") for entry in entries if entry["event"] == "message")
    assert "unexpected error: ZeroDivisionError: division by zero" in entries[-1]["message"]

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ingest.run.ingest", interrupt)
    monkeypatch.setattr("retriever.console._leave", lambda _: None)  # it would end the tests as well
    ran = command(*run, "-m", "wordllama")
    assert (ran.status, entries_of(ran)[-1]["message"]) == (130, "interrupted")
    plain = command("ingest", "status", "--corpus", "none")
    assert plain.err.startswith("error: ")  # the next command is as ever


# ── how documents are read and cut ───────────────────────────────────────────────────────────────────────


def test_documents_are_cut_as_asked(command: Command, tmp_path: Path) -> None:
    text = "# Herbs\n\nBasil wants sun. Mint does not.\n\n# Ferries\n\nThey leave at noon. Nobody waits."
    (tmp_path / "notes.md").write_text(text)
    run = ("ingest", "run", "notes.md", "--models", "wordllama", "--chunk-tokens", "24")
    for name, options in (
        ("words", ()),
        ("sentences", ("--chunking", "sentences", "--chunk-overlap", "4")),
        ("markdown", ("--chunking", "markdown", "--title-prefix")),
    ):
        ran = command(*run, "--corpus", name, *options)
        assert ran.status == 0, ran.err
        with Corpus.open(EmbeddedStore(tmp_path / "tandem-store"), name) as corpus:
            chunker = corpus.manifest.chunker
            assert (chunker.method, chunker.title_prefix) == (name, name == "markdown")
            assert chunker.overlap_tokens == (4 if name == "sentences" else 0)
            chunks = [chunk for page in corpus.chunks() for chunk in page]
            assert any("noon" in chunk.text for chunk in chunks)
    # All of it is as stored: options may be left out, and what is the same may be said again.
    assert "1 unchanged" in command(*run, "--corpus", "markdown").out
    assert "1 unchanged" in command(*run, "--corpus", "markdown", "--title-prefix").out
    assert command(*run, "--corpus", "markdown", "--no-title-prefix").status == 4


def test_files_are_chosen_by_patterns(command: Command, tmp_path: Path) -> None:
    source = tmp_path / "documents"
    (source / "drafts").mkdir(parents=True)
    for name in ("a.txt", "b.md", "drafts/c.txt", "drafts/d.md"):
        (source / name).write_text(f"The page {name}.")
    run = ("ingest", "run", source, "--corpus", "c", "--models", "wordllama", "--dry-run", "--json")
    assert command(*run, "--include", "*.txt").json["new"] == ["a.txt", "drafts/c.txt"]
    assert command(*run, "--exclude", "drafts/").json["new"] == ["a.txt", "b.md"]
    both = command(*run, "--include", "*.txt", "--include", "*.md", "--exclude", "d.md", "--exclude", "a.*")
    assert both.json["new"] == ["b.md", "drafts/c.txt"]
    assert command(*run, "--max-file-size", "1").json["failed"] == []
    (source / "a.txt").write_text("long " * 300_000)
    (failed,) = command(*run, "--max-file-size", "1").json["failed"]
    assert "too large" in failed["reason"]


def test_columns_of_a_table_are_chosen_by_name(command: Command, tmp_path: Path) -> None:
    rows = [
        "key;head;body;more;year;shelf",
        "k1;Herbs;Basil.;Mint.;2024;A",
        "k2;Ships;Ferries.;Boats.;2025;B",
    ]
    source = corpus_file(tmp_path / "c.csv", *rows)
    ran = command(
        *("ingest", "run", source, "--corpus", "c", "--models", "wordllama", "--delimiter", ";"),
        *("--text-column", "body", "--text-column", "more", "--id-column", "key", "--title-column", "head"),
        *("--metadata-column", "year", "--metadata-column", "shelf", "--number-column", "year"),
    )
    assert ran.status == 0, ran.err
    with Corpus.open(EmbeddedStore(tmp_path / "tandem-store"), "c") as corpus:
        chunks = {chunk.doc_id: chunk for page in corpus.chunks() for chunk in page}
    assert set(chunks) == {"k1", "k2"}
    assert "Basil.\n\nMint." in chunks["k1"].text
    assert {"year": 2024, "shelf": "A"}.items() <= chunks["k1"].metadata.items()
    assert chunks["k1"].metadata["title"] == "Herbs"


def test_documents_may_come_on_standard_input(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Input:
        def __init__(self, content: str) -> None:
            self.buffer = io.BytesIO(content.encode())

    run = ("ingest", "run", "-", "--corpus", "c", "--models", "wordllama", "--json")
    lines = "\n".join([line("a", "Basil wants sun."), line("b", "Ferries leave.")])
    monkeypatch.setattr("sys.stdin", Input(lines))
    assert command(*run).json["new"] == 2
    monkeypatch.setattr("sys.stdin", Input("One text, as it is."))
    ran = command(*run)
    assert (ran.json["new"], ran.json["elsewhere"]) == (1, 2)
    assert "stdin" in documents_of(tmp_path / "tandem-store")
    monkeypatch.setattr("sys.stdin", Input(" "))
    ran = command(*run)
    assert (ran.status, "got nothing" in ran.err) == (2, True)


def test_threads_are_those_asked_for(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (THREADS, "OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "7")  # so that it is put back afterwards
    run = ("ingest", "run", HANDBOOK, "--corpus", "c", "--models", "wordllama")
    assert command(*run, "--threads", "1").status == 0
    assert {os.environ[name] for name in (THREADS, "OMP_NUM_THREADS", "RAYON_NUM_THREADS")} == {"1"}


def test_the_settings_file_knows_the_options_by_their_names(command: Command, tmp_path: Path) -> None:
    (tmp_path / "tandem.toml").write_text(
        """
        [ingest.run]
        models = "wordllama"
        corpus = "c"
        chunking = "sentences"
        title_prefix = true
        include = ["*.md"]
        exclude = ["b.*"]
        max_file_size = 1
        prune = true
        failed = "listed.jsonl"
        summary = "s.json"
        log = "json"
        threads = 2
        over_length = "refuse"
        """
    )
    source = tmp_path / "documents"
    source.mkdir()
    for name in ("a.md", "b.md", "c.txt", "gone.md"):
        (source / name).write_text(f"The page {name}.")
    assert command("ingest", "run", source).status == 0
    (source / "gone.md").unlink()
    (source / "empty.md").write_text(" ")
    ran = command("ingest", "run", source)
    assert ran.status == 5
    entries = entries_of(ran)
    assert entries[-2]["removed"] == 1
    assert json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["removed"] == 1
    assert [one.doc_id for one in read_failures(tmp_path / "listed.jsonl")] == ["empty.md"]
    assert documents_of(tmp_path / "tandem-store") == {"a.md"}
    with Corpus.open(EmbeddedStore(tmp_path / "tandem-store"), "c") as corpus:
        assert (corpus.manifest.chunker.method, corpus.manifest.chunker.title_prefix) == ("sentences", True)


# ── drop-model ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_can_be_dropped_by_any_of_its_names(command: Command, tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "tandem-store")
    documents = [Document(doc_id=name, text=f"The page {name}.") for name in ("a", "b")]
    models = [load_model("wordllama"), FakeModel("acme/fake")]
    ingest(documents, store, "c", models=models, combine=[("wordllama", "fake")])
    dropped = command("ingest", "drop-model", "acme/fake", "--corpus", "c")
    assert dropped.status == 0, dropped.err
    assert dropped.out == "Corpus 'c' has no vectors of acme/fake any longer.\n"
    with Corpus.open(store, "c") as corpus:
        assert (corpus.manifest.keys, corpus.manifest.combinations) == ((KEY,), ())
    again = command("ingest", "drop-model", "fake", "--corpus", "c")
    assert (again.status, "fake" in again.err) == (2, True)
    last = command("ingest", "drop-model", "wordllama", "--corpus", "c")
    assert (last.status, "it is the only one" in last.err) == (2, True)
    assert command("ingest", "drop-model", "wordllama", "--corpus", "none").status == 2


def test_a_corpus_that_is_written_loses_no_model(command: Command, tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "tandem-store")
    models = [load_model("wordllama"), FakeModel("acme/fake")]
    ingest([Document(doc_id="a", text="A page.")], store, "c", models=models)
    with Corpus.open(store, "c") as corpus, corpus.lock():
        ran = command("ingest", "drop-model", "fake", "--corpus", "c", "--json")
        assert ran.status == 3, ran.err
    ran = command("ingest", "drop-model", "fake", "--corpus", "c", "--json")
    assert ran.json == {"corpus": "c", "dropped": "fake"}


# ── drop-corpus ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_corpus_is_deleted_only_on_purpose(command: Command, tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "tandem-store")
    ingest([Document(doc_id="a", text="A page.")], store, "c", models=[FakeModel("acme/fake")])
    refused = command("ingest", "drop-corpus", "c")
    assert refused.status == 2
    assert "--yes: expected it, as 1 chunks with their vectors" in refused.err
    assert store.names() == ["c"]
    gone = command("ingest", "drop-corpus", "c", "--yes")
    assert (gone.status, gone.out) == (0, "Corpus 'c' is deleted, with 1 chunks.\n")
    assert store.names() == []
    assert command("ingest", "drop-corpus", "c", "--yes").status == 2


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
    assert "… and 2 more." in ran.err
    assert "error: 12 documents failed" in ran.err
    assert "The list is in c.failed.jsonl." in ran.err
    assert len((tmp_path / "c.failed.jsonl").read_text(encoding="utf-8").splitlines()) == 12
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
    "no such backend": (("good.jsonl", "-m", "wordllama", "--backend", "gpu"), 2, "expected one of torch"),
    "no such backend, of no model": (
        ("good.jsonl", "--backend", "gpu"),
        2,
        "--backend: expected one of torch",
    ),
    "no such way with long chunks": (
        ("good.jsonl", "-m", "wordllama", "--over-length", "cut"),
        2,
        "expected one of refuse, windows, got 'cut'",
    ),
    "no such log": (("good.jsonl", "-m", "wordllama", "--log", "xml"), 2, "expected text or json, got 'xml'"),
    "no threads": (("good.jsonl", "-m", "wordllama", "--threads", "0"), 2, "Invalid value"),
    "no such chunking": (("good.jsonl", "-m", "wordllama", "--chunking", "pages"), 2, "got 'pages'"),
    "other chunking": (
        ("good.jsonl", "-c", "handbook", "--chunking", "sentences"),
        4,
        "--chunking: expected words, as it was made with, got sentences",
    ),
    "another title prefix": (
        ("good.jsonl", "-c", "handbook", "--title-prefix"),
        4,
        "--title-prefix: expected off, as it was made with, got on",
    ),
    "anew without a model": (
        ("good.jsonl", "-c", "handbook", "--recreate"),
        2,
        "expected at least one model for a new corpus, got none",
    ),
    "anew with a model that is not there": (
        ("good.jsonl", "-c", "handbook", "--recreate", "-m", "nonesuch"),
        4,
        "expected one of minilm, wordllama",
    ),
    "anew from nothing": (
        ("empty.jsonl", "-c", "handbook", "--recreate", "-m", "wordllama"),
        2,
        "got an empty file",
    ),
    "anew with a combination of one": (
        ("good.jsonl", "-c", "handbook", "--recreate", "-m", "wordllama", "--combine", "wordllama"),
        2,
        "expected two models or more",
    ),
    "no list of failures": (
        ("good.jsonl", "-m", "wordllama", "--retry-failed", "none.jsonl"),
        2,
        "none.jsonl: expected the list of failed documents of an earlier run, got: No such file",
    ),
    "a corpus as list of failures": (
        ("good.jsonl", "-m", "wordllama", "--retry-failed", "good.jsonl"),
        2,
        "good.jsonl:1: expected JSON Lines with doc_id, where and reason",
    ),
    "a list of what the source has not": (
        ("good.jsonl", "-m", "wordllama", "--retry-failed", "others.failed.jsonl"),
        2,
        "expected some of the 1 that failed, got none of them from the source",
    ),
    "a part that prunes": (
        ("good.jsonl", "-m", "wordllama", "--retry-failed", "others.failed.jsonl", "--prune"),
        2,
        "--prune: expected the whole source, got only what failed (--retry-failed). Leave one out.",
    ),
    "a part that makes anew": (
        ("good.jsonl", "-c", "handbook", "--retry-failed", "others.failed.jsonl", "--recreate"),
        2,
        "--recreate: expected the whole source, got only what failed (--retry-failed). Leave one out.",
    ),
    "a summary in no folder": (
        ("good.jsonl", "-m", "wordllama", "--summary", "none/s.json"),
        2,
        "none/s.json: expected a file that can be written, got: No such file or directory",
    ),
    "a summary that is a folder": (
        ("good.jsonl", "-m", "wordllama", "--summary", "empty"),
        2,
        "empty: expected a file that can be written, got a folder. Name another one with --summary.",
    ),
    "a list of failures in no folder": (
        ("good.jsonl", "-m", "wordllama", "--failed", "none/f.jsonl"),
        2,
        "none/f.jsonl: expected a file that can be written, got: No such file or directory",
    ),
    "columns of a folder": (
        ("pictures", "-m", "wordllama", "--id-column", "k"),
        2,
        "id_column (--id-column)",
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
    missing = {"doc_id": "z", "where": "z.txt", "reason": "not UTF-8"}
    corpus_file(tmp_path / "others.failed.jsonl", json.dumps(missing))
    before = sorted(tmp_path.iterdir())
    corpus = () if "-c" in arguments else ("--corpus", "new")
    ran = command("ingest", "run", *arguments, *corpus, "--store", unharmed)
    assert ran.status == status, ran.err
    assert message in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    if "Usage" not in ran.err:
        assert len(ran.err.splitlines()) == 1
        assert ran.err.startswith("error: ")
    assert sorted(tmp_path.iterdir()) == before


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
            ("status", "--corpus", "handbook"),
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

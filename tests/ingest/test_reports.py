"""What a run tells about itself is true, complete, and can be read by programs."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.collection import Counts
from ingest.documents import FailedDocument
from ingest.reports import (
    FailureFile,
    JsonLog,
    Pace,
    json_on_standard_error,
    read_failures,
    summary_file,
)
from retriever.errors import InputError, StoreLockedError


class Clock:
    """Goes only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def failed(name: str | None, reason: str = "not UTF-8") -> FailedDocument:
    return FailedDocument(doc_id=name, where=f"{name}.txt", reason=reason)


# ── pace ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_rate_is_that_of_the_last_minute() -> None:
    clock, counts = Clock(), Counts()
    pace = Pace(0, clock=clock)
    assert pace.chunks_per_second == 0
    for chunks_a_second in (10, 2):
        for _ in range(120):
            clock.now += 1
            counts.written_chunks += chunks_a_second
            pace.mark(counts)
    assert pace.chunks_per_second == pytest.approx(2)
    counts.filled["late"] = 60 * 5
    clock.now += 60
    pace.mark(counts)
    assert pace.chunks_per_second == pytest.approx(5, rel=0.05)  # 300 in the last minute


def test_nothing_is_told_of_the_end_while_there_is_nothing_to_tell_it_from() -> None:
    clock, counts = Clock(), Counts()
    pace = Pace(100, clock=clock)
    assert pace.seconds_left(counts) is None
    clock.now += 5
    counts.compared = 10  # and all of them have to be embedded
    pace.mark(counts)
    assert pace.seconds_left(counts) is None
    counts.planned_chunks = 30
    assert pace.seconds_left(counts) is None
    counts.to_fill = {"late": 5}
    counts.texts, counts.seconds = {"first": 10}, {"first": 1.0}
    assert pace.seconds_left(counts) is None  # nobody knows how slow the other is


def test_a_source_of_unknown_length_has_no_end() -> None:
    clock, counts = Clock(), Counts(compared=10, planned_chunks=10, texts={"m": 5}, seconds={"m": 5.0})
    pace = Pace(0, clock=clock)
    clock.now += 5
    assert pace.seconds_left(counts) is None


def test_while_nothing_is_new_the_time_left_is_that_of_reading() -> None:
    clock, counts = Clock(), Counts()
    pace = Pace(100, clock=clock)
    clock.now += 10
    counts.compared = counts.unchanged = 25
    pace.mark(counts)
    assert pace.seconds_left(counts) == pytest.approx(30)  # 25 took 10 seconds, 75 are left
    clock.now += 30
    counts.compared = counts.unchanged = 100
    assert pace.seconds_left(counts) == 0


def test_the_time_left_is_that_of_the_models_and_what_the_run_adds_to_it() -> None:
    clock, counts = Clock(), Counts()
    pace = Pace(100, clock=clock)
    clock.now += 500  # many unchanged documents come first: that says nothing about embedding
    counts.compared = counts.unchanged = 50
    pace.mark(counts)
    counts.compared, counts.planned_chunks = 100, 300
    counts.written_chunks = 100
    counts.texts = {"quick": 100, "slow": 100}
    counts.seconds = {"quick": 10.0, "slow": 30.0}
    clock.now += 60  # 40 of them in the models: all takes half as long again
    pace.mark(counts)
    # 200 chunks, of 0.1 and 0.3 seconds, times 60 / 40
    assert pace.seconds_left(counts) == pytest.approx(200 * 0.4 * 1.5)
    counts.to_fill, counts.filled = {"slow": 80}, {"slow": 30}
    assert pace.seconds_left(counts) == pytest.approx((200 * 0.4 + 50 * 0.3) * 1.5)


def test_documents_to_come_are_reckoned_with() -> None:
    clock = Clock()
    pace = Pace(100, clock=clock)
    clock.now += 1
    counts = Counts(compared=50, new=50, planned_chunks=200, written_chunks=200, texts={"m": 200})
    counts.seconds = {"m": 1.0}
    assert pace.seconds_left(counts) == pytest.approx(1.0)  # as many again


# ── log ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_line_is_an_object_with_time_level_and_event() -> None:
    lines: list[str] = []
    log = JsonLog(lines.append)
    log.event("started", corpus="c", location=Path("/somewhere"), name="two\nlines")
    log.failed(failed("käse"))
    log.handler().handle(
        logging.makeLogRecord({"name": "lib", "levelname": "ERROR", "msg": "%d is", "args": (3,)})
    )
    entries = [json.loads(line) for line in lines]
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    assert [(entry["event"], entry["level"]) for entry in entries] == [
        ("started", "info"),
        ("failed", "warning"),
        ("message", "error"),
    ]
    assert all(datetime.fromisoformat(entry["time"]).tzinfo is not None for entry in entries)
    assert (entries[0]["location"], entries[0]["name"]) == ("/somewhere", "two\nlines")
    assert (entries[1]["doc_id"], entries[1]["reason"]) == ("käse", "not UTF-8")
    assert (entries[2]["logger"], entries[2]["message"]) == ("lib", "3 is")


def test_progress_is_told_at_once_and_then_every_ten_seconds() -> None:
    lines: list[str] = []
    clock, counts = Clock(), Counts(model="m")
    clock.now = 0.0  # a machine that has just started
    log, pace = JsonLog(lines.append, clock=clock), Pace(2000, clock=clock)
    told = []
    for second in range(35):
        clock.now = float(second)
        counts.new = counts.compared = second * 10
        counts.written_chunks = second * 20
        counts.planned_chunks = second * 20
        counts.texts, counts.seconds = {"m": second * 20}, {"m": float(second)}
        pace.mark(counts)
        before = len(lines)
        log.progress(counts, pace)
        told += [second] if len(lines) > before else []
    assert told == [0, 10, 20, 30]
    last = json.loads(lines[-1])
    assert (last["documents"], last["written_chunks"], last["model"], last["failed"]) == (300, 600, "m", 0)
    assert last["chunks_per_second"] == pytest.approx(20)
    assert last["seconds_left"] == 170  # 1,700 documents of two chunks, 20 chunks a second


def test_whatever_python_writes_to_standard_error_becomes_lines(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (sys.stderr, root.handlers[:], warnings.showwarning)
    with json_on_standard_error() as log:
        log.event("started")
        logging.getLogger("some.library").warning("it is %s", "late")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        for state in ("10%", "50%", "100%"):
            sys.stderr.write(f"\rloading {state}")
        sys.stderr.write("\nTraceback:\n  here\n\nand the rest")
        sys.stderr.flush()
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [entry["event"] for entry in entries] == ["started", *["message"] * 6]
    messages = [entry["message"] for entry in entries[1:]]
    assert messages[0] == "it is late"
    assert "DeprecationWarning: old" in messages[1]
    assert messages[2:] == ["loading 100%", "Traceback:", "here", "and the rest"]
    assert (sys.stderr, root.handlers, warnings.showwarning) == before


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────

UGLY = (
    failed("café", "line\nbreak, \x85 and \u2028"),
    failed(None, "broken"),
    FailedDocument(doc_id="a\udce9", where="a\udce9.txt", reason='"quoted" \\ud800'),
)


def test_what_failed_is_read_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "c.failed.jsonl"
    with FailureFile(path) as file:
        for one in UGLY:
            file.add(one)
        assert not path.exists()  # it takes its place at the end
    assert read_failures(path) == list(UGLY)
    assert "café" in path.read_text(encoding="utf-8")
    assert [one.name for one in tmp_path.iterdir()] == ["c.failed.jsonl"]


def test_the_list_replaces_an_earlier_one_and_is_removed_when_nothing_fails(tmp_path: Path) -> None:
    path = tmp_path / "c.failed.jsonl"
    for names in (("a", "b"), ("b",)):
        with FailureFile(path) as file:
            for name in names:
                file.add(failed(name))
        assert [one.doc_id for one in read_failures(path)] == list(names)
    for _ in range(2):
        with FailureFile(path):
            pass
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), StoreLockedError("another")])
def test_a_run_that_is_cut_short_loses_nothing_that_failed_before(
    tmp_path: Path, stop: BaseException
) -> None:
    path = tmp_path / "c.failed.jsonl"
    with FailureFile(path) as file:
        for name in ("a", "b", "c"):
            file.add(failed(name, "earlier"))
    with pytest.raises(type(stop)), FailureFile(path):
        raise stop
    assert [one.doc_id for one in read_failures(path)] == ["a", "b", "c"]
    with pytest.raises(type(stop)), FailureFile(path) as file:  # noqa: PT012  # what is within `with`
        file.add(failed("b", "once more"))
        raise stop
    found = {one.doc_id: one.reason for one in read_failures(path)}
    assert found == {"a": "earlier", "b": "once more", "c": "earlier"}
    assert [one.name for one in tmp_path.iterdir()] == ["c.failed.jsonl"]


def test_a_run_that_is_refused_leaves_the_list_of_the_one_at_work_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.failed.jsonl"
    with FailureFile(path) as first:
        first.add(failed("a"))
        with pytest.raises(StoreLockedError), FailureFile(path):
            raise StoreLockedError("the first one writes")
        with FailureFile(path) as second:
            second.add(failed("b"))
        first.add(failed("c"))
    assert [one.doc_id for one in read_failures(path)] == ["a", "c"]
    assert [one.name for one in tmp_path.iterdir()] == ["c.failed.jsonl"]


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_others_write_is_not(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from ingest.documents import FailedDocument;"
        "from ingest.reports import FailureFile; file = FailureFile(Path(sys.argv[1])).__enter__();"
        "file.add(FailedDocument(doc_id='a', where='a', reason='r')); os._exit(9)"
    )
    path = tmp_path / "c.failed.jsonl"
    subprocess.run([sys.executable, "-c", program, path], check=False)
    (left,) = tmp_path.iterdir()
    others = [left.name.replace(socket.gethostname(), "elsewhere"), "c.failed.jsonl.part", f"x{left.name}"]
    for name in others:
        (tmp_path / name).touch()
    with FailureFile(path):
        assert sorted(one.name for one in tmp_path.iterdir()) == sorted(others)


def test_a_thread_that_outlives_the_run_writes_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "c.failed.jsonl"
    with FailureFile(path) as file:
        pass
    file.add(failed("late"))
    assert list(tmp_path.iterdir()) == []


def test_lines_of_many_threads_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "c.failed.jsonl"
    with FailureFile(path) as file, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: file.add(failed(f"d{i}", "long " * 300)), range(200)))
    assert {one.doc_id for one in read_failures(path)} == {f"d{i}" for i in range(200)}


@given(
    failures=st.lists(
        st.builds(
            FailedDocument,
            doc_id=st.none() | st.text(max_size=6),
            where=st.text(max_size=6),
            reason=st.text(),
        ),
        max_size=4,
    )
)
def test_any_failure_can_be_listed(
    tmp_path_factory: pytest.TempPathFactory, failures: list[FailedDocument]
) -> None:
    path = tmp_path_factory.mktemp("failures") / "f.jsonl"
    with FailureFile(path) as file:
        for one in failures:
            file.add(one)
    assert (read_failures(path) if path.exists() else []) == failures


def test_a_list_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    for path, found in ((tmp_path, "got a folder"), (tmp_path / "none" / "f.jsonl", "No such file")):
        with (
            pytest.raises(InputError, match=f"{path}: expected a file.*{found}.*--failed"),
            FailureFile(path),
        ):
            raise AssertionError("not reached")


BAD_LISTS: dict[str, tuple[bytes, str]] = {
    "broken": (b'{"doc_id": ', ":1: .*broken JSON"),
    "a list": (b'["a"]', ":1: .*no object"),
    "a string": (b'"a"', ":1: .*no object"),
    "a corpus": (b'{"_id": "a", "text": "t"}', ":1: .*an object with _id, text"),
    "an empty object": (b"{}", ":1: .*an object with nothing"),
    "a number as id": (b'{"doc_id": 3, "where": "a", "reason": "b"}', ":1: .*an object with doc_id"),
    "the second line": (b'{"doc_id": null, "where": "a", "reason": "b"}\n\nx', ":3: .*broken JSON"),
    "binary": (b"\xff\xfe\x00", ".*not UTF-8"),
}


@pytest.mark.parametrize(("content", "words"), BAD_LISTS.values(), ids=BAD_LISTS)
def test_a_list_that_no_run_wrote_is_refused_by_name_and_line(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"f.jsonl{words}.*Run without --retry-failed"):
        read_failures(path)


def test_a_list_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(InputError, match=f"{path}: expected the list of failed documents"):
            read_failures(path)


# ── summary ──────────────────────────────────────────────────────────────────────────────────────────────


def summary_after(path: Path, work: Callable[[Callable[[dict[str, Any]], None]], None]) -> dict[str, Any]:
    try:
        with summary_file(path) as hand_over:
            work(hand_over)
    except BaseException:  # noqa: BLE001, S110  # what it was is in the file
        pass
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert datetime.fromisoformat(value.pop("started")) <= datetime.fromisoformat(value.pop("finished"))
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    return value


def raising(error: BaseException) -> Callable[[Any], None]:
    def work(_: object) -> None:
        raise error

    return work


def test_the_file_says_how_a_run_ended_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    done = summary_after(path, lambda hand_over: hand_over({"new": 3, "failed": []}))
    assert done == {"outcome": "done", "exit_status": 0, "new": 3, "failed": []}
    listed = [{"doc_id": "a\udce9", "where": "a", "reason": "b"}]
    some = summary_after(path, lambda hand_over: hand_over({"failed": listed}))
    assert some == {"outcome": "done", "exit_status": 5, "failed": listed}
    error = summary_after(path, raising(StoreLockedError("another run writes")))
    assert error == {"outcome": "error", "exit_status": 3, "error": "another run writes"}
    unexpected = summary_after(path, raising(ZeroDivisionError("division by zero")))
    assert unexpected == {
        "outcome": "error",
        "exit_status": 1,
        "error": "ZeroDivisionError: division by zero",
    }
    assert summary_after(path, raising(KeyboardInterrupt())) == {"outcome": "interrupted", "exit_status": 130}


def test_a_summary_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    for path, found in ((tmp_path, "got a folder"), (tmp_path / "none" / "s.json", "No such file")):
        with (
            pytest.raises(InputError, match=f"{path}: expected a file.*{found}.*--summary"),
            summary_file(path),
        ):
            raise AssertionError("not reached")


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with summary_file(None) as hand_over:
        hand_over({"new": 1})
    assert list(tmp_path.iterdir()) == []

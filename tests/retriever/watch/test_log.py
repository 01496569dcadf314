"""The log: many processes write, some are killed, and it stays small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retriever.errors import InputError, StoreCorruptError, StoreError
from retriever.watch import log as module
from retriever.watch.baselines import make_room, read_baseline, read_texts
from retriever.watch.log import DeploymentLog, default_log, deployment_log, latest_log, log_of_place
from retriever.watch.observation import Observation

Observe = Callable[..., Observation]

numbers = st.floats(-1, 1).map(lambda number: round(number, 6))
texts = st.text(min_size=1)
observations = st.builds(
    Observation,
    time=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)).map(  # noqa: DTZ001
        lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000, tzinfo=UTC)
    ),
    deployment=texts,
    serves=texts,
    first=numbers,
    mean=numbers,
    gap=numbers,
    contributions=st.dictionaries(texts, numbers),
    jaccard=st.none() | numbers,
    rank_similarity=st.none() | numbers,
    disjoint=st.none() | st.booleans(),
    lost=st.integers(0, 9),
    texts=st.lists(texts).map(tuple),
)


@given(one=observations)
def test_an_observation_comes_back_from_its_line_as_it_was(one: Observation) -> None:
    line = json.dumps(one.to_json(), ensure_ascii=False)
    assert "\n" not in line
    assert Observation.from_json(json.loads(line)) == one


def test_what_is_written_is_read_in_the_order_of_time(log: DeploymentLog, observation: Observe) -> None:
    log.append([observation(2), observation(0, texts=("a question\nof two lines\u2028",))])
    other = DeploymentLog(log.folder)
    other.append([observation(1, lost=3)])
    lines = log.read()
    assert lines.observations == (
        observation(0, texts=("a question\nof two lines\u2028",)),
        observation(1, lost=3),
        observation(2),
    )
    assert lines.broken == 0
    assert len(log.files()) == 2  # each process, and each watch in it, has its own


@pytest.mark.parametrize(
    "broken",
    [
        b'{"time": "2026-11-01T00:0',
        b'{"time": "2026-11-01T00:00:00"}\n',
        b'{"time": 3}\n',
        b"[]\n",
        b"\xff\xfe\n",
        b"null\n",
        b"nothing\n",
    ],
)
def test_a_line_that_is_none_is_counted_and_left_out(
    log: DeploymentLog, observation: Observe, broken: bytes
) -> None:
    log.append([observation(0)])
    with log.files()[0].open("ab") as file:
        file.write(broken)
    DeploymentLog(log.folder).append([observation(1)])
    lines = log.read()
    assert lines.observations == (observation(0), observation(1))
    assert lines.broken == 1


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from retriever.watch.log import deployment_log
from retriever.watch.observation import Observation

log = deployment_log(Path(sys.argv[1]), "small", "d1")
for n in range(200):
    log.append([Observation(
        time=datetime.now(UTC), deployment="d1", serves=sys.argv[2], first=n / 200, mean=0.0, gap=0.0,
        contributions={}, jaccard=None, rank_similarity=None, disjoint=None,
    )])
"""


def test_several_processes_write_at_once_and_nothing_is_lost(log: DeploymentLog) -> None:
    command = [sys.executable, "-c", WRITER, str(log.folder.parents[1])]
    processes = [subprocess.Popen([*command, str(n)]) for n in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    lines = log.read()
    assert (len(lines.observations), lines.broken, len(log.files())) == (600, 0, 3)
    for n in range(3):
        assert [one.first for one in lines.observations if one.serves == str(n)] == [
            pytest.approx(i / 200) for i in range(200)
        ]


def test_a_process_that_is_forked_writes_a_file_of_its_own(
    log: DeploymentLog, observation: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append([observation(0)])
    monkeypatch.setattr(os, "getpid", lambda: -1)
    log.append([observation(1)])
    assert len(log.files()) == 2


def test_a_large_file_is_followed_by_another_and_the_oldest_go(
    log: DeploymentLog, observation: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 1_000)
    monkeypatch.setattr(module, "FOLDER_BYTES", 10_000)
    every = [observation(n) for n in range(200)]
    for one in every:
        log.append([one])
        make_room(log, first=20)
    kept = log.read().observations
    assert kept == tuple(every[-len(kept) :])
    assert 8_000 < sum(path.stat().st_size for path in log.files()) <= 10_000
    baseline = read_baseline(log, first=20)
    assert baseline.source == "live"
    assert baseline.observations == tuple(every[:20])
    assert baseline.live == kept


def test_of_a_process_that_is_seldom_asked_the_newest_lines_are_kept(
    log: DeploymentLog, observation: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 1_000)
    monkeypatch.setattr(module, "FOLDER_BYTES", 5_000)
    seldom, often = DeploymentLog(log.folder), DeploymentLog(log.folder)
    seldom.append([observation(0)])
    for n in range(1, 100):
        if n == 90:
            seldom.append([observation(n, serves="seldom")])
        make_room(often, first=2)
        often.append([observation(n)])
        for path in log.files():  # a clock that ticks with every question
            if not path.stat().st_mtime < 1e9:
                os.utime(path, (n, n))
    assert [one for one in log.read().observations if one.serves == "seldom"] == [
        observation(90, serves="seldom")
    ]
    assert sum(path.stat().st_size for path in log.files()) <= 5_000 + 300


def test_a_file_that_another_process_deletes_is_begun_again(log: DeploymentLog, observation: Observe) -> None:
    log.append([observation(0)])
    for path in log.files():
        path.unlink()
    log.append([observation(1)])
    assert log.read().observations == (observation(1),)


def test_a_log_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path, observation: Observe) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="expected a file that can be written"):
        deployment_log(tmp_path / "file", "small", "d1").append([observation()])


def test_many_threads_that_write_one_whole_file_leave_one_of_theirs(tmp_path: Path) -> None:
    path = tmp_path / "about.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: module.write_whole(path, {"n": [n] * 1000}), range(100)))
    assert len(set(json.loads(path.read_text())["n"])) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_it_lies_beside_a_folder_and_in_the_current_one_for_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_log(str(tmp_path / "store")) == tmp_path / "store-watch"
    assert default_log("http://127.0.0.1:6333") == Path("tandem-watch")
    assert log_of_place(None, None) == tmp_path / "tandem-store-watch"
    assert log_of_place("there", None) == tmp_path / "there-watch"
    assert log_of_place(None, "https://host") == Path("tandem-watch")


def test_the_deployment_that_was_watched_last_is_found_or_one_by_name(
    log: DeploymentLog, observation: Observe
) -> None:
    root = log.folder.parents[1]
    log.append([observation()])
    other = DeploymentLog(log.folder.with_name("d2"))
    other.folder.mkdir()
    module.write_whole(other.folder / "deployment.json", {**log.about, "serves": "beta"})
    later = log.last_written + timedelta(hours=1).total_seconds()
    os.utime(other.folder / "deployment.json", (later, later))
    assert latest_log(root, "small").identity == "d2"
    assert latest_log(root, "small", serves="alpha+beta").identity == "d1"
    with pytest.raises(
        InputError, match=r"expected watched 'gamma' of corpus 'small', found alpha\+beta, beta"
    ):
        latest_log(root, "small", serves="gamma")
    with pytest.raises(InputError, match="expected watched deployments of corpus 'other', found none"):
        latest_log(root, "other")


@pytest.mark.parametrize("content", ["", "{}", '{"format": 1, "observations": [{}]}', '{"format": 2}'])
def test_a_broken_time_of_deployment_is_refused_and_never_replaced_by_another(
    log: DeploymentLog, observation: Observe, content: str
) -> None:
    log.append([observation(n) for n in range(10)])
    (log.folder / "baseline.json").write_text(content)
    with pytest.raises(StoreCorruptError, match=r"baseline\.json"):
        read_baseline(log, first=5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "a"}\n{"txt": "b"}', "line 2: expected a JSON object"),
        ('{"text": " "}', "line 1"),
        ("[1]", "line 1"),
        ("no json", "line 1"),
        ("\n \n", "an empty file"),
    ],
)
def test_a_file_of_queries_with_a_broken_line_is_refused_by_its_number(
    tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        read_texts(path)
    with pytest.raises(InputError, match="expected a file of queries"):
        read_texts(tmp_path / "none")


def test_a_file_of_queries_gives_their_texts(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('\ufeff{"_id": "1", "text": "Wo?\u2028"}\n\n{"text": "b"}\r\n', encoding="utf-8")
    assert read_texts(path) == ["Wo?\u2028", "b"]

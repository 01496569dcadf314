"""A watch beside what serves: it sees what is asked, and nobody notices it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from retriever import serving as serving_module
from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.errors import InputError, StoreError
from retriever.models.protocol import FloatArray
from retriever.search import Wish
from retriever.serving import Answered, Serving
from retriever.store.protocol import VectorStore
from retriever.testing import FakeModel
from retriever.watch import DriftAlarm, Watch, WatchSettings
from retriever.watch import watch as module
from retriever.watch.log import latest_log
from retriever.watch.observation import Observation

WISH = Wish(k=3)
EAGER = WatchSettings(minimum_queries=20, first_queries=40)
WORDS = [
    "basil",
    "soil",
    "sun",
    "ferry",
    "noon",
    "harbour",
    "interest",
    "quarter",
    "account",
    "bank",
    "lemon",
    "copper",
    "wire",
    "river",
    "stone",
]


def ask(serving: Serving, texts: Sequence[str]) -> None:
    for text in texts:
        serving.ask([text], WISH).result(30)


def seen(watch: Watch) -> tuple[Observation, ...]:
    watch.flush()
    return latest_log(watch.log, "small").read().observations


def is_flushed(watch: Watch) -> bool:
    """Return whether flushing ends."""
    done = threading.Event()
    threading.Thread(target=lambda: (watch.flush(), done.set()), daemon=True).start()
    return done.wait(20)


def known(n: int) -> list[str]:
    """Questions in words of the corpus."""
    return [f"{WORDS[i % 15]} and {WORDS[(i // 15 + i) % 15]}" for i in range(n)]


def strange(n: int) -> list[str]:
    return [f"quasar{i} nebula{i}" for i in range(n)]


class Failing:
    """An observer that cannot take note."""

    def __init__(self) -> None:
        self.asked = 0

    def observe(self, answered: Answered) -> None:
        self.asked += 1
        raise RuntimeError("expected a line of chalk")

    def close(self) -> None:
        """Nothing is open."""


def test_answers_are_given_whatever_an_observer_does(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing()
    serving.add_observer(failing)
    ask(serving, known(3))
    serving.remove_observer(failing)
    serving.remove_observer(failing)
    ask(serving, known(1))
    assert failing.asked <= 3
    assert len(serving.ask(["basil"], WISH).result(30)) == 3
    assert "a line of chalk" in caplog.text


def test_what_is_asked_is_in_the_log_as_numbers(serving: Serving, tmp_path: Path) -> None:
    watch = Watch(serving, log=tmp_path / "log")
    answers = [serving.ask([text], Wish(k=12)).result(30) for text in known(20)]
    observations = seen(watch)
    assert [one.first for one in observations] == pytest.approx(
        [found[0].score for found in answers], abs=1e-6
    )
    assert all(one.texts == () and one.lost == 0 for one in observations)
    written = "".join(path.read_text() for path in (tmp_path / "log").rglob("*.json*"))
    assert not any(text in written for text in known(20))
    assert len({one.deployment for one in observations}) == 1


def test_texts_are_kept_where_that_is_asked_for(serving: Serving, tmp_path: Path) -> None:
    watch = Watch(serving, log=tmp_path / "log", keep_text=True)
    serving.ask(["basil", "soil"], WISH).result(30)
    assert [one.texts for one in seen(watch)] == [("basil", "soil")]


def test_only_every_so_many_th_query_is_observed(serving: Serving, tmp_path: Path) -> None:
    watch = Watch(serving, log=tmp_path / "log", sample=4, keep_text=True)
    texts = known(18)
    ask(serving, texts)
    assert [one.texts[0] for one in seen(watch)] == [texts[3], texts[7], texts[11], texts[15]]
    with pytest.raises(InputError, match="sample: expected 1"):
        Watch(serving, log=tmp_path, sample=0)


def test_without_a_folder_the_log_lies_beside_the_store(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    watch = Watch(serving)
    embedded = "://" not in serving.corpus.location and serving.corpus.location != ":memory:"
    assert watch.log == (tmp_path / "store-watch" if embedded else Path(":memory:-watch").resolve())


def test_a_log_that_cannot_be_written_is_told_at_once(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="expected a file that can be written"):
        Watch(serving, log=tmp_path / "file")


def test_queries_beyond_those_that_may_wait_are_counted_and_delay_nothing(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, begun = threading.Event(), threading.Event()
    measured = module.measured

    def slow(batch: Sequence[Answered], *, keep_text: bool) -> list[Observation]:
        begun.set()
        assert go_on.wait(30)
        return measured(batch, keep_text=keep_text)

    monkeypatch.setattr(module, "measured", slow)
    monkeypatch.setattr(module, "_WAITING", 5)
    watch = Watch(serving, log=tmp_path / "log")
    ask(serving, known(1))
    assert begun.wait(30)
    ask(serving, known(12))  # all are answered while the watch stands still
    go_on.set()
    observations = seen(watch)
    assert len(observations) == 6
    assert sum(one.lost for one in observations) == 7


def test_what_cannot_be_measured_or_written_is_counted_and_delays_nothing(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch(serving, log=tmp_path / "log")

    def failing(*_: object, **__: object) -> None:
        raise StoreError("expected a disk")

    for broken in ("measured", "make_room"):
        with monkeypatch.context() as patched:
            patched.setattr(module, broken, failing)
            ask(serving, known(2))
            watch.flush()
    assert not list(watch.log.rglob("*.jsonl"))
    assert "queries that are not in the log of the watch, 1: expected a disk" in caplog.text
    ask(serving, known(1))
    assert [one.lost for one in seen(watch)] == [4]


def test_what_was_noted_is_waited_for_and_not_what_comes_meanwhile(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    measured = module.measured

    def busy(batch: Sequence[Answered], *, keep_text: bool) -> list[Observation]:
        if not stop.is_set():
            watch.observe(batch[0])  # for each that is measured there is another one
        return measured(batch, keep_text=keep_text)

    monkeypatch.setattr(module, "measured", busy)
    watch = Watch(serving, log=tmp_path / "log")
    ask(serving, known(5))
    try:
        assert is_flushed(watch)
        assert len(latest_log(watch.log, "small").read().observations) >= 5
        assert watch._waiting
    finally:
        stop.set()


def test_whatever_measuring_raises_the_watch_goes_on(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(serving, log=tmp_path / "log")

    def exiting(*_: object, **__: object) -> None:
        raise SystemExit(1)

    with monkeypatch.context() as patched:
        patched.setattr(module, "measured", exiting)
        ask(serving, known(2))
        assert is_flushed(watch)
    ask(serving, known(1))
    assert [one.lost for one in seen(watch)] == [2]


def test_closing_what_serves_writes_down_all_that_waits(serving: Serving, tmp_path: Path) -> None:
    watch = Watch(serving, log=tmp_path / "log")
    ask(serving, known(30))
    serving.close()
    assert len(latest_log(watch.log, "small").read().observations) == 30
    watch.close()


def test_closing_waits_for_what_can_be_measured_in_time_and_says_what_cannot(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_CLOSING_S", -1.0)
    monkeypatch.setattr(module, "_REST", 1e6)
    watch = Watch(serving, log=tmp_path / "log")
    ask(serving, known(1))
    watch.flush()
    ask(serving, known(9))
    watch.close()
    kept = len(latest_log(watch.log, "small").read().observations)
    assert f"not in the log of the watch, {10 - kept}: expected to measure them within" in caplog.text


def test_a_closed_watch_sees_nothing_more(serving: Serving, tmp_path: Path) -> None:
    watch, other = Watch(serving, log=tmp_path / "log"), Watch(serving, log=tmp_path / "other")
    ask(serving, known(2))
    watch.close()
    ask(serving, known(3))
    assert len(latest_log(watch.log, "small").read().observations) == 2
    assert len(seen(other)) == 5


def test_another_deployment_begins_anew_and_is_never_compared_with_the_first(
    serving: Serving, any_store: VectorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_module, "_CHECK_SECONDS", 0.0)
    watch = Watch(serving, log=tmp_path / "log", settings=EAGER)
    ask(serving, known(70))
    first = watch.report()
    assert (first.status, first.baseline_queries, first.live_queries) == ("steady", 40, 30)
    with Corpus.open(any_store, "small") as writer:
        deploy(writer, ["alpha", "beta"], weighting={"alpha": 0.9, "beta": 0.1})
    ask(serving, strange(30))
    second = watch.report()
    assert (second.status, second.baseline_queries, second.live_queries) == ("not enough queries", 30, 0)
    assert second.deployment != first.deployment
    assert len(list((tmp_path / "log" / "small").iterdir())) == 2


def test_what_is_served_begins_anew_where_it_is_deployed_anew(
    serving: Serving, any_store: VectorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_module, "_CHECK_SECONDS", 0.0)
    watch = Watch(serving, log=tmp_path / "log", settings=EAGER)
    ask(serving, known(70))
    first = watch.report()
    with Corpus.open(any_store, "small") as writer:
        deploy(writer, ["alpha", "beta"])
        ask(serving, known(1))
        assert watch.report().deployment == first.deployment
        deploy(writer, ["alpha", "beta"], anew=True)
    ask(serving, known(3))
    second = watch.report()
    assert (second.baseline_queries, second.live_queries) == (3, 0)
    assert second.deployment != first.deployment


def test_before_anything_is_asked_there_are_not_enough_queries(serving: Serving, tmp_path: Path) -> None:
    report = Watch(serving, log=tmp_path / "log").report()
    assert (report.status, report.more, report.serves) == ("not enough queries", 250, "alpha+beta")


def test_a_drift_is_told_once_by_the_callback_and_raised_by_check(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_EVERY", 10)
    alarms: list[DriftAlarm] = []
    reports: list[str] = []

    def told(alarm: DriftAlarm) -> None:
        alarms.append(alarm)
        reports.append(watch.report().status)  # from the thread of the watch itself

    watch = Watch(serving, log=tmp_path / "log", on_drift=told, settings=EAGER)
    ask(serving, known(80))
    assert watch.check().status == "steady"
    assert alarms == []
    ask(serving, strange(60))
    with pytest.raises(DriftAlarm, match="score of the first hit"):
        watch.check()
    ask(serving, strange(60))
    watch.flush()
    assert [alarm.report.status for alarm in alarms] == reports == ["drifted"]


def test_a_callback_that_fails_ends_nothing(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_LOOK_EVERY", 10)

    def failing(_: DriftAlarm) -> None:
        raise RuntimeError("expected a pager")

    watch = Watch(serving, log=tmp_path / "log", on_drift=failing, settings=EAGER)
    ask(serving, [*known(50), *strange(60)])
    watch.flush()
    ask(serving, known(5))
    observations = seen(watch)
    assert (len(observations), sum(one.lost for one in observations)) == (115, 0)
    assert "expected a pager" in caplog.text


def test_queries_that_are_given_are_the_time_of_deployment(serving: Serving, tmp_path: Path) -> None:
    watch = Watch(serving, log=tmp_path / "log", settings=EAGER)
    watch.set_baseline(known(30))
    ask(serving, strange(30))
    report = watch.report()
    assert (report.status, report.source, report.baseline_queries) == ("drifted", "queries", 30)
    watch.set_baseline(strange(25))
    assert watch.report().status == "steady"
    assert not any(text in path.read_text() for path in watch.log.rglob("*.json*") for text in strange(3))
    with pytest.raises(InputError, match="expected queries that find a chunk"):
        watch.set_baseline([])


class Waiting(FakeModel):
    """A model that may be held up."""

    go_on = threading.Event()

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        assert self.go_on.wait(30)
        return super().embed_queries(texts)


def test_a_query_that_fails_or_is_given_up_is_not_observed(
    corpus: Corpus, beta: FakeModel, tmp_path: Path
) -> None:
    deploy(corpus, ["alpha", "beta"])
    serving = Serving(corpus, models={"alpha": Waiting("acme/alpha", dimensions=24), "beta": beta})
    watch = Watch(serving, log=tmp_path / "log", keep_text=True)
    first = serving.ask(["basil"], WISH)
    wrong = serving.ask(["soil"], Wish(k=1, weights={"alpha": 2.0, "beta": 0.0}))
    given_up = serving.ask(["sun"], WISH)
    given_up.cancel()
    Waiting.go_on.set()
    first.result(30)
    with pytest.raises(InputError):
        wrong.result(30)
    assert {one.texts for one in seen(watch)} <= {("basil",), ("sun",)}
    watch.close()


ENDS = """
import sys
from pathlib import Path
from retriever.corpus import Corpus
from retriever.search import Wish
from retriever.serving import Serving
from retriever.store.embedded import EmbeddedStore
from retriever.testing import FakeModel
from retriever.watch import Watch

models = {"alpha": FakeModel("acme/alpha", dimensions=24), "beta": FakeModel("acme/beta", dimensions=16)}
serving = Serving(Corpus.open(EmbeddedStore(sys.argv[1]), "small"), models=models)
Watch(serving)
for n in range(50):
    serving.ask([f"basil {n}"], Wish(k=3)).result(30)
assert "scipy" not in sys.modules, "a watch that nobody asks needs no statistics"
"""


def test_a_process_that_ends_without_closing_has_written_all_down(
    tmp_path: Path, make_corpus: Callable[..., Corpus], alpha: FakeModel, beta: FakeModel
) -> None:
    from retriever.store.embedded import EmbeddedStore

    store = tmp_path / "store"
    with make_corpus(EmbeddedStore(store), "small", [alpha, beta]) as corpus:
        deploy(corpus, ["alpha", "beta"])
    subprocess.run([sys.executable, "-c", ENDS, str(store)], check=True, timeout=120)
    assert len(latest_log(tmp_path / "store-watch", "small").read().observations) == 50


def test_nothing_is_logged_while_all_is_well(
    serving: Serving, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        watch = Watch(serving, log=tmp_path / "log")
        ask(serving, known(10))
        watch.close()
    assert caplog.records == []

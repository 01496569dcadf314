"""Watching what a retriever answers: numbers in a log, an alarm when live queries become others."""

from __future__ import annotations

import atexit
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from retriever.errors import InputError, TandemError
from retriever.records import Deployment
from retriever.serving import Answered, Serving
from retriever.store.space import writing_file
from retriever.watch.baselines import make_room, record_baseline
from retriever.watch.log import DeploymentLog, default_log, deployment_log
from retriever.watch.measuring import measured
from retriever.watch.observation import Observation, deployment_id
from retriever.watch.report import DriftAlarm, WatchReport, WatchSettings

_WAITING = 256
"""Queries that wait to be measured, at most; more are not observed, and counted."""

_REST = 9.0
"""Rest after each measurement, in times of what it took: measuring takes a tenth of one core at most, and the
engine, which holds the interpreter while it searches, is left to those who wait for answers."""

_CLOSING_S = 10.0
"""How long closing waits for queries to be measured that still wait."""

_LOOK_EVERY = 100
"""Observed queries between two looks at whether they have drifted."""

_logger = logging.getLogger(__name__)


class Watch:
    """Observes what a `Serving` answers, and compares it with the time of deployment.

    Answers are not delayed: a query is noted once it has its answer, and is measured in a thread of its own,
    one at a time; after each the thread rests nine times as long as that took. Where queries come faster,
    some are left out, and counted. Every retriever made by `TandemRetriever.using` is watched along. What
    serves closes its watches.

    Parameters
    ----------
    serving
        What answers.
    log
        Folder of the log, see `retriever.watch.log`; by default beside the store, or ``tandem-watch`` in the
        current folder where the store is a server. Several processes may share it.
    sample
        Observe only every so many-th query.
    keep_text
        Whether the texts of queries are written down too. They are not unless this is set: users may have
        put anything into them.
    on_drift
        Called with a `DriftAlarm` when live queries have drifted, once for each deployment, in the thread of
        this watch. Without it, nothing is compared until `report` or `check` are called.
    settings
        What is enough, and what matters.

    Raises
    ------
    InputError
        If `sample` is below 1.
    StoreError
        If the log cannot be written.
    """

    def __init__(  # noqa: PLR0913  # what a watch is told
        self,
        serving: Serving,
        *,
        log: str | Path | None = None,
        sample: int = 1,
        keep_text: bool = False,
        on_drift: Callable[[DriftAlarm], None] | None = None,
        settings: WatchSettings | None = None,
    ) -> None:
        if sample < 1:
            raise InputError(f"sample: expected 1 for every query or more, got {sample}.")
        self.log = (default_log(serving.corpus.location) if log is None else Path(log).expanduser()).resolve()
        folder = self.log / serving.corpus.name
        with writing_file(folder):  # tells now if it cannot be
            folder.mkdir(parents=True, exist_ok=True)
        self.settings = settings or WatchSettings()
        self._serving = serving
        self._sample = sample
        self._keep_text = keep_text
        self._on_drift = on_drift
        self._logs: dict[str, DeploymentLog] = {}
        self._alarmed: set[str] = set()
        self._unseen = 0
        self._asked = 0
        self._lost = 0
        self._waiting: deque[Answered] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._noted = 0
        self._done = 0
        self._in_haste = 0
        self._is_closed = False
        self._deadline = math.inf
        # The process must not end while the thread is inside the engine.
        atexit.register(self.close)
        serving.add_observer(self)

    def observe(self, answered: Answered) -> None:
        """Take note of an answered query; it is measured later, or counted as lost if too many wait."""
        with self._changed:
            self._asked += 1
            if self._is_closed or self._asked % self._sample:
                return
            if len(self._waiting) >= _WAITING:
                self._lost += 1
                return
            self._noted += 1
            self._waiting.append(answered)
            if not self._is_running:  # also after a fork
                self._done = self._noted - len(self._waiting)
                self._thread = threading.Thread(target=self._run, name="tandem-watch", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Return when all that was noted so far is in the log, or lost; what is noted later may wait."""
        if threading.current_thread() is self._thread:  # what it calls may ask for a report
            return
        with self._changed:
            noted = self._noted
            self._in_haste += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._done >= noted or not self._is_running)
            finally:
                self._in_haste -= 1

    def close(self) -> None:
        """Write what was noted to the log, and observe no more; closing again changes nothing."""
        self._serving.remove_observer(self)
        with self._changed:
            if not self._is_closed:
                self._is_closed, self._deadline = True, time.monotonic() + _CLOSING_S
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        atexit.unregister(self.close)

    def report(self, *, since: datetime | None = None) -> WatchReport:
        """Compare the live queries of what is served now with those of the time of deployment.

        Parameters
        ----------
        since
            Only live queries from this time on; with its offset from UTC.

        Raises
        ------
        DeploymentNotFoundError
            If nothing is deployed.
        StoreCorruptError
            If a file of the log is broken.
        """
        from retriever.watch.drift import watch_report  # which loads scipy

        self.flush()
        deployment = self._serving.deployment
        log = self._log_of(deployment_id(deployment, self._serving.corpus.deployments))
        if not log.folder.exists():
            log.describe(deployment)
        return watch_report(log, self.settings, since=since)

    def check(self) -> WatchReport:
        """Return the report.

        Raises
        ------
        DriftAlarm
            If live queries have drifted.
        """
        found = self.report()
        if found.is_drifted:
            raise DriftAlarm(found)
        return found

    def set_baseline(self, queries: Sequence[str]) -> None:
        """Measure these queries as the time of deployment, for what is served now.

        Without it the first live queries are that.

        Raises
        ------
        InputError
            If none of them finds a chunk.
        """
        record_baseline(self._serving.searcher, queries, self.log, keep_text=self._keep_text)

    @property
    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        while (answered := self._next()) is not None:
            started = time.monotonic()
            try:
                # One by one: in the engine a search of many holds the interpreter as long as many searches.
                for observation in measured([answered], keep_text=self._keep_text):
                    self._write(answered.searcher.deployment, observation)
            except BaseException as error:  # noqa: BLE001  # whatever it is, the app goes on
                self._lose(1, str(error) if isinstance(error, TandemError) else repr(error))
            self._rest(time.monotonic() - started)

    def _next(self) -> Answered | None:
        """Return what waits longest, once something does; None when this is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            if time.monotonic() > self._deadline:
                late, self._waiting = len(self._waiting), deque()
                if late:
                    self._done += late
                    self._lose(late, f"expected to measure them within {_CLOSING_S:.0f} s of closing")
            return self._waiting.popleft() if self._waiting else None

    def _rest(self, worked: float) -> None:
        with self._changed:
            self._done += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._in_haste or self._is_closed, timeout=_REST * worked)

    def _lose(self, count: int, why: str) -> None:
        with self._changed:
            self._lost += count
        _logger.warning("queries that are not in the log of the watch, %d: %s", count, why)

    def _write(self, deployment: Deployment, observation: Observation) -> None:
        log = self._log_of(observation.deployment)
        if not log.folder.exists():
            log.describe(deployment)
        make_room(log, first=self.settings.first_queries)
        with self._changed:
            lost = self._lost
        log.append([replace(observation, lost=lost)])
        with self._changed:
            self._lost -= lost
        self._look(log)

    def _look(self, log: DeploymentLog) -> None:
        """Call what wants to know of a drift, if it is time to look and there is one."""
        self._unseen += 1
        if self._on_drift is None or log.identity in self._alarmed or self._unseen < _LOOK_EVERY:
            return
        from retriever.watch.drift import watch_report  # which loads scipy

        self._unseen = 0
        try:
            found = watch_report(log, self.settings)
            if found.is_drifted:
                self._alarmed.add(log.identity)
                self._on_drift(DriftAlarm(found))
        except BaseException:  # what is called is the app's, and may even exit; watching goes on
            _logger.exception("expected to look for a drift and to tell of it, that failed")

    def _log_of(self, identity: str) -> DeploymentLog:
        name = self._serving.corpus.name
        return self._logs.setdefault(identity, deployment_log(self.log, name, identity))

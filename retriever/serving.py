"""Serving any number of threads and coroutines from one corpus, in step with what it has deployed."""

from __future__ import annotations

import contextvars
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol
from weakref import WeakSet

from retriever.corpus import Corpus
from retriever.deployments import current_deployment, planned
from retriever.errors import InputError, StoreError, TandemError
from retriever.models.protocol import EmbeddingModel
from retriever.records import COMBINED, Deployment
from retriever.search import Found, Searcher, Wish, mean_query
from retriever.search.wish import EmbeddedQuery

_CHECK_SECONDS = 1.0
"""How old what is known of the deployments may be."""

_TOGETHER = 64
"""Questions that are answered at once, at most: vectors of so many are small, and nobody waits for long."""

_IDLE_SECONDS = 10.0
"""How long the thread waits for a question before it ends."""

_logger = logging.getLogger(__name__)

_all: WeakSet[Serving] = WeakSet()
"""What serves in this process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A question that has its answer, as observers are told of it.

    Attributes
    ----------
    texts, wish
        What was asked.
    query
        The texts as the models saw them.
    found
        The answer, best first.
    searcher
        What gave it, with its deployment and its corpus.
    time
        When, in UTC.
    """

    texts: tuple[str, ...]
    wish: Wish
    query: EmbeddedQuery
    found: tuple[Found, ...]
    searcher: Searcher
    time: datetime = field(default_factory=lambda: datetime.now(UTC))


class Observer(Protocol):
    """What is told of questions once they have their answers; see `Serving.add_observer`."""

    def observe(self, answered: Answered) -> None:
        """Take note and return at once: the next question waits meanwhile."""

    def close(self) -> None:
        """Finish: the corpus is closed next."""


@dataclass(frozen=True, kw_only=True)
class _Question:
    """Texts that stand for one query, what is asked for, and where the answer goes."""

    texts: tuple[str, ...]
    wish: Wish
    answer: Future[list[Found]] = field(default_factory=Future)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class Serving:
    """Answers questions to a corpus, those that wait together at once.

    Questions from all threads and event loops go to one thread: it embeds the texts of all that wait in
    one call, and searches for all that ask alike in one pass over the vectors. The models are loaded and
    the deployment is looked up with the first question, or by `warm_up`; afterwards it is looked up again
    at most once a second, so what is deployed or rolled back meanwhile is served without a restart. A
    question is answered by one deployment, the old one or the new one.

    Parameters
    ----------
    corpus
        An open corpus; `close` closes it.
    choose
        What to serve; what the corpus has deployed if left out.
    models
        Embedding models by key, where they shall not be loaded as they were at ingest.

    Attributes
    ----------
    serve
        The legs that are served whatever is deployed; None where it is what is deployed.

    Raises
    ------
    InputError
        If `models` has a key that is none of the corpus.
    ModelMismatchError
        If one of `models` is not the one that was stored.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        choose: Callable[[Corpus], Deployment] = current_deployment,
        models: Mapping[str, EmbeddingModel] | None = None,
    ) -> None:
        self.serve: str | None = None
        self._corpus = corpus
        self._choose = choose
        self._models = dict(models or {})
        unknown = sorted(set(self._models) - set(corpus.manifest.keys))
        if unknown:
            raise InputError(
                f"models: expected keys among {', '.join(corpus.manifest.keys)}, got {', '.join(unknown)}."
            )
        for model in self._models.values():
            corpus.check_model(model.spec)
        self._searcher: Searcher | None = None
        self._is_closed = False
        self._observers: tuple[Observer, ...] = ()
        self.begin()
        _all.add(self)

    @classmethod
    def choosing(
        cls, corpus: Corpus, serve: str | None, *, models: Mapping[str, EmbeddingModel] | None = None
    ) -> Serving:
        """Serve these legs (``"A"``, ``"A+B"``) whatever is deployed; what is deployed if there are none."""
        if serve is None:
            return cls(corpus, models=models)
        legs = serve.split(COMBINED)
        serving = cls(corpus, choose=lambda opened: planned(opened, legs), models=models)
        serving.serve = serve
        return serving

    @classmethod
    def of(cls, searcher: Searcher) -> Serving:
        """Serve one deployment, whatever is deployed later."""
        serving = cls(searcher.corpus, choose=lambda _: searcher.deployment)
        serving._searcher = searcher
        serving.serve = searcher.deployment.name
        return serving

    def begin(self) -> None:
        """Have no thread, nothing that waits, and all to look up: as made, and in a forked process."""
        self._checked = -math.inf
        self._turn = threading.Lock()
        self._waiting: deque[_Question] = deque()
        self._arrival = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def corpus(self) -> Corpus:
        """The corpus."""
        return self._corpus

    @property
    def deployment(self) -> Deployment:
        """What is served now.

        Raises
        ------
        DeploymentNotFoundError
            If nothing has been deployed.
        """
        if self._searcher is not None:
            return self._current().deployment
        self._corpus.refresh()
        return self._choose(self._corpus)

    @property
    def searcher(self) -> Searcher:
        """What answers now.

        Raises
        ------
        DeploymentNotFoundError
            If nothing has been deployed.
        """
        return self._current()

    def add_observer(self, observer: Observer) -> None:
        """Tell this one, too, of every question that is answered from now on.

        It is told after the answer has been given, and what it raises is logged and changes no answer.
        """
        self._observers = (*self._observers, observer)

    def remove_observer(self, observer: Observer) -> None:
        """Tell this one no more; one that is not told anyway changes nothing."""
        self._observers = tuple(one for one in self._observers if one is not observer)

    def warm_up(self) -> None:
        """Do now what the first question would do."""
        self._current().warm_up()

    def ask(self, texts: Sequence[str], wish: Wish) -> Future[list[Found]]:
        """Return the future answer to a question; several texts stand for the mean of their queries.

        Raises
        ------
        InputError
            If there is no text.
        StoreError
            If this has been closed.
        """
        if not texts:
            raise InputError("query: expected a text to search for, got an empty one.")
        question = _Question(texts=tuple(texts), wish=wish)
        with self._arrival:
            if self._is_closed:
                raise StoreError(
                    f"corpus {self._corpus.name!r} at {self._corpus.location}: expected it to be open, it "
                    "was closed. Make another retriever."
                )
            self._waiting.append(question)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="tandem-serving", daemon=True)
                self._thread.start()
            self._arrival.notify()
        return question.answer

    def close(self) -> None:
        """Answer what waits, then release the corpus; closing again changes nothing."""
        with self._arrival:
            self._is_closed = True
            self._arrival.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        observers, self._observers = self._observers, ()
        try:
            for observer in observers:
                observer.close()
        finally:
            self._corpus.close()

    def _run(self) -> None:
        while questions := self._next():
            questions[0].context.run(self._answer, questions)

    def _next(self) -> list[_Question]:
        """Return what waits, once something does; nothing after a while without questions, or at the end."""
        while True:
            with self._arrival:
                if not self._waiting and not self._is_closed:
                    self._arrival.wait(_IDLE_SECONDS)
                taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), _TOGETHER))]
                if not taken:
                    self._thread = None
                    return []
            asked = [question for question in taken if question.answer.set_running_or_notify_cancel()]
            if asked:  # some may have been given up while they waited
                return asked

    def _answer(self, questions: Sequence[_Question]) -> None:
        """Answer all at once; where that fails, one by one, so that each gets its own error."""
        try:
            answers = self._answers(questions)
        except BaseException as error:  # noqa: BLE001  # it is raised where somebody waits
            if len(questions) == 1:
                questions[0].answer.set_exception(_raisable(error))
                return
            for question in questions:
                self._answer([question])
            return
        for question, answered in zip(questions, answers, strict=True):
            question.answer.set_result(list(answered.found))
        for answered in answers:
            self._tell(answered)

    def _tell(self, answered: Answered) -> None:
        for observer in self._observers:
            try:
                observer.observe(answered)
            except BaseException:  # questions wait, and have nothing to do with it
                _logger.exception("expected an observer that takes note, it failed")

    def _answers(self, questions: Sequence[_Question]) -> list[Answered]:
        searcher = self._current()
        try:
            return self._answers_by(searcher, questions)
        except Exception:
            # What it searches may have been dropped since it was looked up.
            if (now := self._current(look=True)) is searcher:
                raise
            return self._answers_by(now, questions)

    def _answers_by(self, searcher: Searcher, questions: Sequence[_Question]) -> list[Answered]:
        embedded = iter(searcher.embed([text for question in questions for text in question.texts]))
        queries = [mean_query([next(embedded) for _ in question.texts]) for question in questions]
        found: list[list[Found]] = [[] for _ in questions]
        for places in _alike([question.wish for question in questions]):
            rankings = searcher.find([queries[place] for place in places], questions[places[0]].wish)
            for place, ranking in zip(places, rankings, strict=True):
                found[place] = ranking
        return [
            Answered(
                texts=question.texts, wish=question.wish, query=query, found=tuple(ranking), searcher=searcher
            )
            for question, query, ranking in zip(questions, queries, found, strict=True)
        ]

    def _current(self, *, look: bool = False) -> Searcher:
        """Return a searcher for what is to be served now, as far as known, or after another look."""
        with self._turn:
            now = time.monotonic()
            if self._searcher is not None and not look and now < self._checked + _CHECK_SECONDS:
                return self._searcher
            self._corpus.refresh()
            deployment = self._choose(self._corpus)
            if self._searcher is None or not self._is_same(self._searcher.deployment, deployment):
                given = {key: self._models[key] for key in deployment.combination.keys if key in self._models}
                self._searcher = Searcher(self._corpus, deployment, models=given)
            self._checked = now
            return self._searcher

    def _is_same(self, known: Deployment, chosen: Deployment) -> bool:
        """Return whether both are one deployment; what nobody has deployed has no time of its own."""
        if chosen in self._corpus.deployments:
            return known == chosen
        return known == replace(chosen, created=known.created)


def _raisable(error: BaseException) -> Exception:
    """Return what may be raised where somebody waits: no wish to end their task or their process."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    raisable = TandemError(
        f"question: expected an answer, a model or the engine ended with {error!r} instead. Ask again; if "
        "that ends the same way, leave the question out, and see what it was raised from."
    )
    raisable.__cause__ = error
    return raisable


def _alike(wishes: Sequence[Wish]) -> list[list[int]]:
    """Return the places of equal wishes together."""
    groups: list[list[int]] = []
    for place, wish in enumerate(wishes):
        for group in groups:
            if wishes[group[0]] == wish:
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def _begin_in_child() -> None:
    # No thread has come along, and what they had locked stays locked.
    for serving in _all:
        serving.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)

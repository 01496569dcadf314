"""The connection to a Qdrant server: its patience, and what its errors become."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Any
from urllib.parse import urlsplit

from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_before_delay,
    wait_random_exponential,
)

from retriever.errors import StoreError, StoreUnreachableError

_UNAUTHORISED = (401, 403)
_AWAY = (502, 503, 504)
_MOMENTARY = (429, *_AWAY)
_TIMEOUT_SECONDS = 60
_TIMEOUT_CONNECTING = 5.0
_A_COLLECTION = re.compile(r"/collections/[^/]+/?$")
_A_SEARCH = re.compile(r"/points/query(/batch)?$")
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")

_logger = logging.getLogger(__name__)


class Patience:
    """Repeats requests that a server does not answer for a moment, in growing, random intervals.

    A request waits a few seconds; while a corpus is locked for writing, so long that a server can be
    restarted meanwhile. A search never waits that long: who asked is waiting. Repeating is safe: points
    are written by id and deleted by condition, and what creates something is not repeated once the
    server has it. No connection is kept that has failed, so a server that is back is used again.

    Parameters
    ----------
    seconds, seconds_writing
        No repetition begins after these.
    longest_wait
        Between two repetitions, in seconds.
    seconds_searching
        How long the answer to one search may take; that to any other request, 60 s. A connection must
        stand within 5 s.
    """

    def __init__(
        self,
        *,
        seconds: float = 3.0,
        seconds_writing: float = 120.0,
        longest_wait: float = 15.0,
        seconds_searching: float = 30.0,
    ) -> None:
        self._seconds = seconds
        self._seconds_writing = seconds_writing
        self._longest_wait = longest_wait
        self._seconds_searching = seconds_searching
        self._writers = 0
        self._lock = threading.Lock()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Wait longer within ``with``."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def __call__(self, request: Any, send: Callable[[Any], Any]) -> Any:
        """Send a request, and again; the last answer or error counts."""
        is_search = _A_SEARCH.search(request.url.path) is not None
        if is_search:
            request.extensions["timeout"]["read"] = self._seconds_searching
        if _creates_collection(request):
            return send(request)
        is_patient = self._writers and not is_search
        repeated = Retrying(
            stop=stop_before_delay(self._seconds_writing if is_patient else self._seconds),
            wait=wait_random_exponential(multiplier=0.5, max=self._longest_wait),
            retry=retry_if_exception_type(ResponseHandlingException) | retry_if_result(_is_momentary),
            before_sleep=_warn,
            retry_error_callback=_last,
        )
        return repeated(send, request)

    def _count(self, change: int) -> None:
        with self._lock:
            self._writers += change


def connected(url: str, api_key: str | None) -> QdrantClient:
    """Return a client; it asks nothing yet.

    Raises
    ------
    StoreUnreachableError
        If it is no URL.
    """
    try:
        if not url:  # the client would take its own default
            raise ValueError("it is empty")  # noqa: TRY301  # as the client refuses all others
        with warnings.catch_warnings():
            if urlsplit(url).hostname in _THIS_MACHINE:  # the key does not travel
                warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
            client = QdrantClient(
                url=url, api_key=api_key, timeout=_TIMEOUT_SECONDS, check_compatibility=False
            )
    except ValueError as error:
        raise StoreUnreachableError(
            f"Qdrant server: expected a URL such as http://127.0.0.1:6333, got {url!r} ({error})."
        ) from error
    client.http.client.add_middleware(_connect_soon)
    return client


@contextmanager
def answering(location: str) -> Iterator[None]:
    """Turn what the client raises into our errors."""
    try:
        yield
    except UnexpectedResponse as error:
        if error.status_code in _UNAUTHORISED:
            raise StoreUnreachableError(
                f"Qdrant server {location}: expected a valid API key, the server refused it "
                f"({error.status_code}). Set QDRANT_API_KEY or --api-key."
            ) from error
        if error.status_code in _AWAY:
            raise _unreachable(location, error) from error
        raise StoreError(f"Qdrant server {location}: the request failed: {error}") from error
    except (ApiException, QdrantException, JSONDecodeError) as error:
        raise _unreachable(location, error) from error


def _unreachable(location: str, error: Exception) -> StoreUnreachableError:
    return StoreUnreachableError(
        f"Qdrant server {location}: expected an answer, got: {error}. "
        "Check that the server runs and the URL is right."
    )


def _connect_soon(request: Any, send: Callable[[Any], Any]) -> Any:
    """Give up on a machine that is not there long before one that computes."""
    request.extensions["timeout"]["connect"] = _TIMEOUT_CONNECTING
    return send(request)


def _creates_collection(request: Any) -> bool:
    # A second attempt would find what the first one has made, and fail.
    return bool(request.method == "PUT" and _A_COLLECTION.search(request.url.path))


def _is_momentary(response: Any) -> bool:
    return response.status_code in _MOMENTARY


def _last(state: RetryCallState) -> Any:
    if state.outcome is None:
        raise StoreUnreachableError("Qdrant server: expected an answer, no request was sent.")
    return state.outcome.result()


def _warn(state: RetryCallState) -> None:
    outcome = state.outcome
    if outcome is not None:
        found = outcome.exception() if outcome.failed else f"status {outcome.result().status_code}"
        _logger.warning(
            "the Qdrant server does not answer (%s); attempt %d follows in %.1f s",
            found,
            state.attempt_number + 1,
            state.upcoming_sleep,
        )

"""One writer per corpus of a server, by leases: points of a collection of their own.

A lease names its holder and when it ends. It is taken, and taken again before it ends, by an upsert
with a condition, which the server checks where it applies it; then it is read back, and whoever reads
its own token has it. The collection has one part on one machine, so that there is one order of all
upserts.

Clocks of two machines meet in one comparison: a lease is free for others when it has ended by their
clock. It holds for 60 s and its holder, who goes by the time that has passed since (on Linux also while
its machine slept), writes nothing once 30 s have passed without a renewal; so clocks may differ by 30 s.
What cannot be excluded: a request that is under way for longer than that.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from retriever.errors import StoreError, StoreLockedError
from retriever.store.holder import Holder
from retriever.store.server_client import answering

LEASES = "_tandem-locks"
"""The collection of all leases; a corpus cannot have this name."""

_SECONDS = 60.0
_TOKEN = "token"  # noqa: S105  # the name of a field
_EXPIRES = "expires"
_HOLDER = "holder"

_logger = logging.getLogger(__name__)


class Leases:
    """The leases of one server; each is for `seconds` and renewed after a quarter of them."""

    def __init__(self, client: QdrantClient, location: str, *, seconds: float = _SECONDS) -> None:
        self._client = client
        self._location = location
        self.seconds = seconds

    @contextmanager
    def hold(self, name: str, purpose: str) -> Iterator[Lease]:
        """Hold the lease of corpus `name` within ``with``, renewed in the background.

        Raises
        ------
        StoreLockedError
            If another writer holds it.
        """
        lease = Lease(self, name, Holder.this_process(purpose))
        self._make_room()
        lease.take()
        ended = threading.Event()
        heart = threading.Thread(target=lease.keep, args=[ended], name=f"lease of {name}", daemon=True)
        heart.start()
        try:
            yield lease
        finally:
            ended.set()
            self._give_back(lease)

    def put(self, lease: Lease, condition: models.Filter, mode: models.UpdateMode) -> dict[str, Any]:
        """Write a lease where its point fulfils `condition`; return what is there then."""
        payload = {
            "corpus": lease.name,
            _TOKEN: lease.token,
            _EXPIRES: time.time() + self.seconds,
            _HOLDER: lease.holder.to_json(),
        }
        point = models.PointStruct(id=lease.point_id, vector={}, payload=payload)
        with answering(self._location):
            self._client.upsert(LEASES, [point], wait=True, update_filter=condition, update_mode=mode)
            found = self._client.retrieve(LEASES, [lease.point_id], with_payload=True)
        return dict(found[0].payload or {}) if found else {}

    def refusal(self, lease: Lease, found: dict[str, Any]) -> StoreLockedError:
        """Return that another one holds the lease."""
        left = max(0.0, found.get(_EXPIRES, 0.0) - time.time())
        return StoreLockedError(
            f"Qdrant server {self._location}, corpus {lease.name!r}: expected no other writer, but there is "
            f"{_words(found)}. Let it end, or stop it. "
            f"Its lease ends in {left:.0f} s unless it is renewed: a writer that was killed is in the way "
            "no longer than that."
        )

    def loss(self, lease: Lease, found: dict[str, Any]) -> StoreLockedError:
        """Return that a lease that was held is another's now."""
        now = f"{_words(found)} has it" if found else "it was given back by another writer"
        return StoreLockedError(
            f"Qdrant server {self._location}, corpus {lease.name!r}: expected to be its only writer, but the "
            f"lease was lost, because it could not be renewed for {self.seconds:.0f} s: {now}. "
            "Run the same command again when that has ended: it continues where it stopped."
        )

    def _make_room(self) -> None:
        with answering(self._location):
            if self._client.collection_exists(LEASES):
                return
            try:
                self._client.create_collection(
                    LEASES, vectors_config={}, shard_number=1, replication_factor=1
                )
            except (UnexpectedResponse, ValueError):  # another writer was quicker
                if not self._client.collection_exists(LEASES):
                    raise
            # A server in strict mode deletes by indexed fields only.
            self._client.create_payload_index(LEASES, _TOKEN, models.PayloadSchemaType.KEYWORD)

    def _give_back(self, lease: Lease) -> None:
        mine = models.Filter(must=[models.HasIdCondition(has_id=[lease.point_id]), _is(lease.token)])
        try:
            with answering(self._location):
                self._client.delete(LEASES, models.FilterSelector(filter=mine), wait=True)
        except StoreError as error:  # what went on under the lease has its own outcome
            _logger.warning("the lease of %s ends by itself in %.0f s: %s", lease.name, self.seconds, error)


class Lease:
    """The lease of one corpus."""

    def __init__(self, leases: Leases, name: str, holder: Holder) -> None:
        self.name = name
        self.holder = holder
        self.token = uuid.uuid4().hex
        self.point_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"tandem:lease:{name}"))
        self._leases = leases
        self._lock = threading.Lock()
        self._confirmed = 0.0
        self._lost: dict[str, Any] | None = None

    def take(self) -> None:
        """Take the lease, if it is free.

        Raises
        ------
        StoreLockedError
            If it is not.
        """
        ended = models.FieldCondition(key=_EXPIRES, range=models.Range(lt=time.time()))
        condition = models.Filter(should=[ended, _is(self.token)])
        asked = _seconds()
        found = self._leases.put(self, condition, models.UpdateMode.UPSERT)
        if found.get(_TOKEN) != self.token:
            raise self._leases.refusal(self, found)
        self._confirmed = asked

    def check(self) -> None:
        """Return if the lease is held for some time yet; asks the server when that is not certain.

        Raises
        ------
        StoreLockedError
            If it was lost.
        """
        if self._lost is None and _seconds() - self._confirmed > self._leases.seconds / 2:
            self._renew()
        if self._lost is not None:
            raise self._leases.loss(self, self._lost)

    def keep(self, ended: threading.Event) -> None:
        """Renew the lease until `ended`, or it is lost."""
        while self._lost is None and not ended.wait(self._leases.seconds / 4):
            try:
                self._renew()
            except StoreError as error:  # `check` tells of it, should it last
                _logger.warning("the lease of %s was not renewed: %s", self.name, error)

    def _renew(self) -> None:
        with self._lock:
            asked = _seconds()
            condition = models.Filter(must=[_is(self.token)])
            found = self._leases.put(self, condition, models.UpdateMode.UPDATE_ONLY)
            if found.get(_TOKEN) == self.token:
                self._confirmed = asked
            else:
                self._lost = found


def _seconds() -> float:
    """Return seconds that never go back, and that pass while the machine sleeps too where it counts them."""
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _is(token: str) -> models.FieldCondition:
    return models.FieldCondition(key=_TOKEN, match=models.MatchValue(value=token))


def _words(found: dict[str, Any]) -> str:
    return str(Holder.from_json(found.get(_HOLDER)) or "an unknown process")

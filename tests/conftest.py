"""What all tests share: contract classes whose failures show their values, both stores, the commands."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from retriever import console
from retriever.models.protocol import FloatArray
from retriever.records import CorpusManifest
from retriever.store.protocol import VectorStore

# A shell lets jobs in the background ignore SIGINT, and what a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("retriever.testing", "retriever.store.contract")

settings.register_profile("tandem", deadline=None)  # a busy machine is no failure
settings.load_profile("tandem")


def _store(engine: str, folder: Path) -> VectorStore:
    if engine == "embedded":
        from retriever.store.embedded import EmbeddedStore

        return EmbeddedStore(folder / "store")
    from qdrant_client import QdrantClient

    from retriever.store.server import ServerStore

    return ServerStore(QdrantClient(":memory:"), location=":memory:")


@pytest.fixture(params=["embedded", "server"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> VectorStore:
    """Return an empty store of either engine."""
    return _store(request.param, tmp_path)


@pytest.fixture(scope="session", params=["embedded", "server"])
def shared_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VectorStore:
    """Return a store of either engine that tests share: each corpus in it is made once and only read."""
    return _store(request.param, tmp_path_factory.mktemp("shared"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """All that a store holds of one corpus."""

    record: dict[str, Any]
    payloads: dict[str, Mapping[str, Any]]
    vectors: dict[str, Mapping[str, FloatArray]]

    def differences(self, other: Contents) -> list[str]:
        """Return in words what differs, vectors and measured spreads by more than 1e-6; empty if nothing."""
        found = []
        spreads, others = (one.record["manifest"]["spreads"] for one in (self, other))
        if spreads != pytest.approx(others, abs=1e-6):
            found.append(f"spreads: {spreads} and {others}")
        if self._record_without_spreads() != other._record_without_spreads():
            found.append(f"record: {self.record} and {other.record}")
        found += [f"{chunk_id}: one lacks it" for chunk_id in self.payloads.keys() ^ other.payloads.keys()]
        for chunk_id in self.payloads.keys() & other.payloads.keys():
            if self.payloads[chunk_id] != other.payloads[chunk_id]:
                found.append(f"{chunk_id}: {self.payloads[chunk_id]} and {other.payloads[chunk_id]}")
            mine, theirs = self.vectors[chunk_id], other.vectors[chunk_id]
            if mine.keys() != theirs.keys():
                found.append(f"{chunk_id}: vectors {sorted(mine)} and {sorted(theirs)}")
            elif any(np.abs(mine[name] - theirs[name]).max() > 1e-6 for name in mine):
                found.append(f"{chunk_id}: other vectors")
        return found

    def _record_without_spreads(self) -> dict[str, Any]:
        return {**self.record, "manifest": {**self.record["manifest"], "spreads": None}}


@pytest.fixture(scope="session")
def contents() -> Callable[[VectorStore, str], Contents]:
    """Return what reads all that a store holds of a corpus."""

    def read(store: VectorStore, name: str) -> Contents:
        collection = store.open(name)
        try:
            record = collection.read_record()
            manifest = CorpusManifest.from_json(record["manifest"])
            names = [*manifest.keys, *manifest.derived]
            points = [point for points in collection.scroll(with_vectors=names) for point in points]
        finally:
            collection.close()
        return Contents(
            record=json.loads(json.dumps(record)),
            payloads={point.point_id: point.payload for point in points},
            vectors={point.point_id: point.vectors for point in points},
        )

    return read


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What a command said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed with ``--json``."""
        return json.loads(self.out)


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Ran]:
    """Return what runs `tandem` in this process as in a terminal, with `tmp_path` as current folder."""
    import tandem.cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("TANDEM_STORE", "TANDEM_URL", "TANDEM_CORPUS", "TANDEM_CONFIG", "TANDEM_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str | Path) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            console.run(tandem.cli.app, [str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Ran(status=int(exited.value.code or 0), out=said.out, err=said.err)

    return run

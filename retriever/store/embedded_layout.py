"""Which vectors a shard has, and how it keeps them.

The engine keeps a layout of its own beside the segments, which a kill while a named vector is added or
deleted leaves behind or ahead of them; it then refuses to open the shard. The segments are what holds the
data, so the layout is read from these. What they do not say until they are merged is that a vector is also
kept in a compact representation: `storage.json` beside the shard does, and is written before such a vector
is added. (An entry without a vector changes nothing.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import qdrant_edge as qe

from retriever.records import FULL_STORAGE
from retriever.store.json_file import read_json, write_json
from retriever.store.kinds import HALF_STORAGE, Dense, Kind, Sparse

_STORAGE = "storage.json"
_QUANTIZATIONS: Mapping[str, qe.ScalarQuantizationConfig | qe.BinaryQuantizationConfig] = {
    "int8": qe.ScalarQuantizationConfig(qe.ScalarType.Int8),
    # A query of 4 bits a dimension finds with 4 times the candidates what one of 1 bit finds with 8 or more.
    "binary": qe.BinaryQuantizationConfig(query_encoding=qe.BinaryQuantizationQueryEncoding.Scalar4Bits),
}


def read_layout(shard: Path) -> dict[str, Kind]:
    """Return the named vectors that the segments of a shard have; none where they do not say.

    Raises
    ------
    StoreCorruptError
        If `storage.json` cannot be read.
    """
    storages = _read_storages(shard)
    layout: dict[str, Kind] = {}
    try:
        for file in shard.glob("segments/*/segment.json"):
            segment = json.loads(file.read_text(encoding="utf-8"))["config"]
            for name, vector in segment["vector_data"].items():
                storage = _storage(vector.get("datatype"), storages.get(name))
                layout[name] = Dense(size=int(vector["size"]), storage=storage)
            layout.update(dict.fromkeys(segment.get("sparse_vector_data") or (), Sparse()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return layout


def keep_storage(shard: Path, name: str, storage: str) -> None:
    """Note how a vector is to be kept, before it is added."""
    write_json(shard.parent / _STORAGE, {**_read_storages(shard), name: storage})


def datatype(kind: Dense) -> qe.VectorStorageDatatype | None:
    """Return what the engine keeps the numbers in; None where that is what it takes by itself."""
    return None if kind.storage == FULL_STORAGE else qe.VectorStorageDatatype.Float16


def engine_config(layout: Mapping[str, Kind]) -> qe.EdgeConfig:
    """Return what the engine is told when it opens or creates a shard of this layout."""
    # m=0: no graph is ever built, every search is a scan.
    graph = qe.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000)
    dense = {
        name: qe.EdgeVectorParams(
            size=kind.size,
            distance=qe.Distance.Dot,
            datatype=datatype(kind),
            quantization_config=_QUANTIZATIONS.get(kind.storage),
        )
        for name, kind in layout.items()
        if isinstance(kind, Dense)
    }
    sparse = {
        name: qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf)
        for name, kind in layout.items()
        if isinstance(kind, Sparse)
    }
    return qe.EdgeConfig(vectors=dense, sparse_vectors=sparse or None, hnsw_config=graph)


def _storage(datatype: str | None, noted: str | None) -> str:
    """Return how a vector is kept, of which a segment says the first and `storage.json` the second."""
    if datatype in {None, "float32"}:
        return FULL_STORAGE
    if datatype != "float16":
        raise ValueError(f"unknown datatype {datatype}")
    return HALF_STORAGE if noted is None else noted


def _read_storages(shard: Path) -> dict[str, str]:
    path = shard.parent / _STORAGE
    return read_json(path, "record of how vectors are kept") if path.exists() else {}

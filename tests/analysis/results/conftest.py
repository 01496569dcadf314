"""Results of five made-up models on two judged collections and one without judgements."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.evaluation import ModelVectors, compare, evaluate
from analysis.judgements import Judgements
from analysis.results.record import CollectionFacts, CollectionResults, ModelFacts, Results, Settings

KEYS = ("bge-small-en-v1.5", "e5_small", "a$b%c", "gte", "uae")
N_CHUNKS, N_QUERIES = 50, 12


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def vectors(seed: int) -> list[ModelVectors]:
    rng = np.random.default_rng(seed)
    chunks = rng.normal(size=(N_CHUNKS, 16))
    queries = chunks[:N_QUERIES] + 0.4 * rng.normal(size=(N_QUERIES, 16))
    found = []
    for place, key in enumerate(KEYS):
        turn, noise = rng.normal(size=(16, 12)), 0.5 + 0.3 * place
        seen = [rows @ turn + noise * rng.normal(size=(len(rows), 12)) for rows in (queries, chunks)]
        found.append(ModelVectors(key=key, queries=unit(seen[0]), chunks=unit(seen[1])))
    return found


def facts(name: str, *, judged: bool) -> CollectionFacts:
    return CollectionFacts(
        name=name,
        corpus_hash=f"sha256:{name}",
        queries_hash="sha256:q",
        qrels_hash="sha256:r" if judged else "",
        documents=N_CHUNKS,
        chunks=N_CHUNKS,
        queries=N_QUERIES,
        chunker={"method": "words", "max_tokens": 256},
        spreads={key: 0.1 + 0.02 * place for place, key in enumerate(KEYS)},
        drop_own=not judged,
    )


def judged(name: str, seed: int) -> CollectionResults:
    texts = {f"q{i}": f"Grüße {i} </script>" for i in range(N_QUERIES)}
    about = facts(name, judged=True)
    evaluation = evaluate(
        vectors(seed),
        judgements=Judgements(
            queries=texts, qrels={f"q{i}": {f"d{i}": 2, f"d{i + 20}": 1} for i in range(N_QUERIES)}
        ),
        chunk_documents=[f"d{i}" for i in range(N_CHUNKS)],
        spreads=about.spreads,
        ks=(5, 10),
        grid=(0.3,),
    )
    return CollectionResults(facts=about, evaluation=evaluation, query_texts=texts)


def unjudged(name: str, seed: int) -> CollectionResults:
    texts = {f"q{i}": f"query {i}" for i in range(N_QUERIES)}
    evaluation = compare(
        vectors(seed), query_ids=tuple(texts), chunk_documents=[f"d{i}" for i in range(N_CHUNKS)], ks=(5, 10)
    )
    return CollectionResults(facts=facts(name, judged=False), evaluation=evaluation, query_texts=texts)


@pytest.fixture(scope="session")
def results() -> Results:
    return Results(
        models=tuple(
            ModelFacts(
                key=key,
                name=f"acme/{key}" if place else "BAAI/bge-small-en-v1.5",
                fingerprint=16 * str(place),
                dimensions=12,
                max_tokens=512 if place else None,
                backend="torch",
                dtype="float32",
                seconds_per_1000_chunks=1 / 3 if place else None,
            )
            for place, key in enumerate(KEYS)
        ),
        collections=(judged("NFCorpus", 1), judged("scifact", 2), unjudged("own", 3)),
        settings=Settings(ks=(5, 10), seed=3),
        versions={"python": "3.11.7"},
        machine={"cores": "2"},
    )

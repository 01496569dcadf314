"""What the study of selection measures of one collection, kept in a file beside its vectors.

All options of all models on all judged queries; evidence that needs no judgement; similarities; published
scores of the models. A second run reads the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis import Judgements, read_judgements
from analysis.evaluation import Evaluation, ModelVectors, compare
from analysis.framework.dissimilarity import similarities_by_pair
from analysis.rankings import own_documents
from analysis.selection.evidence import (
    agreement_quality,
    published_quality,
    read_published,
    sentence_quality,
    title_quality,
)
from analysis.selection.record import Option
from analysis.selection.scoring.candidates import enumerate_options
from analysis.selection.scoring.legs import DenseLeg, corpus_legs
from analysis.selection.scoring.scoreboard import measure
from benchmarks.quality import SHARED
from retriever.corpus import Corpus
from retriever.store.protocol import VectorStore

SIMILARITIES = ("jaccard", "cka", "rank_similarity")
PSEUDO_QUERIES = 100

PUBLISHED = SHARED / "datasets" / "mteb_scores.csv"

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One collection.

    Attributes
    ----------
    name
        Of the collection.
    options
        All that could be served.
    ndcg : float64, shape (n_options, n_queries)
        NDCG@10.
    evidence
        By kind, the quality of each leg it speaks of.
    similarities
        By measure, of each pair of models, ``"A+B"``.
    panels
        By model, the agreement of the other legs where it is left out.
    """

    name: str
    options: tuple[Option, ...]
    ndcg: FloatArray
    evidence: Mapping[str, Mapping[str, float]]
    similarities: Mapping[str, Mapping[str, float]]
    panels: Mapping[str, Mapping[str, float]]

    @property
    def means(self) -> FloatArray:
        """NDCG@10 of each option over all queries."""
        means: FloatArray = self.ndcg.mean(axis=1)
        return means

    @property
    def quality(self) -> Mapping[str, float]:
        """The evidence that selection goes by."""
        return self.evidence["consensus"]

    @property
    def singles(self) -> list[int]:
        """Places of the single models."""
        return [place for place, option in enumerate(self.options) if option.is_single]

    def place(self, label: str) -> int:
        """Return where an option is."""
        return next(place for place, option in enumerate(self.options) if option.label == label)

    def save(self, path: Path) -> None:
        """Write it to a file."""
        meta = {
            "name": self.name,
            "options": [[dict(option.weights), option.weighting, option.fusion] for option in self.options],
            "evidence": self.evidence,
            "similarities": self.similarities,
            "panels": self.panels,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, ndcg=self.ndcg, meta=np.array(json.dumps(meta)))

    @classmethod
    def load(cls, path: Path) -> Measured:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            meta: dict[str, Any] = json.loads(str(file["meta"]))
            ndcg = file["ndcg"]
        options = tuple(
            Option(weights=weights, weighting=weighting, fusion=fusion)
            for weights, weighting, fusion in meta.pop("options")
        )
        return cls(options=options, ndcg=ndcg, **meta)


def measure_collection(store: VectorStore, name: str, data: Path, *, drop_own: bool, seed: int) -> Measured:
    """Measure one collection that is in the store with all its models.

    Parameters
    ----------
    store
        Where its corpus is.
    name
        Of the corpus.
    data
        Folder with ``queries.jsonl`` and ``qrels/test.tsv``.
    drop_own
        Whether queries must not find the document of their own id.
    seed
        Of the pseudo-queries.
    """
    judgements = read_judgements(data / "queries.jsonl", data / "qrels" / "test.tsv")
    with Corpus.open(store, name) as corpus:
        options, ndcg, consensus, panels, compared = _measured(corpus, judgements, drop_own=drop_own)
        rng = np.random.default_rng(seed)
        evidence = {
            "consensus": consensus,
            "titles": title_quality(corpus, n=PSEUDO_QUERIES, rng=rng),
            "sentences": sentence_quality(corpus, n=PSEUDO_QUERIES, rng=rng),
            "published": published_quality(read_published(PUBLISHED), corpus.manifest.keys),
        }
    return Measured(
        name=name,
        options=options,
        ndcg=ndcg,
        evidence=evidence,
        similarities={
            which: {
                "+".join(pair): value for pair, value in similarities_by_pair(compared, measure=which).items()
            }
            for which in SIMILARITIES
        },
        panels=panels,
    )


def _measured(
    corpus: Corpus, judgements: Judgements, *, drop_own: bool
) -> tuple[tuple[Option, ...], FloatArray, dict[str, float], dict[str, dict[str, float]], Evaluation]:
    keys = corpus.manifest.keys
    with corpus_legs(corpus, keys, judgements.texts, with_lexical=True) as legs:
        own = own_documents(judgements.query_ids, legs.documents.ids) if drop_own else None
        agreement = partial(agreement_quality, documents=legs.documents, spreads=legs.spreads, own=own)
        consensus = agreement(legs.legs)
        panels = {key: agreement([leg for leg in legs.legs if leg.key != key]) for key in keys}
        options = enumerate_options(keys, legs.spreads, quality=consensus, lexical=True)
        measured = measure(legs.legs, options, legs.documents, judgements, drop_own=drop_own)
        compared = compare(
            [
                ModelVectors(key=leg.key, queries=leg.queries, chunks=leg.chunks)
                for leg in legs.legs
                if isinstance(leg, DenseLeg)
            ],
            query_ids=judgements.query_ids,
            chunk_documents=legs.chunk_documents,
            drop_own=drop_own,
        )
    return options, np.stack([one.ndcg for one in measured]), consensus, panels, compared

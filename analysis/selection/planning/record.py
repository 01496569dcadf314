"""What a selection would do and cost, model by model and in all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """At least and at most so much: a screening ends when its order is stable."""

    least: float
    most: float

    def to_json(self) -> list[float]:
        """Return JSON values."""
        return [self.least, self.most]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPlan:
    """What one model would do.

    Attributes
    ----------
    name
        What the user calls it.
    key
        Its key; None where it was not loaded, so that it is not known.
    stored
        Whether the corpus has its vectors.
    problem
        Why it cannot take part; None where nothing is known that speaks against it.
    queries
        How many queries it would embed, at most.
    chunks
        How many sampled chunks it would embed: 0 where they are stored.
    load_seconds
        How long loading it took; None where it was not loaded.
    seconds_per_1000_chunks, milliseconds_per_query
        As measured on a few texts or given; None where not known.
    corpus_chunks
        How many chunks it would embed if the corpus were to have its vectors: 0 where it has.
    bytes_per_chunk
        Of its vectors in float32; None where its size is not known.
    """

    name: str
    key: str | None
    stored: bool
    problem: str | None
    queries: int
    chunks: Range
    load_seconds: float | None
    seconds_per_1000_chunks: float | None
    milliseconds_per_query: float | None
    corpus_chunks: int
    bytes_per_chunk: int | None

    @property
    def seconds(self) -> Range | None:
        """To load it and to embed what a selection needs; None where its pace is not known."""
        per_chunk, per_query = self.seconds_per_1000_chunks, self.milliseconds_per_query
        if (per_chunk is None and self.chunks.most) or per_query is None:
            return None
        fixed = (self.load_seconds or 0.0) + per_query * self.queries / 1000
        pace = (per_chunk or 0.0) / 1000
        return Range(least=fixed + pace * self.chunks.least, most=fixed + pace * self.chunks.most)

    @property
    def corpus_seconds(self) -> float | None:
        """To embed the whole corpus with it; None where its pace is not known."""
        if not self.corpus_chunks:
            return 0.0
        pace = self.seconds_per_1000_chunks
        return None if pace is None else pace * self.corpus_chunks / 1000

    @property
    def corpus_bytes(self) -> int | None:
        """Its vectors of the whole corpus would take; None where their size is not known."""
        return None if self.bytes_per_chunk is None else self.bytes_per_chunk * self.corpus_chunks

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        seconds = self.seconds
        return {
            "name": self.name,
            "key": self.key,
            "stored": self.stored,
            "problem": self.problem,
            "queries": self.queries,
            "chunks": self.chunks.to_json(),
            "load_seconds": self.load_seconds,
            "seconds_per_1000_chunks": self.seconds_per_1000_chunks,
            "milliseconds_per_query": self.milliseconds_per_query,
            "seconds": None if seconds is None else seconds.to_json(),
            "corpus_chunks": self.corpus_chunks,
            "corpus_seconds": self.corpus_seconds,
            "corpus_bytes": self.corpus_bytes,
            "bytes_per_chunk": self.bytes_per_chunk,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionPlan:
    """What a selection would do.

    Attributes
    ----------
    corpus
        Its name.
    chunks
        How many it has.
    models
        In the order given.
    options
        How many options of the stored models would be measured; 0 where there are none.
    option_seconds
        How long measuring them would take: as tried on a few random vectors.
    temporary_bytes
        Of the files that vectors of the stored models are read into meanwhile.
    embedded
        How many texts each model has embedded for this estimate, at most; 0 where nothing was measured.
    """

    corpus: str
    chunks: int
    models: tuple[ModelPlan, ...]
    options: int
    option_seconds: float
    temporary_bytes: int
    embedded: int

    @property
    def screens(self) -> bool:
        """Whether there is a model that the corpus has no vectors of: then a sample is embedded first."""
        return any(not model.stored for model in self.models)

    @property
    def seconds(self) -> Range | None:
        """How long it would take in all; None where the pace of a model is not known."""
        times = [model.seconds for model in self.models if model.problem is None]
        known = [one for one in times if one is not None]
        if len(known) < len(times):
            return None
        return Range(
            least=self.option_seconds + sum(one.least for one in known),
            most=self.option_seconds + sum(one.most for one in known),
        )

    @property
    def note(self) -> str:
        """What the estimate rests on, in one sentence."""
        if not self.embedded:
            return (
                "Nothing was embedded for this estimate: times are given where the pace of a model is known."
            )
        return (
            f"Estimated from at most {self.embedded} texts that each model has embedded just now: real times "
            f"may be half of it, or twice."
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        seconds = self.seconds
        return {
            "corpus": self.corpus,
            "chunks": self.chunks,
            "screens": self.screens,
            "models": [model.to_json() for model in self.models],
            "options": self.options,
            "option_seconds": self.option_seconds,
            "temporary_bytes": self.temporary_bytes,
            "seconds": None if seconds is None else seconds.to_json(),
            "embedded": self.embedded,
            "note": self.note,
        }
